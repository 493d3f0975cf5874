"""`mocker attach`: a job that has a terminal, as who is at it sees it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.processes import PATIENCE, find_descendants, wait_until
from tests.end_to_end.pty_driver import DASH, OuterTerminal, open_terminal
from tests.end_to_end.supervised import ANSWER_LINES, Supervised, open_supervisor
from tests.requirements import (
    requires_busybox,
    requires_commands,
    requires_user_namespaces,
)

pytestmark = [
    pytest.mark.end_to_end,
    requires_user_namespaces,
    requires_busybox,
    requires_commands("dash", "setsid"),
]

MOCKER = Path(sys.executable).with_name("mocker")
JOBS = f"""
[supervisor]
name = "demo"

[jobs.web]
command = ["sh", "-c", '''
tty; stty size; echo "$TERM"; echo err >&2
{ANSWER_LINES}''']
tty = true
restart = "never"

[jobs.shell]
command = "sh"
tty = true

[jobs.plain]
command = ["sleep", "1000"]

[jobs.done]
command = "true"
tty = true
restart = "never"
"""
DETACH = "\x10\x11"


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Supervised]:
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_line("web | err")
        supervised.wait_event("job.exited", job="done")
        supervised.wait_event("job.started", job="shell")
        supervised.wait_event("job.started", job="plain")
        yield supervised


def environment(jobs: Supervised) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(jobs.file.parent)}


@contextmanager
def terminal_beside(jobs: Supervised, rows: int = 24) -> Iterator[OuterTerminal]:
    with open_terminal(DASH, rows=rows, columns=100, env=environment(jobs)) as terminal:
        yield terminal


def attach(terminal: OuterTerminal, job: str = "web") -> None:
    """Attach to a job, and wait until it has the terminal."""
    terminal.type(f"mocker attach {job}\n")
    terminal.wait_for("\r\n")
    assert wait_until(lambda: terminal.is_raw)


def test_job_has_a_terminal_of_its_own_for_all_that_it_reads_and_prints(jobs: Supervised) -> None:
    lines = [line for line in jobs.lines if line.startswith("web")]

    assert lines == ["web | /dev/pts/0", "web | 24 80", "web | xterm", "web | err"]


def test_keys_to_detach_leave_the_job_and_the_terminal_as_found(jobs: Supervised) -> None:
    with terminal_beside(jobs) as terminal:
        for word in ("one", "two"):
            attach(terminal)
            terminal.type(f"{word}\n")
            terminal.wait_for(f"got {word}\r\n")
            terminal.type(DETACH)
            answer = terminal.wait_for_prompt()

            assert answer.text.endswith("mocker attach: detached from web, which goes on\r\n")
            assert (answer.status, terminal.is_as_found) == (0, True)

    jobs.wait_line("web | got two")
    assert not jobs.find("job.exited", job="web")


def test_keys_to_detach_can_be_others(jobs: Supervised) -> None:
    with terminal_beside(jobs) as terminal:
        attach(terminal, "--detach-keys ctrl-a,d web")
        terminal.type("\x01d")

        assert terminal.wait_for_prompt().status == 0


def test_end_of_the_job_is_the_end_with_its_status(jobs: Supervised) -> None:
    with terminal_beside(jobs) as terminal:
        attach(terminal)
        terminal.type("end\n")

        assert terminal.wait_for_prompt().status == 7
        assert terminal.is_as_found


def test_size_of_the_window_is_followed(jobs: Supervised) -> None:
    with terminal_beside(jobs, rows=30) as terminal:
        attach(terminal)
        terminal.type("size\n")
        terminal.wait_for("30 100\r\n")
        terminal.resize(40, 120)
        # No shell tells when the job's terminal has followed.
        assert wait_until(lambda: "40 120" in _ask_size(terminal))


def _ask_size(terminal: OuterTerminal) -> str:
    terminal.type("size\n")
    return terminal.wait_for(r"\d+ \d+\r\n")


def test_two_who_are_attached_see_the_same(jobs: Supervised) -> None:
    with terminal_beside(jobs) as one, terminal_beside(jobs) as two:
        attach(one)
        attach(two)
        one.type("hello\n")

        assert one.wait_for("got hello\r\n") == two.wait_for("got hello\r\n")


def test_ctrl_c_is_for_what_is_in_the_foreground_of_the_job(jobs: Supervised) -> None:
    with terminal_beside(jobs) as terminal:
        attach(terminal, "shell")
        terminal.type("echo $((5*5)); sleep 1000\n")
        terminal.wait_for("25\r\n")
        terminal.type("\x03")
        terminal.wait_for("[$#] ")
        terminal.type("echo $((6*7))\n")
        terminal.wait_for("42\r\n")

    assert not jobs.find("job.exited", job="shell")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_it_and_not_the_job(jobs: Supervised, number: signal.Signals) -> None:
    with terminal_beside(jobs) as terminal:
        attach(terminal)
        (pid,) = find_descendants(terminal.shell.pid)
        os.kill(pid, number)

        assert terminal.wait_for_prompt().status == 128 + number
        assert terminal.is_as_found

    assert not jobs.find("job.exited", job="web")


def test_window_that_is_closed_leaves_the_job(jobs: Supervised) -> None:
    with terminal_beside(jobs) as terminal:
        attach(terminal)
        jobs.wait_event("attach.started", job="web")
        terminal.hang_up()
        jobs.wait_event("attach.ended", job="web")

    assert not jobs.find("job.exited", job="web")


def test_end_of_the_supervisor_is_told_and_the_terminal_as_found(jobs: Supervised) -> None:
    with terminal_beside(jobs) as terminal:
        attach(terminal)
        jobs.wait_event("attach.started", job="web")
        jobs.process.kill()
        answer = terminal.wait_for_prompt()

        assert answer.text.endswith("mocker attach: the supervisor is gone\r\n")
        assert (answer.status, terminal.is_as_found) == (1, True)


def test_stop_of_the_job_is_told_by_its_status(jobs: Supervised) -> None:
    with terminal_beside(jobs) as terminal:
        attach(terminal)
        stopped = run(jobs, "stop", "web")

        assert stopped.stdout == "web: stopped\n"
        assert terminal.wait_for_prompt().status == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("job", "text", "status"),
    [
        ("plain", "cannot attach to plain: it has no terminal; set tty = true", 1),
        ("done", "cannot attach to done: it does not run, it is EXITED", 1),
        ("nope", "there is no job 'nope'", 4),
    ],
)
def test_what_nobody_can_be_attached_to_is_told(
    jobs: Supervised, job: str, text: str, status: int
) -> None:
    with terminal_beside(jobs) as terminal:
        answer = terminal.run(f"mocker attach {job}")

        assert answer == (f"mocker attach: {text}\r\n", status)
        assert terminal.is_as_found


def test_nobody_can_be_attached_without_a_terminal(jobs: Supervised) -> None:
    ended = run(jobs, "attach", "web")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        "mocker attach: cannot attach to web: stdin and stdout are not a terminal; "
        "'mocker logs -f web' needs none\n"
    )


def run(jobs: Supervised, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MOCKER, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, **environment(jobs)},
        check=False,
    )
