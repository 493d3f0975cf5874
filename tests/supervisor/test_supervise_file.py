"""Everything around the jobs of a file, in a process of its own: it becomes a subreaper."""

import fcntl
import os
import resource
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.end_to_end.processes import find_descendants, wait_until
from tests.end_to_end.supervised import open_supervisor, supervise
from tests.journald import open_journald, requires_journald
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [requires_user_namespaces, requires_busybox]

SLEEP = "[jobs.web]\ncommand = ['sleep', '1000']\n"
MANY_LATER = """
[jobs.many]
command = ["true"]
type = "oneshot"
schedule = "0 0 29 2 *"
replicas = 100
"""


def test_file_is_told_when_it_is_loaded(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, SLEEP) as run:
        loaded = run.wait_event("config.loaded")
        run.terminate()

    assert (loaded["path"], loaded["jobs"]) == (str(run.file), 1)


def test_end_is_the_last_that_is_told(tmp_path: Path) -> None:
    status, run = supervise(tmp_path, "[jobs.web]\ncommand = ['true']\n")

    assert (run.events[-1]["event"], run.events[-1]["exit_code"]) == ("supervisor.stopped", status)


@requires_journald
def test_events_are_entries_of_the_journal_where_that_is_asked_for(tmp_path: Path) -> None:
    with open_journald() as journald:
        _, run = supervise(
            tmp_path,
            f"""
            [supervisor]
            name = "mine"
            log_format = "journald"
            journald_socket = "{journald.socket}"
            [jobs.web]
            command = ["false"]
            restart = "never"
            """,
        )

        (exited,) = journald.read("MOCKER_JOB=web", "MOCKER_EVENT=job.exited")
        names = [entry["MOCKER_EVENT"] for entry in journald.read("MOCKER_SUPERVISOR=mine")]
    assert (exited["MOCKER_EXIT_CODE"], exited["SYSLOG_IDENTIFIER"]) == ("1", "mocker-supervise")
    assert (names[0], names[-1]) == ("config.loaded", "supervisor.stopped")
    assert (run.events, run.remarks) == ([], [])


def test_events_go_to_stderr_where_there_is_no_journal(tmp_path: Path) -> None:
    _, run = supervise(
        tmp_path,
        """
        [supervisor]
        log_format = "journald"
        journald_socket = "missing"
        [jobs.web]
        command = ["true"]
        """,
    )

    (failed,) = run.find("sink.failed")
    assert failed["path"] == f"{tmp_path}/missing"
    assert run.events[-1]["event"] == "supervisor.stopped"


def test_garbage_is_looked_for_once_the_file_is_read_and_not_among_what_is_there(
    tmp_path: Path,
) -> None:
    told = look_instead_of_running(
        tmp_path, "gc.isenabled(), gc.get_freeze_count() > 10_000, gc.get_threshold()[0] > 5_000"
    )

    assert told == "True True True"


def test_what_structlog_has_no_use_for_is_not_imported_though_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich" / "__init__.py").write_text("print('imported')")

    assert look_instead_of_running(tmp_path, "'structlog' in sys.modules") == "True"


def look_instead_of_running(tmp_path: Path, what: str) -> str:
    """Return what a supervisor prints of itself where its event loop would begin."""
    (tmp_path / "jobs.toml").write_text(SLEEP)
    instead = f"trio.run = lambda *_: print({what}) or 0"
    command = "from mocker.supervisor.supervise_command import run_command"
    script = f"import gc, sys, trio; {instead}; {command}; run_command(['jobs.toml'])"
    return subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        check=True,
    ).stdout.strip()


def test_there_is_room_for_the_descriptors_of_all_jobs_before_the_first_has_any(
    tmp_path: Path,
) -> None:
    with open_supervisor(tmp_path, MANY_LATER) as run:
        run.wait_event("config.loaded")
        room = read_descriptor_room(run.process.pid)

    assert room > 400  # a table of 64 or 256 otherwise


def test_supervisor_with_room_for_few_descriptors_goes_without(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, MANY_LATER, ["prlimit", "--nofile=100:100"]) as run:
        run.wait_event("config.loaded")
        room = read_descriptor_room(run.process.pid)
        run.terminate()

    assert (room <= 256, run.events[-1]["event"]) == (True, "supervisor.stopped")


def read_descriptor_room(pid: int) -> int:
    """Return how many descriptors a process may have before the kernel makes a longer table."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("FDSize:"))


@pytest.mark.parametrize("name", ["mocker-fork", "mocker-clone"])
def test_end_of_the_fork_server_ends_everything(tmp_path: Path, name: str) -> None:
    with open_supervisor(tmp_path, SLEEP) as run:
        run.wait_event("job.started")
        (part,) = (pid for pid in find_children(run.process.pid) if read_name(pid) == name)
        os.kill(part, signal.SIGKILL)

        status = run.wait_exit()

    assert (status, bool(run.find("fork_server.exited"))) == (1, True)
    assert run.find("job.stopped", job="web")


def test_jobs_go_on_without_the_server_of_applets(tmp_path: Path) -> None:
    text = "[jobs.web]\ncommand = ['sh', '-c', 'ls /bin/cat; exit 1']\nrestart = 'always'\n"

    with open_supervisor(tmp_path, text + "backoff = { initial = '10ms', max = '10ms' }\n") as run:
        run.wait_event("job.exited")
        (part,) = (
            pid for pid in find_children(run.process.pid) if read_name(pid) == "mocker-applets"
        )
        os.kill(part, signal.SIGKILL)
        before = len(run.find("job.exited"))
        run.wait_event("job.exited", count=before + 10)
        status = run.terminate()

    assert (status, run.find("fork_server.exited"), run.find("orphan.reaped")) == (0, [], [])
    assert {event["exit_code"] for event in run.find("job.exited")} == {1}


def find_children(pid: int) -> list[int]:
    below = find_descendants(pid)
    return [child for child in below if read_parent(child) == pid]


def read_parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0  # a run that has just ended


def test_many_descriptors_are_allowed_to_it_and_not_to_its_jobs(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = "[jobs.web]\ncommand = ['sh', '-c', 'ulimit -n; exec sleep 1000']\n"

    with open_supervisor(tmp_path, text, ["prlimit", f"--nofile=200:{hard}"]) as run:
        run.wait_line("web | 200")
        limits = Path(f"/proc/{run.process.pid}/limits").read_text()
        run.terminate()

    (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert line.split()[3] == str(hard)


@pytest.mark.slow
def test_output_that_nobody_takes_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    text = "[jobs.web]\ncommand = ['yes']\n"
    read_end, write_end = os.pipe()
    try:
        with open_supervisor(tmp_path, text, stdout=write_end) as run:
            os.close(write_end)
            run.wait_event("job.started")
            assert wait_until(lambda: is_full(read_end))

            status = run.terminate()
    finally:
        os.close(read_end)

    assert status == 0


@pytest.mark.slow
def test_output_that_nobody_takes_does_not_hold_up_a_reload(tmp_path: Path) -> None:
    text = "[jobs.old]\ncommand = ['yes']\n"
    read_end, write_end = os.pipe()
    try:
        with open_supervisor(tmp_path, text, stdout=write_end) as run:
            os.close(write_end)
            run.wait_event("job.started")
            assert wait_until(lambda: is_full(read_end))

            run.rewrite(SLEEP)
            loaded = run.wait_event("config.loaded", 2)
            run.terminate()
    finally:
        os.close(read_end)

    assert loaded["removed"] == ["old"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mocker-fork", "mocker-clone"])
def test_fork_server_that_hangs_does_not_keep_it_from_ending(tmp_path: Path, name: str) -> None:
    keys = "restart = 'always'\nbackoff = { initial = '1ms', max = '1ms' }\n"
    text = f"[supervisor]\nstop_timeout = '1s'\n[jobs.web]\ncommand = ['true']\n{keys}"
    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.started")
        for pid in find_children(run.process.pid):
            if read_name(pid) == name:
                os.kill(pid, signal.SIGSTOP)

        status = run.terminate()

    # With a start that was under way when the server hung, it was not in order.
    assert status in {0, 1}
    assert run.events[-1]["event"] == "supervisor.stopped"
    assert run.events[-1]["exit_code"] == status


def read_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""  # a run that has just ended


def is_full(read_end: int) -> bool:
    """Tell whether a pipe holds all it can: there may be room at the end of its last page."""
    size = int.from_bytes(fcntl.ioctl(read_end, termios.FIONREAD, bytes(4)), sys.byteorder)
    return size > fcntl.fcntl(read_end, fcntl.F_GETPIPE_SZ) - os.sysconf("SC_PAGE_SIZE")


def test_reader_that_goes_away_harms_nobody(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    text = "[jobs.web]\ncommand = ['yes']\n"

    with open_supervisor(tmp_path, text, stdout=write_end) as run:
        os.close(write_end)
        run.wait_event("job.started")
        os.close(read_end)
        run.send(signal.SIGQUIT)
        state = run.wait_event("job.state")
        status = run.terminate()

    assert (state["state"], status) == ("RUNNING", 0)


def test_descriptors_that_the_caller_closed_are_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text("[jobs.web]\ncommand = ['true']\n")
    command = Path(sys.executable).with_name("mocker-supervise")

    result = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", command, tmp_path / "jobs.toml"],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        check=False,
    )

    assert result.returncode == 0


def test_socket_is_there_before_the_first_job_is_started_and_not_after_the_end(
    tmp_path: Path,
) -> None:
    socket = tmp_path / "mocker/mine.sock"
    with open_supervisor(tmp_path, f"[supervisor]\nname = 'mine'\n{SLEEP}") as run:
        run.wait_event("job.started")
        was_there = socket.is_socket()
        run.terminate()

    assert (was_there, socket.exists()) == (True, False)
