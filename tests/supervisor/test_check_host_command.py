import socket
from errno import ENOSYS, EPERM
from pathlib import Path

import pytest

from mocker.isolation import check_host
from mocker.supervisor.check_host_command import check_journald, print_host_checks
from mocker.supervisor.sink_words import JOURNALD_SOCKET
from tests.callers import be_mocker, call
from tests.conftest import Mocker
from tests.refusals import refuse_user_namespaces
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [requires_busybox, requires_user_namespaces]


@pytest.mark.slow
def test_each_check_has_a_line_with_its_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    checks = [*check_host(), check_journald(JOURNALD_SOCKET)]

    print_host_checks()

    lines = capsys.readouterr().out.splitlines()
    for check, line in zip(checks, lines, strict=True):
        word = "ok" if check.granted else "MISSING" if check.needed else "absent"
        verdict, rest = line.split(maxsplit=1)
        assert (verdict, rest.startswith(check.name)) == (word, True)


@pytest.mark.slow
def test_verdicts_and_details_are_columns(mocker: Mocker) -> None:
    lines = mocker("check-host").stdout.splitlines()

    names = [*(check.name for check in check_host()), "journald"]
    width = max(map(len, names))
    assert [line[8 : 8 + width].strip() for line in lines] == names
    assert {line[8 + width : 10 + width] for line in lines} == {"  "}
    assert all(line[10 + width :].strip() for line in lines)


def test_host_that_can_run_containers_is_a_success(mocker: Mocker) -> None:
    result = mocker("check-host")

    assert (result.stderr, result.returncode) == ("", 0)
    assert "MISSING" not in result.stdout


def test_host_that_refuses_what_is_needed_is_a_failure() -> None:
    def act() -> None:
        refuse_user_namespaces(EPERM, ENOSYS)
        be_mocker("check-host")

    outcome = call(act)

    missing = [line for line in outcome.stdout.splitlines() if line.startswith("MISSING")]
    assert outcome.code == 1
    assert any("user namespace" in line for line in missing)
    assert any("a container" in line for line in missing)
    assert outcome.stderr == ""


def test_journald_is_there_if_somebody_listens(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)

        there = check_journald(path)

    gone = check_journald(path)
    assert (there.granted, there.detail) == (True, f"listens at {path}")
    assert (gone.granted, gone.needed) == (False, False)
    reason = "Connection refused (ECONNREFUSED); start systemd-journald, or "
    assert gone.detail.startswith(f"no sink 'journald': cannot write to {path}: {reason}")
