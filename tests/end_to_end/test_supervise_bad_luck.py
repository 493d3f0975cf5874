"""What `mocker-supervise` does where it is refused something, or a job is a nuisance."""

import fcntl
import os
import resource
import select
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.controlled import Controlled, open_controlled
from tests.end_to_end.job_texts import SLEEP, job
from tests.end_to_end.processes import find_descendants, wait_until, watch
from tests.end_to_end.supervised import open_supervisor
from tests.requirements import requires_busybox, requires_user, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]


@requires_user
@pytest.mark.slow
def test_processes_that_are_refused_cost_a_job_its_start_and_no_more(tmp_path: Path) -> None:
    # The limit counts all processes of a user, so those of other tests too.
    count = len([path for path in Path("/proc").glob("[0-9]*") if read_owner(path) == os.getuid()])
    text = job("web", SLEEP, "replicas = 30\nbackoff = { initial = '100ms' }")

    with open_supervisor(tmp_path, text, ["prlimit", f"--nproc={count + 30}"]) as run:
        failed = run.wait_event("job.start_failed")

        assert run.terminate() == 0
    assert failed["next"] == "restart"


def read_owner(process: Path) -> int:
    try:
        return process.stat().st_uid
    except FileNotFoundError:
        return -1


@pytest.mark.slow
@pytest.mark.parametrize("limit", range(19, 45, 5))  # it has 17 itself
def test_descriptors_that_are_refused_cost_a_job_its_start_and_no_more(
    tmp_path: Path, limit: int
) -> None:
    text = job("web", SLEEP, "replicas = 8\nbackoff = { initial = '100ms' }")

    with open_supervisor(tmp_path, text, ["prlimit", f"--nofile={limit}:{limit}"]) as run:
        failed = run.wait_event("job.start_failed")

        assert run.terminate() == 0
    assert (failed["next"], run.remarks) == ("restart", [])


@pytest.mark.parametrize(
    ("of_forks", "kind"),
    [
        pytest.param(False, resource.RLIMIT_NOFILE, id="descriptors of the supervisor"),
        pytest.param(True, resource.RLIMIT_NOFILE, id="descriptors of the fork server"),
        # Root may have as many as it likes.
        pytest.param(True, resource.RLIMIT_NPROC, id="processes", marks=requires_user),
    ],
)
def test_start_that_is_refused_is_tried_again_while_others_go_on(
    tmp_path: Path, of_forks: bool, kind: int
) -> None:
    text = job("web", "exit 1", "backoff = { initial = '50ms', max = '50ms' }")
    text += job("other", "while :; do echo tick; sleep 0.1; done")

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.exited", job="web")
        run.wait_line("other | tick")
        limited = find_fork_server(run.process.pid) if of_forks else [run.process.pid]
        with limit(limited, kind, 3):  # it has more already
            failed = run.wait_event("job.start_failed", job="web", count=2)
            run.wait_line("other | tick", count=run.lines.count("other | tick") + 3)
        run.wait_event("job.started", job="web", count=len(run.find("job.started", job="web")) + 1)
        status = run.terminate()

    assert (failed["next"], status, run.remarks) == ("restart", 0, [])
    assert len(run.find("job.started", job="other")) == 1


def find_fork_server(supervisor: int) -> list[int]:
    """Return the processes that make its containers."""
    pids = [
        pid
        for pid in find_descendants(supervisor)
        if Path(f"/proc/{pid}/comm").read_text() == "mocker-fork\n"
    ]
    assert len(pids) == 2
    return pids


@contextmanager
def limit(pids: Sequence[int], kind: int, soft: int) -> Iterator[None]:
    """Let processes have no more of something for the length of a block."""
    before = [resource.prlimit(pid, kind) for pid in pids]
    for pid, (_, hard) in zip(pids, before, strict=True):
        resource.prlimit(pid, kind, (soft, hard))
    try:
        yield
    finally:
        for pid, values in zip(pids, before, strict=True):
            resource.prlimit(pid, kind, values)


def test_who_asks_is_answered_at_once_while_a_start_is_tried_again_and_again(
    tmp_path: Path,
) -> None:
    text = "[jobs.web]\ncommand = ['nosuch']\nbackoff = { initial = 0 }\n" + job("other", SLEEP)
    answers, times = list[object](), list[float]()

    with open_controlled(tmp_path, text) as controlled:
        controlled.run.wait_event("job.start_failed", count=5)
        before = len(controlled.run.find("job.start_failed"))
        for _ in range(10):
            begin = time.monotonic()
            answers += controlled.ask("GET", "/v1/jobs")
            times.append(time.monotonic() - begin)
        controlled.run.wait_event("job.start_failed", count=before + 5)
        ended = controlled.run.terminate()

    assert (answers.count(200), str(answers).count("nosuch") >= 10, ended) == (10, True, 0)
    assert statistics.median(times) < 0.2


@pytest.mark.slow
def test_command_that_does_not_exist_costs_next_to_nothing(tmp_path: Path) -> None:
    text = "[jobs.web]\ncommand = ['nosuch']\nreplicas = 3\n"

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.start_failed", count=6)
        pids = [run.process.pid, *find_fork_server(run.process.pid)]
        before, at = sum(map(read_whole_cpu_s, pids)), time.monotonic()
        run.wait_event("job.start_failed", count=12)  # each has waited for one and two seconds
        used, took = sum(map(read_whole_cpu_s, pids)) - before, time.monotonic() - at
        run.terminate()

    assert (used / took < 0.05, took > 2) == (True, True)


def read_whole_cpu_s(pid: int) -> float:
    """Return what a process has used, and all of its children that have been reaped."""
    return read_cpu_s(pid) + read_cpu_s(pid, first=13)


def read_cpu_s(pid: int, first: int = 11) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[first]) + int(fields[first + 1])) / os.sysconf("SC_CLK_TCK")


def test_job_that_closes_its_output_goes_on(tmp_path: Path) -> None:
    script = "echo open; exec >&- 2>&-; mkfifo /run/go; echo closed >/run/go"
    run_directory = tmp_path / "run"
    run_directory.mkdir(mode=0o777)
    run_directory.chmod(0o777)
    text = job("web", f"{script}; exec {SLEEP}", f"volumes = ['{run_directory}:/run']")

    with open_supervisor(tmp_path, text) as run:
        run.wait_line("web | open")
        assert wait_until((run_directory / "go").exists)
        said = (run_directory / "go").read_text()
        run.send(signal.SIGQUIT)
        state = run.wait_event("job.state")
        status = run.terminate()

    assert (said, state["state"], status) == ("closed\n", "RUNNING", 0)


@pytest.mark.slow
def test_job_that_forks_as_fast_as_it_can_is_stopped(tmp_path: Path) -> None:
    script = "ulimit -u 200; echo ready; while :; do (sleep 1000 &) 2>/dev/null; done"
    text = job("web", script, "grace = '200ms'") + job("other", SLEEP)

    with open_supervisor(tmp_path, text) as run:
        run.wait_line("web | ready")
        with watch(find_descendants(run.process.pid)) as wait_ended:
            status = run.terminate()

            assert (status, wait_ended()) == (0, [])


@pytest.mark.slow
def test_line_without_an_end_is_bounded_and_holds_up_no_other_job(tmp_path: Path) -> None:
    other = "while :; do echo tick; sleep 0.1; done"
    text = job("web", "echo start; tr '\\0' x </dev/zero")
    text += job("other", other, "stdout = ['console', { file = 'other.log' }]")
    log = tmp_path / "other.log"

    with open_supervisor(tmp_path, text, stdout=subprocess.DEVNULL) as run:
        run.wait_event("job.started", count=2)
        before = read_memory_kib(run.process.pid)
        assert wait_until(lambda: log.exists() and read_cpu_s(run.process.pid) > 1)
        ticks = log.read_text().count("tick\n")
        assert wait_until(lambda: log.read_text().count("tick\n") > ticks + 10)
        grown = read_memory_kib(run.process.pid) - before
        status = run.terminate()

    assert (status, grown < 20_000) == (0, True)


def read_memory_kib(pid: int, key: str = "VmRSS") -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{key}:")))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_gigabyte_without_a_newline_arrives_whole_in_little_memory(tmp_path: Path) -> None:
    text = job("web", f"head -c {2**30} /dev/zero | tr '\\0' Q", "type = 'oneshot'")
    # Keeps the supervisor, and with it the measure of its memory, once the other has ended.
    text += job("other", SLEEP)
    count = 0

    read_end, write_end = os.pipe()
    with open_supervisor(tmp_path, text, stdout=write_end) as run:
        os.close(write_end)
        while count < 2**30:
            count += os.read(read_end, 2**20).count(b"Q")
        most = read_memory_kib(run.process.pid, "VmHWM")
        status = run.terminate()
    os.close(read_end)

    assert (status, count, most < 100_000) == (0, 2**30, True)


def test_job_without_memory_backs_off_and_others_do_not_notice(tmp_path: Path) -> None:
    keys = "ulimits = { as = 33554432 }\nbackoff = { initial = '10ms', max = '10ms' }"
    text = job("web", "dd if=/dev/zero of=/dev/null bs=512M count=1", keys) + job("other", SLEEP)

    with open_supervisor(tmp_path, text) as run:
        failed = run.wait_event("job.exited", job="web", count=3)
        (other,) = run.find("job.started", job="other")
        alive = Path(f"/proc/{other['pid']}").exists()
        status = run.terminate()

    assert (failed["exit_code"], failed["next"], alive, status) == (1, "restart", True, 0)


def test_full_pipe_for_its_own_events_delays_nobody(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    crashing = "restart = 'always'\nbackoff = { initial = '10ms', factor = 1 }"
    text = job("crash", "echo tick; exit 1", crashing)
    wrapper = ["sh", "-c", 'exec "$@" 2<>"$0"', str(fifo)]

    with fifo.open("r+b", buffering=0) as events:
        fcntl.fcntl(events, fcntl.F_SETPIPE_SZ, 4096)
        with open_supervisor(tmp_path, text, wrapper) as run:
            run.wait_line("crash | tick", count=50)
            is_full = not select.select([], [events], [], 0)[1]
            began = time.monotonic()
            stopped = Controlled(run, tmp_path).mocker("stop", "crash")
            took = time.monotonic() - began
            status = run.terminate()

    assert is_full
    assert (stopped.stdout, status) == ("crash: stopped\n", 0)
    assert took < 2
