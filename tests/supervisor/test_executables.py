import shutil
import struct
from pathlib import Path

import pytest

from mocker.isolation import CommandError, ContainerSpec, run
from mocker.supervisor.config import ContainerConfig
from mocker.supervisor.container_view import ContainerView
from mocker.supervisor.executables import check_command
from mocker.supervisor.mistakes import MistakeError
from tests.containers import in_container
from tests.requirements import requires_user

PT_LOAD, PT_INTERP = 1, 3


def make_program(loader: str | None, bits: int = 64, order: str = "<") -> bytes:
    """Return an ELF file of program headers alone, the second of which names a loader."""
    wide = bits == 64
    start = 64 if wide else 52
    size = 56 if wide else 32
    name = b"" if loader is None else loader.encode() + b"\0"
    end = start + 2 * size
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    if wide:
        head = ident + struct.pack(
            f"{order}HHIQQQIHHHHHH", 2, 62, 1, 0, start, 0, 0, 64, size, 2, 0, 0, 0
        )
    else:
        head = ident + struct.pack(
            f"{order}HHIIIIIHHHHHH", 2, 3, 1, 0, start, 0, 0, 52, size, 2, 0, 0, 0
        )
    headers = b""
    for kind in (PT_LOAD, PT_LOAD if loader is None else PT_INTERP):
        if wide:
            headers += struct.pack(f"{order}IIQQQQQQ", kind, 4, end, 0, 0, len(name), len(name), 1)
        else:
            headers += struct.pack(f"{order}IIIIIIII", kind, end, 0, 0, len(name), len(name), 4, 1)
    return head + headers + name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("bin", "usr/bin", "lib", "srv"):
        (tmp_path / name).mkdir(parents=True)
    place(tmp_path, "/bin/static", make_program(None))
    place(tmp_path, "/lib/ld.so", make_program(None))
    return tmp_path


def place(root: Path, path: str, content: bytes, mode: int = 0o755) -> None:
    file = root / path[1:]
    file.write_bytes(content)
    file.chmod(mode)


def check(root: Path, command: str, **fields: object) -> str:
    """Return why a command cannot be executed, nothing if it can."""
    container = ContainerConfig(argv=(command,), hostname="web", rootfs=str(root), **fields)  # type: ignore[arg-type]
    try:
        check_command(ContainerView(container, None), container, command)
    except MistakeError as error:
        return str(error).removeprefix(f"cannot execute {command!r}: ")
    return ""


@pytest.mark.parametrize("command", ["static", "/bin/static", "bin/static", "./bin/static"])
def test_static_program_needs_nothing(root: Path, command: str) -> None:
    assert check(root, command) == ""


def test_command_that_is_nowhere_is_told_with_where_it_was_looked_for(root: Path) -> None:
    assert check(root, "nosuch", env={"PATH": "/a:/b"}) == (
        "it is in no directory of the container's PATH, /a:/b"
    )
    assert check(root, "nosuch").endswith("/usr/bin:/sbin:/bin")


def test_command_with_a_slash_is_not_looked_for(root: Path) -> None:
    assert check(root, "/usr/bin/static") == "/usr/bin/static is not there"


def test_search_is_in_the_path_of_the_container(root: Path) -> None:
    place(root, "/srv/tool", make_program(None))

    assert check(root, "tool", env={"PATH": "/srv"}) == ""
    assert check(root, "tool", env={"PATH": ""}, workdir="/srv") == ""
    assert check(root, "./tool", workdir="/srv") == ""


def test_search_goes_on_behind_what_cannot_be_executed(root: Path) -> None:
    place(root, "/usr/bin/static", b"", mode=0o644)

    assert check(root, "static") == ""


def test_what_is_there_and_not_executable_says_more_than_what_is_not(root: Path) -> None:
    place(root, "/usr/bin/tool", make_program(None), mode=0o644)

    assert check(root, "tool") == "/usr/bin/tool is not executable"


def test_directory_is_no_command(root: Path) -> None:
    assert check(root, "/srv") == "/srv is a directory"


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_loader_must_be_there(root: Path, bits: int, order: str) -> None:
    place(root, "/bin/good", make_program("/lib/ld.so", bits, order))
    place(root, "/bin/bad", make_program("/lib/ld-musl.so", bits, order))

    assert check(root, "good") == ""
    assert check(root, "/bin/bad") == (
        "/bin/bad needs the loader '/lib/ld-musl.so': /lib/ld-musl.so is not there"
    )


def test_loader_is_that_of_the_container_and_not_of_the_host(root: Path) -> None:
    shutil.copy("/bin/ls", root / "bin/ls")

    assert "/bin/ls needs the loader '/lib" in check(root, "/bin/ls")


def test_loader_is_found_through_the_links_of_the_container(root: Path) -> None:
    place(root, "/bin/tool", make_program("/lib64/ld.so"))
    (root / "lib64").symlink_to("/lib")

    assert check(root, "tool") == ""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"#!/bin/static\n", ""),
        (b"#! \t/bin/static -x y\nbody", ""),
        (b"#!/bin/static", ""),
        (b"#!/bin/nosuch\n", "needs the interpreter '/bin/nosuch': /bin/nosuch is not there"),
        (b"#!static -a\n", "needs the interpreter './static': ./static is not there"),
        (b"#!/srv\n", "needs the interpreter '/srv': /srv is a directory"),
    ],
)
def test_interpreter_must_be_there(root: Path, line: bytes, reason: str) -> None:
    place(root, "/srv/script", line)

    assert check(root, "/srv/script").startswith(f"/srv/script {reason}" if reason else "")
    assert bool(check(root, "/srv/script")) == bool(reason)


def test_interpreter_that_env_looks_for_must_be_there(root: Path) -> None:
    place(root, "/usr/bin/env", make_program(None))
    place(root, "/srv/good", b"#!/usr/bin/env static\n")
    place(root, "/srv/bad", b"#!/usr/bin/env python3\n")
    place(root, "/srv/option", b"#!/usr/bin/env -S python3 -u\n")

    assert check(root, "/srv/good") == ""
    assert check(root, "/srv/option") == ""
    assert check(root, "/srv/bad").startswith(
        "/srv/bad needs the interpreter 'python3': it is in no directory"
    )


def test_loader_of_an_interpreter_must_be_there(root: Path) -> None:
    place(root, "/bin/python3", make_program("/lib/nosuch"))
    place(root, "/srv/script", b"#!/bin/python3\n")

    assert check(root, "/srv/script") == (
        "/srv/script needs the interpreter '/bin/python3': "
        "/bin/python3 needs the loader '/lib/nosuch': /lib/nosuch is not there"
    )


def test_script_without_an_interpreter_needs_a_shell(root: Path) -> None:
    place(root, "/srv/script", b"echo hello\n")
    assert check(root, "/srv/script") == (
        "/srv/script needs a shell '/bin/sh': /bin/sh is not there"
    )

    place(root, "/bin/sh", make_program(None))

    assert check(root, "/srv/script") == ""


def test_script_that_is_its_own_interpreter_is_told(root: Path) -> None:
    place(root, "/srv/script", b"#!/srv/script\n")

    assert check(root, "/srv/script").endswith("its interpreters are scripts in turn")


@pytest.mark.parametrize("length", [4, 5, 20, 40, 63, 64, 80, 120])
def test_program_that_is_cut_off_is_no_trouble(root: Path, length: int) -> None:
    place(root, "/srv/tool", make_program("/lib/nosuch")[:length])

    assert check(root, "/srv/tool") == ""


@requires_user
def test_program_that_cannot_be_read_may_be_executed(root: Path) -> None:
    place(root, "/srv/tool", make_program("/lib/nosuch"), mode=0o111)

    assert check(root, "/srv/tool") == ""


def test_program_of_the_kernel_is_not_known(root: Path) -> None:
    assert check(root, "/proc/self/exe") == ""


def test_program_of_a_volume_is_found(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    volume = tmp_path_factory.mktemp("volume")
    place(volume, "/tool", b"#!/bin/static\n")

    assert check(root, "/data/tool", volumes=((str(volume), "/data", True),)) == ""


def runs(root: Path, command: str) -> bool:
    """Tell whether a container can execute a command."""
    spec = ContainerSpec([command, "true"], rootfs=str(root), workdir="/srv")
    try:
        run(spec)
    except CommandError:
        return False
    return True


@in_container
@pytest.mark.parametrize(
    ("content", "mode"),
    [
        (b"#!/bin/sh\n", 0o755),
        (b"#!/bin/sh", 0o755),
        (b"#! /bin/busybox true\n", 0o755),
        (b"#!/bin/nosuch\n", 0o755),
        (b"#!sh\n", 0o755),
        (b"#!../bin/sh\n", 0o755),
        (b"#!/srv\n", 0o755),
        (b"#!/usr/bin/env sh\n", 0o755),
        (b"#!/usr/bin/env -S sh -e\n", 0o755),
        (b"true\n", 0o755),
        (b"", 0o755),
        (b"#!/bin/sh\n", 0o644),
        (make_program("/lib/nosuch"), 0o755),
    ],
)
def test_container_is_of_the_same_opinion(root: Path, content: bytes, mode: int) -> None:
    root.chmod(0o755)
    shutil.copy(shutil.which("busybox") or "", root / "bin/busybox")
    (root / "bin/sh").symlink_to("/bin/busybox")
    (root / "usr/bin/env").symlink_to("../../bin/busybox")
    place(root, "/srv/tool", content, mode)

    assert (check(root, "./tool", workdir="/srv") == "") == runs(root, "./tool")
