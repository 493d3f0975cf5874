import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from mocker.isolation import CommandError
from mocker.isolation.own_program import find_own_program, refuse_own_program
from mocker.isolation.user_mapping import IdRange, UserMapping
from tests.containers import in_container, make_rootfs

OWN = "/proc/self/exe"


@pytest.fixture(params=["itself", "link", "script", "script of a script", "loader", "old loader"])
def trap(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What leads to the program that runs the test, for who executes it."""
    path = tmp_path / "trap"
    first = tmp_path / "first"
    match request.param:
        case "itself":
            return OWN
        case "link":
            path.symlink_to(OWN)
        case "script":
            path.write_text(f"#! \t{OWN} -c\n")
        case "script of a script":
            first.write_text(f"#!{OWN}")
            path.write_text(f"#!{first}\targument\n")
        case "loader":
            path.write_bytes(render_program(OWN.encode(), wide=True))
        case _:
            path.write_bytes(render_program(OWN.encode(), wide=False))
    return str(path)


def find_own() -> tuple[int, int]:
    stat = Path(OWN).stat()
    return stat.st_dev, stat.st_ino


def render_program(loader: bytes, *, wide: bool) -> bytes:
    """Return an ELF file with nothing but the name of a loader, far from its beginning: elf(5)."""
    table, place = 5000, 9000
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    if wide:
        head = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, table, 0, 0, 64, 56, 1, 0, 0, 0)
        entry = struct.pack("<IIQQQQQQ", 3, 4, place, 0, 0, len(loader) + 1, 0, 1)
    else:
        head = struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, 0, table, 0, 0, 52, 32, 1, 0, 0, 0)
        entry = struct.pack("<8I", 3, place, 0, 0, len(loader) + 1, 0, 4, 1)
    content = bytearray(place) + loader + b"\0"
    content[: len(ident + head)] = ident + head
    content[table : table + len(entry)] = entry
    return bytes(content)


def test_program_that_runs_mocker_is_found_wherever_it_hides(trap: str) -> None:
    with pytest.raises(CommandError, match="leads to the program that runs mocker") as info:
        refuse_own_program("trap", ("/no/such/file", trap), find_own())

    assert info.value.exit_code == 126


@pytest.mark.parametrize("content", [b"", b"#!", b"#! \n", b"#!/bin/sh\n", b"\x7fELF", b"#!\0x"])
def test_other_programs_are_let_through(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "program").write_bytes(content)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    whole = render_program(b"/lib64/ld-linux-x86-64.so.2", wide=True)
    (tmp_path / "whole").write_bytes(whole)
    (tmp_path / "cut").write_bytes(whole[:6000])
    names = ("program", "fifo", "loop", "whole", "cut", "missing", ".")

    refuse_own_program("x", tuple(str(tmp_path / name) for name in names), find_own())


def test_program_that_is_there_by_its_own_name_is_let_through() -> None:
    refuse_own_program("python", (os.path.realpath(OWN),), find_own())


def test_script_that_is_executed_by_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "script").write_text(f"#!{tmp_path}/script")

    refuse_own_program("script", (str(tmp_path / "script"),), find_own())


@pytest.mark.parametrize(
    ("first", "expected"), [(0, True), (1, False), (-1, True), (-65535, True), (-65536, False)]
)
def test_owner_of_the_program_is_looked_for_among_the_users_inside(
    first: int, expected: bool
) -> None:
    owner = Path(OWN).stat().st_uid
    ranges = [IdRange(0, owner + first, 65536)]

    found = find_own_program(UserMapping(ranges, ranges, deny_setgroups=False))

    assert found == (find_own() if expected else None)


def test_without_a_user_namespace_everybody_is_somebody_inside() -> None:
    assert find_own_program(None) == find_own()


def run_own_copy(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run mocker by a Python that is the caller's own."""
    own = shutil.copy(os.path.realpath(sys.executable), directory / "python")
    code = "from mocker.supervisor.cli import main; main()"
    options = ["--userns", "host"] if os.geteuid() == 0 else []
    return subprocess.run(
        [own, "-c", code, "run", *options, *words],
        env={"PYTHONHOME": sys.base_prefix, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


@in_container
@pytest.mark.parametrize(
    "target", [OWN, "/proc/thread-self/exe", "../proc/self/exe", "/proc/self/task/2/exe"]
)
@pytest.mark.parametrize("is_script", [True, False])
def test_root_directory_does_not_get_at_the_program_that_runs_mocker(
    tmp_path: Path, target: str, is_script: bool
) -> None:
    root = make_rootfs(tmp_path)
    (root / "bin/tool").symlink_to(target)
    if is_script:
        (root / "bin/tool").rename(root / "bin/interpreter")
        (root / "bin/tool").write_text("#!/bin/interpreter -c1")
        (root / "bin/tool").chmod(0o755)

    outcome = run_own_copy(tmp_path, "--rootfs", str(root), "tool")

    assert (outcome.returncode, outcome.stdout) == (126, "")
    assert outcome.stderr == (
        "mocker run: cannot execute 'tool': Permission denied (EACCES); "
        "/bin/tool leads to the program that runs mocker\n"
    )


@in_container
def test_nobody_beside_a_command_gets_at_the_program_that_runs_mocker(tmp_path: Path) -> None:
    code = f"""
from mocker.isolation import *
spec = ContainerSpec(["sleep", "1000"], userns={"host" if os.geteuid() == 0 else "private"!r})
with spawn(spec) as container:
    try:
        with container.start_process(["/proc/self/exe"]) as process:
            process.wait()
    except CommandError as error:
        print(error)
"""
    own = shutil.copy(os.path.realpath(sys.executable), tmp_path / "python")

    outcome = subprocess.run(
        [own, "-c", code],
        env={"PYTHONHOME": sys.base_prefix, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "/proc/self/exe leads to the program that runs mocker" in outcome.stdout, outcome.stderr


@in_container
def test_python_of_the_callers_own_is_executed_from_a_volume(tmp_path: Path) -> None:
    words = ["--rootfs", "host", "-v", f"{tmp_path}:/mnt", "-e", f"PYTHONHOME={sys.base_prefix}"]

    outcome = run_own_copy(tmp_path, *words, "/mnt/python", "-ISc", "print('executed')")

    assert (outcome.returncode, outcome.stdout) == (0, "executed\n"), outcome.stderr
