"""`mocker-supervise … 2>&1 | systemd-cat`: what a journal has then, a real one."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.job_texts import job
from tests.end_to_end.processes import DEFAULT_SIGNALS, PATIENCE
from tests.end_to_end.supervised import MOCKER_SUPERVISE
from tests.journald import Entry, open_journald, requires_journald
from tests.requirements import (
    IS_ROOT,
    requires_busybox,
    requires_commands,
    requires_user_namespaces,
)

pytestmark = [
    pytest.mark.end_to_end,
    requires_user_namespaces,
    requires_busybox,
    requires_journald,
    requires_commands("systemd-cat", "unshare", "mount"),
]


def show_journald(directory: Path) -> list[str]:
    """Return what runs a command where the journal is that of a private journald.

    systemd-cat can't be told where journald's socket is, so it gets a /run of its own.
    """
    script = (
        "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && "
        f'mount --bind {shlex.quote(str(directory))} /run/systemd/journal && exec "$@"'
    )
    user = [] if IS_ROOT else ["--user", "--map-root-user"]
    return ["unshare", *user, "--mount", "sh", "-c", script, "sh"]


def supervise_into_journal(directory: Path, text: str) -> list[Entry]:
    """Supervise until all jobs have ended, with systemd-cat behind it, and return the entries."""
    file = directory / "jobs.toml"
    file.write_text(text)
    with open_journald() as journald:
        cat = [*show_journald(journald.directory), "systemd-cat", "--identifier=all"]
        supervise = shlex.join([*DEFAULT_SIGNALS, str(MOCKER_SUPERVISE), str(file)])
        result = subprocess.run(
            ["sh", "-c", f"{supervise} 2>&1 | {shlex.join(cat)}"],
            env={**os.environ, "XDG_RUNTIME_DIR": str(directory)},
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (result.stdout, result.stderr, result.returncode) == (b"", b"", 0)
        return journald.read("SYSLOG_IDENTIFIER=all", transport="stdout")


def test_priorities_of_lines_and_events_survive(tmp_path: Path) -> None:
    script = r"echo out; echo err >&2; printf '<4>careful\n<2>grave\n'; printf end; exit 3"
    text = "[supervisor]\nlog_format = 'prefix'\n" + job("web", script, "restart = 'never'\n")

    entries = supervise_into_journal(tmp_path, text)

    lines = {e["MESSAGE"]: e["PRIORITY"] for e in entries if e["MESSAGE"].startswith("web | ")}
    events = {e["MESSAGE"].split()[0]: e["PRIORITY"] for e in entries if " | " not in e["MESSAGE"]}
    assert lines == {
        "web | out": "6",
        "web | err": "3",
        "web | careful": "4",
        "web | grave": "2",
        "web | end…": "6",
    }
    assert events == {
        "config.loaded": "6",
        "job.started": "6",
        "job.exited": "4",
        "supervisor.stopping": "6",
        "supervisor.stopped": "6",
    }


def test_no_line_is_lost_and_all_are_in_order(tmp_path: Path) -> None:
    text = "[supervisor]\nlog_format = 'prefix'\n"
    text += job("web", "seq 20000", "restart = 'never'\n")

    entries = supervise_into_journal(tmp_path, text)

    lines = [e["MESSAGE"] for e in entries if e["MESSAGE"].startswith("web | ")]
    assert lines == [f"web | {number}" for number in range(1, 20_001)]
