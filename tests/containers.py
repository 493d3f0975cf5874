"""Run containers from a test and see what they say."""

import os
import select
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO, TypeVar

from mocker.isolation import Container, ContainerSpec, ExitStatus, spawn
from mocker.isolation.busybox import find_busybox
from tests.requirements import requires_busybox, requires_user_namespaces

Spawn = Callable[..., Container]
Test = TypeVar("Test", bound=Callable[..., object])


def in_container(test: Test) -> Test:
    """Mark a test that runs a container with the fresh root."""
    marked: Test = requires_user_namespaces(requires_busybox(test))
    return marked


class Outcome(NamedTuple):
    """How a container's command ended, and what it wrote."""

    status: ExitStatus
    stdout: str
    stderr: str


def make_spec(**fields: object) -> ContainerSpec:
    """Return a spec whose fields come from a table, so that nothing but its own checks sees them.

    Without an argv the command is `true`.
    """
    return ContainerSpec(**{"argv": ["true"], **fields})  # type: ignore[arg-type]


def script(text: str, *arguments: str, **fields: object) -> ContainerSpec:
    """Return the spec of a shell script; the fields are those of ContainerSpec."""
    return make_spec(argv=["sh", "-c", text, "sh", *arguments], **fields)


def run_captured(spec: ContainerSpec, stdin: str = "", spawn: Spawn = spawn) -> Outcome:
    """Run a container to its end."""
    files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
    try:
        os.pwrite(files[0], stdin.encode(), 0)
        with spawn(spec, stdin=files[0], stdout=files[1], stderr=files[2]) as container:
            status = container.wait()
        texts = [
            os.pread(fd, os.fstat(fd).st_size, 0).decode("utf-8", "surrogateescape")
            for fd in files[1:]
        ]
    finally:
        for fd in files:
            os.close(fd)
    return Outcome(status, *texts)


def make_rootfs(directory: Path) -> Path:
    """Make a root directory with a shell, whose applets are in itself, and return it."""
    root = directory / "rootfs"
    (root / "bin").mkdir(parents=True)
    shutil.copy(find_busybox().path, root / "bin/sh")
    return root


@contextmanager
def open_container(spec: ContainerSpec, spawn: Spawn = spawn) -> Iterator[tuple[Container, TextIO]]:
    """Start a container for the length of a block, with what it writes to stdout as a file."""
    read_end, write_end = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    with os.fdopen(read_end, encoding="utf-8") as output:
        try:
            container = spawn(spec, stdin=null, stdout=write_end, stderr=null)
        finally:
            os.close(write_end)
            os.close(null)
        with container:
            yield container, output


def wait_readable(fd: int, timeout: float) -> bool:
    """Wait until a descriptor is readable, such as the pidfd of a process that ends."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def list_titles(pid: int) -> list[str]:
    """Return the command lines of what a container has below its init, in no order."""
    titles, parents = list[str](), [pid]
    while parents:
        parent = parents.pop()
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents += map(int, children)
        for child in children:
            try:
                titles.append(Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ").strip())
            except (FileNotFoundError, ProcessLookupError):
                continue
    return [title for title in titles if title]  # a zombie has none


def wait_for_titles(container: Container, *titles: str) -> list[str]:
    """Wait a while until a container has these below its init and no others; return what it has."""
    deadline = time.monotonic() + 5
    while sorted(found := list_titles(container.pid)) != sorted(titles):
        if time.monotonic() > deadline:
            break
        time.sleep(0.005)
    return found
