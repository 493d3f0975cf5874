import ctypes
import os
import resource
import signal
from collections.abc import Callable
from errno import EACCES, EINVAL, EPERM
from pathlib import Path

import pytest

from mocker.isolation import process_calls
from mocker.isolation.library import libc
from mocker.isolation.memory import Cell
from mocker.isolation.seccomp import DEFAULT
from mocker.isolation.seccomp.filters import find_filter
from mocker.isolation.syscalls import (
    CLONE_NEWUTS,
    KEYCTL,
    PR_GET_NO_NEW_PRIVS,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    prctl,
)
from mocker.isolation.tape import Call, perform
from tests.in_namespaces import InNewNamespaces, capture_child, run_in_child
from tests.performed import errno_of, read_status
from tests.requirements import (
    requires_root,
    requires_subordinate_ids,
    requires_user,
    requires_user_namespaces,
)


def test_process_leads_a_session_or_a_group() -> None:
    def lead(prepare: Callable[[], Call]) -> tuple[bool, bool]:
        perform([prepare()])
        return os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()

    assert run_in_child(lambda: lead(process_calls.setsid)) == (True, True)
    assert run_in_child(lambda: lead(process_calls.setpgid)) == (False, True)


def test_clone_is_zero_in_the_child_and_its_pid_in_the_parent() -> None:
    def act() -> bool:
        pid = Cell(-1)
        perform([process_calls.clone3(0, signal.SIGCHLD, to=pid)])
        if pid.value == 0:
            os._exit(42)
        waited, status = os.waitpid(pid.value, 0)
        return (waited, os.waitstatus_to_exitcode(status)) == (pid.value, 42)

    assert run_in_child(act)


@requires_user_namespaces
def test_clone_makes_namespaces(in_new_namespaces: InNewNamespaces) -> None:
    def act() -> bool:
        own, pid = Path("/proc/self/ns/uts").readlink(), Cell(-1)
        perform([process_calls.clone3(CLONE_NEWUTS, signal.SIGCHLD, to=pid)])
        if pid.value == 0:
            os._exit(own == Path(f"/proc/{os.getpid()}/ns/uts").readlink())
        return os.waitpid(pid.value, 0)[1] == 0

    assert in_new_namespaces(act)


@requires_user_namespaces
def test_namespaces_are_joined_whose_owner_is_somewhere_else(
    in_new_namespaces: InNewNamespaces,
) -> None:
    def look() -> list[Path]:
        return [Path(f"/proc/self/ns/{name}").readlink() for name in ("uts", "user")]

    def act() -> list[bool]:
        before = look()
        perform([process_calls.prctl(PR_SET_DUMPABLE, 1), *process_calls.join_new(CLONE_NEWUTS)])
        is_alone = not Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        return [*map(Path.__eq__, before, look()), is_alone]

    assert in_new_namespaces(act) == [False, True, True]


def test_clone_that_the_kernel_refuses_is_an_error() -> None:
    assert errno_of(process_calls.clone3(0x1_0000_0000_0000, signal.SIGCHLD, to=Cell(-1))) == EINVAL


def test_option_of_the_process_is_set() -> None:
    def act() -> int:
        perform([process_calls.prctl(PR_SET_NO_NEW_PRIVS, 1)])
        return prctl(PR_GET_NO_NEW_PRIVS)

    assert run_in_child(act) == 1


def test_process_has_the_first_fifteen_bytes_of_its_name() -> None:
    def act() -> str:
        perform([process_calls.set_process_name("a-name-that-is-long")])
        return read_status("Name")[0]

    assert run_in_child(act) == "a-name-that-is-"


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"new", b"new\0\0\0\0\0"), (b"", bytes(8)), (b"far too long", b"far too ")],
)
def test_memory_is_filled_with_the_content_and_zeros(content: bytes, expected: bytes) -> None:
    buffer = ctypes.create_string_buffer(b"previous|behind")
    start = ctypes.addressof(buffer)

    perform(process_calls.overwrite_memory(start, start + 8, content))

    assert buffer.raw == expected + b"|behind\0"


@requires_subordinate_ids
@requires_user_namespaces
def test_process_becomes_user_and_groups_for_good(in_new_namespaces: InNewNamespaces) -> None:
    def act() -> tuple[object, ...]:
        perform(
            [
                process_calls.setgroups([10, 20]),
                process_calls.setresgid(100),
                process_calls.setresuid(1000),
            ]
        )
        return os.getresuid(), os.getresgid(), os.getgroups()

    assert in_new_namespaces(act) == ((1000,) * 3, (100,) * 3, [10, 20])


def test_groups_that_may_not_be_set_are_an_error_if_not_tolerated() -> None:
    def act() -> tuple[int, int]:
        if os.geteuid() == 0:
            os.setresuid(7777, 7777, 7777)
        return errno_of(process_calls.setgroups([5])), errno_of(
            process_calls.setgroups([5], tolerated=(EPERM,))
        )

    assert run_in_child(act) == (EPERM, 0)


@requires_user_namespaces
def test_capabilities_are_those_of_the_mask(in_new_namespaces: InNewNamespaces) -> None:
    mask = 1 << 0 | 1 << 33

    def act() -> list[str]:
        perform([process_calls.capset(mask)])
        return read_status("CapPrm", "CapEff", "CapInh", "CapAmb")

    assert in_new_namespaces(act) == [f"{0:016x}", f"{mask:016x}", f"{mask:016x}", f"{0:016x}"]


@requires_user_namespaces
def test_capability_that_was_given_up_does_not_come_back(
    in_new_namespaces: InNewNamespaces,
) -> None:
    prepared = process_calls.capset(0), process_calls.capset(1)

    assert in_new_namespaces(lambda: errno_of(*prepared)) == EPERM


def test_limit_is_a_soft_and_a_hard_one() -> None:
    def act() -> tuple[int, int]:
        perform([process_calls.setrlimit(resource.RLIMIT_NOFILE, 20, 40)])
        return resource.getrlimit(resource.RLIMIT_NOFILE)

    assert run_in_child(act) == (20, 40)


@requires_root
def test_limit_that_is_none_is_set() -> None:
    def act() -> tuple[int, int]:
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.RLIM_INFINITY))
        perform([process_calls.setrlimit(resource.RLIMIT_CORE, -1, -1)])
        return resource.getrlimit(resource.RLIMIT_CORE)

    assert run_in_child(act) == (resource.RLIM_INFINITY,) * 2


def test_limit_that_may_not_be_raised_is_an_error() -> None:
    def act() -> int:
        if os.geteuid() == 0:
            os.setresuid(7777, 7777, 7777)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 10))
        return errno_of(process_calls.setrlimit(resource.RLIMIT_CORE, 0, 11))

    assert run_in_child(act) == EPERM


def test_session_keyring_is_not_the_callers() -> None:
    def read_keyring() -> int:
        get_id, session = 0, -3  # see keyctl(2)
        return int(libc.syscall(KEYCTL[os.uname().machine], get_id, session, 0))

    def act() -> tuple[int, int]:
        before = read_keyring()
        perform(process_calls.join_session_keyring())
        return before, read_keyring()

    before, after = run_in_child(act)

    assert before != after or before == -1  # a kernel without keyrings gives none away


def test_filter_is_loaded_by_who_gains_no_privileges() -> None:
    program = find_filter(DEFAULT, frozenset())

    def act() -> list[str]:
        perform([process_calls.prctl(PR_SET_NO_NEW_PRIVS, 1), *process_calls.load_filter(program)])
        return read_status("Seccomp")

    assert run_in_child(act) == ["2"]


def test_filter_of_no_instructions_is_no_call() -> None:
    assert process_calls.load_filter(b"") == []


@requires_user
def test_filter_is_not_loaded_by_who_may_gain_privileges() -> None:
    program = find_filter(DEFAULT, frozenset())

    assert run_in_child(lambda: errno_of(*process_calls.load_filter(program))) == EACCES


def test_signals_get_their_default_action_and_none_stays_blocked() -> None:
    def act() -> list[int]:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        perform([process_calls.default_action(signal.SIGUSR1), process_calls.unblock_signals()])
        blocked, ignored = (int(mask, 16) for mask in read_status("SigIgn", "SigBlk"))
        return [ignored >> (signal.SIGUSR1 - 1) & 1, blocked]

    assert run_in_child(act) == [0, 0]


def test_program_gets_its_words_and_its_environment() -> None:
    words = ["sh", "-c", 'echo "$0" "$1" "$A" "$B"', "a b", ""]
    env = {"A": "über", "B": os.fsdecode(b"\xff")}

    output = capture_child(
        lambda: perform(
            [process_calls.execve("/bin/sh", *process_calls.encode_words(words, env), tolerated=())]
        )
    )

    assert output == (f"a b  über {env['B']}\n", 0)


@pytest.mark.parametrize(("words", "env"), [(["a\0b"], {}), (["a"], {"HOME": "/ro\0ot"})])
def test_word_that_the_kernel_would_see_the_end_of_is_refused(
    words: list[str], env: dict[str, str]
) -> None:
    with pytest.raises(OSError, match=os.strerror(EINVAL)):
        process_calls.execve("/bin/true", *process_calls.encode_words(words, env), tolerated=())
