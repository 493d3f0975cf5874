"""The filter of system calls, as the kernel enforces it: for commands, jobs and what is beside."""

import json
import os
import subprocess
import sys
from errno import (
    EAFNOSUPPORT,
    EBADF,
    EFAULT,
    EINVAL,
    ENOSYS,
    ENOTTY,
    EOPNOTSUPP,
    EPERM,
)
from pathlib import Path

import pytest

from mocker.isolation import ContainerSpec
from tests.beside import running, start
from tests.conftest import Mocker
from tests.end_to_end.call_program import write_program
from tests.end_to_end.controlled import open_controlled
from tests.end_to_end.supervised import supervise
from tests.isolation.seccomp.profiles import write_dockers
from tests.requirements import (
    requires_busybox,
    requires_commands,
    requires_root,
    requires_subordinate_ids,
    requires_user_namespaces,
)

pytestmark = [pytest.mark.end_to_end, requires_busybox, requires_user_namespaces]

X32 = 2**30
HIGH = 2**32  # what the kernel does not look at, where it takes an int
CLONE_NEWUSER = 0x1000_0000
AF_UNIX, AF_DECNET, AF_ECONET, AF_ALG, AF_VSOCK, SOCK_STREAM = 1, 12, 19, 38, 40, 1
AF_NEWER = 46  # than any that is known
TIOCSTI, TIOCLINUX, TCGETS = 0x5412, 0x541C, 0x5401
SHOW = ["grep", "-E", "^(Seccomp|NoNewPrivs):", "/proc/self/status"]
FILTERED, UNFILTERED = "NoNewPrivs:\t1\nSeccomp:\t2\n", "NoNewPrivs:\t1\nSeccomp:\t0\n"

# Whose arguments mean nothing: what the kernel answers, without a filter, is another error.
DENIED = {
    "keyctl": ("x86_64", 250, (9999,), EPERM, {EOPNOTSUPP}),
    "add_key": ("x86_64", 248, (), EPERM, {EFAULT, EINVAL}),
    "userfaultfd": ("x86_64", 323, (1,), EPERM, {0}),
    "io_uring_setup": ("x86_64", 425, (0, 0), EPERM, {EFAULT, EINVAL}),
    "perf_event_open": ("x86_64", 298, (), EPERM, {EFAULT}),
    "kcmp": ("x86_64", 312, (2, 2, 99), EPERM, {EINVAL}),
    "open_tree": ("x86_64", 428, (2**64 - 1, 0, 2**31), EPERM, {EINVAL}),
    "unshare": ("x86_64", 272, (CLONE_NEWUSER,), EPERM, {0}),
    "clone": ("x86_64", 56, (CLONE_NEWUSER | 2**31,), EPERM, {0, EINVAL}),
    "clone3": ("x86_64", 435, (0, 0), ENOSYS, {EINVAL}),
    "newer": ("x86_64", 9999, (), ENOSYS, {ENOSYS}),
    "socket AF_ALG": ("x86_64", 41, (AF_ALG, 5), EPERM, {0, EAFNOSUPPORT}),
    "socket AF_VSOCK": ("x86_64", 41, (AF_VSOCK, SOCK_STREAM), EPERM, {0, EAFNOSUPPORT}),
    "socket AF_VSOCK, high bits": ("x86_64", 41, (HIGH | AF_VSOCK, 1), EPERM, {0, EAFNOSUPPORT}),
    "socket AF_DECnet": ("x86_64", 41, (AF_DECNET, SOCK_STREAM), EPERM, {EAFNOSUPPORT}),
    "socket AF_ECONET": ("x86_64", 41, (AF_ECONET, SOCK_STREAM), EPERM, {EAFNOSUPPORT}),
    "socket of a newer family": ("x86_64", 41, (AF_NEWER, SOCK_STREAM), EPERM, {EAFNOSUPPORT}),
    "socket AF_UNIX, high bits": ("x86_64", 41, (HIGH | AF_UNIX, SOCK_STREAM), EPERM, {0}),
    "ioctl TIOCSTI": ("x86_64", 16, (0, TIOCSTI), EPERM, {ENOTTY}),
    "ioctl TIOCSTI, high bits": ("x86_64", 16, (0, HIGH | TIOCSTI), EPERM, {ENOTTY}),
    "ioctl TIOCLINUX": ("x86_64", 16, (0, TIOCLINUX), EPERM, {ENOTTY}),
    "personality": ("x86_64", 135, (0x40_0000,), EPERM, {0}),
    "x32": ("x86_64", X32 | 39, (), EPERM, {0, ENOSYS}),
    "i386 keyctl": ("i386", 288, (9999,), EPERM, {EOPNOTSUPP}),
    "i386 unshare": ("i386", 310, (CLONE_NEWUSER,), EPERM, {0}),
    "i386 socket AF_VSOCK": ("i386", 359, (AF_VSOCK, SOCK_STREAM), EPERM, {0, EAFNOSUPPORT}),
    "i386 socket AF_ECONET": ("i386", 359, (AF_ECONET, SOCK_STREAM), EPERM, {EAFNOSUPPORT}),
    "i386 socketcall": ("i386", 102, (1, 0), EPERM, {EFAULT}),
    "i386 ioctl TIOCSTI": ("i386", 54, (0, TIOCSTI), EPERM, {ENOTTY}),
}
# Which docker does not deny.
OWN = {name for name in DENIED if "TIOC" in name or name == "i386 socketcall"}
LET_THROUGH = {
    "getpid": ("x86_64", 39, (), 0),
    "socket AF_UNIX": ("x86_64", 41, (AF_UNIX, SOCK_STREAM), 0),
    "ioctl TCGETS": ("x86_64", 16, (0, TCGETS), ENOTTY),
    "unshare nothing": ("x86_64", 7, (0, 0), 0),
    "i386 getpid": ("i386", 20, (), 0),
    "i386 socket AF_UNIX": ("i386", 359, (AF_UNIX, SOCK_STREAM), 0),
    "i386 socketcall bind": ("i386", 102, (2, 0), EFAULT),
    "i386 close": ("i386", 6, (99,), EBADF),
}


@pytest.mark.parametrize(
    ("table", "number", "arguments", "denied", "_"), DENIED.values(), ids=DENIED
)
def test_call_is_denied(
    mocker: Mocker,
    tmp_path: Path,
    table: str,
    number: int,
    arguments: tuple[int, ...],
    denied: int,
    _: set[int],
) -> None:
    program = write_program(tmp_path / "call", table, number, arguments)

    result = mocker("run", "-v", f"{program}:/call:ro", "/call")

    assert (result.returncode, result.stderr) == (denied, "")


@pytest.mark.parametrize(
    ("table", "number", "arguments", "_", "answers"), DENIED.values(), ids=DENIED
)
def test_call_reaches_the_kernel_unconfined(
    mocker: Mocker,
    tmp_path: Path,
    table: str,
    number: int,
    arguments: tuple[int, ...],
    _: int,
    answers: set[int],
) -> None:
    program = write_program(tmp_path / "call", table, number, arguments)

    result = mocker("run", "--seccomp", "unconfined", "-v", f"{program}:/call:ro", "/call")

    assert result.returncode in answers, result.stderr


@pytest.mark.parametrize(
    ("table", "number", "arguments", "answer"), LET_THROUGH.values(), ids=LET_THROUGH
)
def test_call_is_let_through(
    mocker: Mocker,
    tmp_path: Path,
    table: str,
    number: int,
    arguments: tuple[int, ...],
    answer: int,
) -> None:
    program = write_program(tmp_path / "call", table, number, arguments)

    result = mocker("run", "-v", f"{program}:/call:ro", "/call")

    assert (result.returncode, result.stderr) == (answer, "")


@pytest.mark.parametrize(
    ("table", "number", "arguments", "answer"),
    [case[:4] for name, case in DENIED.items() if name not in OWN] + [*LET_THROUGH.values()],
    ids=[*(name for name in DENIED if name not in OWN), *LET_THROUGH],
)
def test_dockers_whole_profile_answers_as_the_default_filter(
    mocker: Mocker,
    tmp_path: Path,
    table: str,
    number: int,
    arguments: tuple[int, ...],
    answer: int,
) -> None:
    program = write_program(tmp_path / "call", table, number, arguments)
    profile = tmp_path / "profile.json"
    profile.write_text(write_dockers())

    result = mocker("run", "--seccomp", str(profile), "-v", f"{program}:/call:ro", "/call")

    assert (result.returncode, result.stderr) == (answer, "")


@requires_commands("linux32")
@pytest.mark.parametrize(
    ("table", "number", "arguments", "answer"),
    [
        DENIED["keyctl"][:4],
        DENIED["i386 keyctl"][:4],
        LET_THROUGH["getpid"],
        LET_THROUGH["i386 getpid"],
    ],
    ids=["keyctl", "i386 keyctl", "getpid", "i386 getpid"],
)
def test_filter_is_for_both_tables_where_the_machine_is_said_to_have_32_bits(
    tmp_path: Path, table: str, number: int, arguments: tuple[int, ...], answer: int
) -> None:
    program = write_program(tmp_path / "call", table, number, arguments)
    mocker = Path(sys.executable).with_name("mocker")

    result = subprocess.run(
        ["linux32", mocker, "run", "-v", f"{program}:/call:ro", "/call"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode, result.stderr) == (answer, "")


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ([], FILTERED),
        (["--seccomp", "default"], FILTERED),
        (["--seccomp", "unconfined"], UNFILTERED),
        (["--allow-new-privs"], FILTERED.replace("1", "0")),
        (["--rootfs", "host"], FILTERED),
    ],
)
def test_filter_is_in_force(mocker: Mocker, options: list[str], shown: str) -> None:
    result = mocker("run", *options, *SHOW)

    assert (result.stdout, result.stderr) == (shown, "")


@requires_subordinate_ids
@pytest.mark.parametrize(
    ("options", "shown"), [([], FILTERED), (["--allow-new-privs"], FILTERED.replace("1", "0"))]
)
def test_filter_is_in_force_for_a_user_without_capabilities(
    mocker: Mocker, options: list[str], shown: str
) -> None:
    result = mocker("run", *options, "--cap-drop", "all", "-u", "nobody", *SHOW)

    assert (result.stdout, result.stderr) == (shown, "")


@requires_root
@pytest.mark.parametrize(
    ("options", "shown"), [([], FILTERED), (["--allow-new-privs"], FILTERED.replace("1", "0"))]
)
def test_filter_is_in_force_for_the_hosts_root(
    mocker: Mocker, options: list[str], shown: str
) -> None:
    result = mocker("run", *options, "--userns", "host", *SHOW)

    assert (result.stdout, result.stderr) == (shown, "")


@pytest.mark.parametrize("seccomp", ["default", "unconfined"])
def test_process_beside_the_command_has_the_same_filter(seccomp: str) -> None:
    spec = ContainerSpec(["sleep", "100"], seccomp=seccomp)

    with running(spec) as container, start(container, SHOW) as (process, output):
        process.wait()
        shown = os.read(output, 100).decode()

    assert shown == (FILTERED if seccomp == "default" else UNFILTERED)


def test_process_beside_the_command_is_under_a_profile(tmp_path: Path) -> None:
    text = json.dumps(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
        }
    )

    with (
        running(ContainerSpec(["sleep", "100"], seccomp=text)) as container,
        start(container, ["mkdir", "/tmp/x"]) as (process, output),
    ):
        status = process.wait()
        said = os.read(output, 100).decode()

    assert (status.code, "Operation not permitted" in said) == (1, True)


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ("", "Seccomp:\t2"),
        ('seccomp = "unconfined"', "Seccomp:\t0"),
        ('seccomp = "profile.json"', "Seccomp:\t2"),
        ("isolate = false", "Seccomp:\t0"),
        ('isolate = false\nseccomp = "default"', "Seccomp:\t2"),
        ('isolate = false\nseccomp = "profile.json"', "Seccomp:\t2"),
    ],
)
def test_job_has_the_filter_that_its_key_says(tmp_path: Path, keys: str, shown: str) -> None:
    (tmp_path / "profile.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    command = '["grep", "^Seccomp:", "/proc/self/status"]'

    status, run = supervise(
        tmp_path, f'[jobs.web]\ntype = "oneshot"\ncommand = {command}\n{keys}\n'
    )

    assert (status, run.lines) == (0, [f"web | {shown}"])


def test_what_is_executed_in_a_job_has_its_filter(tmp_path: Path) -> None:
    text = '[jobs.web]\ncommand = ["sh", "-c", "echo up; sleep 1000"]\nready = { log = "up" }\n'
    with open_controlled(tmp_path, text) as run:
        run.run.wait_event("job.ready")

        result = run.mocker("exec", "web", *SHOW)

    assert (result.stdout, result.stderr) == (FILTERED, "")


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        ([], 126, "cannot execute 'true': Operation not permitted (EPERM)"),
        (
            ["--allow-new-privs"],
            125,
            "cannot start the command: Operation not permitted (EPERM); with --allow-new-privs the "
            "seccomp filter is loaded first, and may forbid it",
        ),
    ],
)
def test_profile_that_lets_nothing_start_is_told(
    mocker: Mocker, tmp_path: Path, options: list[str], code: int, sentence: str
) -> None:
    path = tmp_path / "profile.json"
    names = ["read", "write", "exit_group"]
    path.write_text(
        json.dumps(
            {
                "defaultAction": "SCMP_ACT_ERRNO",
                "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
            }
        )
    )

    result = mocker("run", *options, "--seccomp", str(path), "true")

    assert (result.returncode, result.stderr) == (code, f"mocker run: {sentence}\n")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "must be default, unconfined or a file; {path} cannot be read: No such file or dir"),
        ("{", "{path}: must be JSON: Expecting property name enclosed in double quotes: line 1"),
        ('{"defaultAction": "ALLOW"}', "{path}: defaultAction must be one of SCMP_ACT_ALLOW, "),
        (
            '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": '
            '[{"names": ["mkdri"], "action": "SCMP_ACT_KILL"}]}',
            "{path}: syscalls[0].names has 'mkdri', a system call that is not known, and nothing",
        ),
    ],
)
def test_wrong_profile_is_refused_in_a_sentence(
    mocker: Mocker, tmp_path: Path, text: str | None, sentence: str
) -> None:
    path = tmp_path / "profile.json"
    if text is not None:
        path.write_text(text)

    result = mocker("run", "--seccomp", str(path), "true")

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"mocker run: --seccomp {sentence.format(path=path)}")
    assert result.stderr.count("\n") == 1
