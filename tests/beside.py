"""Run processes beside the command of a container, and see what they say."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from mocker.isolation import Container, ContainerSpec, ExitStatus, Process
from tests.containers import open_container

SLEEP = ContainerSpec(["sleep", "1000"])


class Ended(NamedTuple):
    """How a process beside the command ended, and what it wrote to stdout and stderr."""

    status: ExitStatus
    text: str


@contextmanager
def running(spec: ContainerSpec = SLEEP) -> Iterator[Container]:
    with open_container(spec) as (container, _):
        yield container


@contextmanager
def start(container: Container, argv: Sequence[str], **how: str) -> Iterator[tuple[Process, int]]:
    """Start a process beside the command, with what it writes as a descriptor."""
    read_end, write_end = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    try:
        stdio = (null, write_end, write_end)
        process = container.start_process(argv, stdio=stdio, **how)  # type: ignore[arg-type]
    finally:
        os.close(write_end)
        os.close(null)
    with process, os.fdopen(read_end, "rb", buffering=0) as output:
        yield process, output.fileno()


def run_beside(container: Container, argv: Sequence[str], **how: object) -> Ended:
    """Run a process beside the command to its end."""
    output = os.memfd_create("output")
    try:
        stdio = (0, output, output)
        with container.start_process(argv, stdio=stdio, **how) as process:  # type: ignore[arg-type]
            status = process.wait()
        return Ended(status, os.pread(output, 2**20, 0).decode())
    finally:
        os.close(output)


def run_script(container: Container, text: str, **how: object) -> Ended:
    return run_beside(container, ["sh", "-c", text], **how)
