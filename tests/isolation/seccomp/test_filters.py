import os
import sys
from types import FrameType

import pytest

from mocker.isolation import SetupError
from mocker.isolation.init import run_init
from mocker.isolation.process_calls import load_filter, prctl
from mocker.isolation.seccomp import DEFAULT, UNCONFINED, filters
from mocker.isolation.seccomp.filters import find_filter
from mocker.isolation.syscalls import PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
from mocker.isolation.tape import perform
from tests.containers import in_container, run_captured, script
from tests.in_namespaces import run_in_child
from tests.isolation.seccomp.profiles import ALLOW_ALL, write


def test_nothing_is_loaded_for_who_is_unconfined() -> None:
    assert find_filter(UNCONFINED, frozenset()) == b""


@pytest.mark.parametrize("choice", [DEFAULT, write(ALLOW_ALL)])
def test_filter_is_compiled_once_for_a_kind_of_container(choice: str) -> None:
    first = find_filter(choice, frozenset({"SYS_TIME"}))

    assert find_filter(choice, {"SYS_TIME"}) is first


@in_container
def test_filter_is_compiled_before_the_first_clone_and_never_again() -> None:
    watched = {filters._compile.__code__: "compiles", run_init.__code__: "is the init"}
    spec = script("grep ^Seccomp: /proc/self/status", cap_drop=["FSETID", "LEASE"])

    def act() -> tuple[str, list[str]]:
        seen = os.memfd_create("seen")

        # What is cloned goes on with it, up to execve(2).
        def look(frame: FrameType, event: str, argument: object) -> None:
            if event == "call" and frame.f_code in watched:
                os.write(seen, f"{os.getpid()} {watched[frame.f_code]}\n".encode())

        sys.setprofile(look)
        told = [run_captured(spec).stdout for _ in range(2)]
        sys.setprofile(None)
        text = os.pread(seen, 2**16, 0).decode()
        return text.replace(f"{os.getpid()} ", "the caller "), told

    seen, told = run_in_child(act)

    assert seen.splitlines() == ["the caller compiles", "1 is the init", "1 is the init"]
    assert told == ["Seccomp:\t2\n"] * 2


def test_filter_depends_on_the_capabilities() -> None:
    assert find_filter(DEFAULT, {"SYS_TIME"}) != find_filter(DEFAULT, {"SYS_BOOT"})


def test_filters_of_many_kinds_are_not_kept_for_ever() -> None:
    for number in range(150):
        find_filter(DEFAULT, {f"SYS_{number}"})

    assert len(filters._compiled) <= 100


def test_kernel_without_filters_is_refused() -> None:
    # As a kernel answers that was built without.
    entry = {
        "names": ["prctl"],
        "action": "SCMP_ACT_ERRNO",
        "errno": "EINVAL",
        "args": [{"index": 0, "value": PR_SET_SECCOMP, "op": "SCMP_CMP_EQ"}],
    }
    program = find_filter(write(ALLOW_ALL, entry), frozenset())

    def act() -> str:
        perform([prctl(PR_SET_NO_NEW_PRIVS, 1), *load_filter(program)])
        with pytest.raises(SetupError) as refused:
            find_filter(DEFAULT, frozenset({"SYS_PACCT"}))
        return str(refused.value)

    assert run_in_child(act) == (
        "cannot filter system calls: Invalid argument (EINVAL); this kernel can't "
        "(CONFIG_SECCOMP_FILTER); --seccomp unconfined does without"
    )
