import os
from errno import EIO
from pathlib import Path

import pytest

from mocker.isolation import SetupError
from mocker.isolation.syscalls import CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWUTS
from mocker.isolation.trials import try_in_namespaces
from tests.requirements import requires_user_namespaces

pytestmark = requires_user_namespaces


def test_what_is_tried_is_done_by_root_of_new_namespaces() -> None:
    before = Path("/proc/self/ns/uts").readlink()

    def act() -> None:
        if (os.getuid(), os.getgid()) != (0, 0) or Path("/proc/self/ns/uts").readlink() == before:
            raise OSError(EIO, "that is no new namespace")

    try_in_namespaces(CLONE_NEWUSER | CLONE_NEWUTS, act, "look around")

    assert Path("/proc/self/ns/uts").readlink() == before


def test_what_fails_there_is_told_with_what_was_tried() -> None:
    def act() -> None:
        raise OSError(EIO, os.strerror(EIO))

    with pytest.raises(SetupError, match=r"cannot mount a disk on /mnt: .*EIO") as caught:
        try_in_namespaces(CLONE_NEWUSER | CLONE_NEWNS, act, "mount a disk", path="/mnt")

    assert caught.value.errno == EIO


def test_caller_may_do_something_before_with_the_pid() -> None:
    seen = list[str]()

    def look(pid: int) -> None:
        seen.append(Path(f"/proc/{pid}/uid_map").read_text())

    try_in_namespaces(CLONE_NEWUSER, lambda: None, "nothing", look)

    assert seen[0].split()[0] == "0"
