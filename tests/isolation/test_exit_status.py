import os
import signal
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.isolation import ExitStatus
from mocker.isolation.exit_status import read_status

statuses = st.one_of(
    st.builds(ExitStatus, code=st.integers(0, 255)),
    st.builds(ExitStatus, signal=st.integers(1, 64)),
)


@pytest.mark.parametrize(
    ("status", "text", "shell_code", "success"),
    [
        (ExitStatus(code=0), "exit code 0", 0, True),
        (ExitStatus(code=1), "exit code 1", 1, False),
        (ExitStatus(code=255), "exit code 255", 255, False),
        (ExitStatus(signal=signal.SIGKILL), "SIGKILL", 137, False),
        (ExitStatus(signal=signal.SIGTERM), "SIGTERM", 143, False),
        (ExitStatus(signal=40), "signal 40", 168, False),
    ],
)
def test_status_is_told_as_a_shell_does(
    status: ExitStatus, text: str, shell_code: int, success: bool
) -> None:
    assert (str(status), status.shell_code, status.success) == (text, shell_code, success)


@pytest.mark.parametrize("fields", [{}, {"code": 0, "signal": 9}])
def test_status_is_either_a_code_or_a_signal(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="either a code or a signal"):
        ExitStatus(**fields)


@given(status=statuses, other=statuses)
def test_statuses_are_equal_just_if_they_say_the_same(
    status: ExitStatus, other: ExitStatus
) -> None:
    again = ExitStatus(status.code, status.signal)

    assert (again, hash(again)) == (status, hash(status))
    assert (status == other) == (repr(status) == repr(other))


@pytest.mark.parametrize(
    ("status", "text"),
    [(ExitStatus(code=3), "ExitStatus(code=3)"), (ExitStatus(signal=9), "ExitStatus(signal=9)")],
)
def test_representation_is_what_makes_it(status: ExitStatus, text: str) -> None:
    assert repr(status) == text


def test_code_and_signal_of_the_same_number_differ() -> None:
    assert ExitStatus(code=9) != ExitStatus(signal=9)


def test_status_equals_nothing_else() -> None:
    assert ExitStatus(code=0) != 0


@pytest.mark.parametrize(
    ("command", "status"),
    [("exit 3", ExitStatus(code=3)), ("kill -KILL $$", ExitStatus(signal=9))],
)
def test_status_is_read_from_what_the_kernel_says(command: str, status: ExitStatus) -> None:
    with subprocess.Popen(["sh", "-c", command]) as process:
        result = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    assert result is not None
    assert read_status(result) == status
