import os
from errno import EACCES, ENOENT, EPERM

import pytest

from mocker.isolation import (
    CommandError,
    ForkServerError,
    IsolationError,
    SetupError,
    SpecError,
)
from mocker.isolation.errors import render_reason


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            SetupError("mount proc", EPERM, "/proc", "start the outer one with --privileged"),
            "cannot mount proc on /proc: Operation not permitted (EPERM); "
            "start the outer one with --privileged",
        ),
        (
            SetupError("mount proc", EPERM, "/proc"),
            "cannot mount proc on /proc: Operation not permitted (EPERM)",
        ),
        (SetupError("find a busybox", hint="install one"), "cannot find a busybox; install one"),
        (SetupError("use the rootfs ", 0, "/etc/passwd"), "cannot use the rootfs /etc/passwd"),
        (SetupError("find a user in "), "cannot find a user in"),
        (SetupError("count"), "cannot count"),
        (
            CommandError("nosuch", ENOENT, 127, "it is nowhere"),
            "cannot execute 'nosuch': No such file or directory (ENOENT); it is nowhere",
        ),
        (CommandError("a\nb", EACCES, 126), r"cannot execute 'a\nb': Permission denied (EACCES)"),
        (SpecError("a container needs a command"), "a container needs a command"),
        (
            ForkServerError("cannot ask fork server 7: it is gone"),
            "cannot ask fork server 7: it is gone",
        ),
    ],
)
def test_error_is_one_sentence(error: IsolationError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (IsolationError("x"), 125),
        (SpecError("x"), 2),
        (SetupError("x"), 125),
        (CommandError("x", ENOENT, 127), 127),
        (CommandError("x", EACCES, 126), 126),
        (ForkServerError("x"), 125),
    ],
)
def test_error_has_the_exit_code_of_docker_run(error: IsolationError, code: int) -> None:
    assert error.exit_code == code


@pytest.mark.parametrize("kind", [SpecError, SetupError, CommandError, ForkServerError])
def test_every_error_is_an_isolation_error(kind: type[Exception]) -> None:
    assert issubclass(kind, IsolationError)


def test_wrong_description_is_a_value_error_too() -> None:
    assert issubclass(SpecError, ValueError)


def test_errno_without_a_name_is_shown_as_a_number() -> None:
    assert render_reason(4095) == f": {os.strerror(4095)} (4095)"


def test_no_errno_is_no_reason() -> None:
    assert render_reason(0) == ""
