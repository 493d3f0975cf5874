"""How `mocker-supervise` stops jobs, and ends: in order, in time, and with nothing left."""

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.job_texts import LISTEN, SLEEP, STUBBORN, job, names
from tests.end_to_end.processes import find_descendants, wait_until, watch
from tests.end_to_end.supervised import open_supervisor
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

PTRACE_SEIZE = 0x4206

STOP_SIGNALS = {
    number.name.removeprefix("SIG"): number
    for number in signal.Signals
    if number not in {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
}


@pytest.mark.slow
def test_job_that_ignores_its_stop_signal_is_killed_after_the_grace_period(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, job("web", STUBBORN, "grace = '700ms'")) as run:
        run.wait_line("web | ready")

        status = run.terminate()

    assert (status, run.find("job.stopped", signal="SIGKILL") != []) == (0, True)
    assert 0.7 <= run.measure("supervisor.stopping", "job.stopped") < 5  # and not the usual ten


def test_what_had_to_be_killed_is_listed(tmp_path: Path) -> None:
    script = f"sleep 1234 & setsid sleep 4321 & {STUBBORN}"

    with open_supervisor(tmp_path, job("web", script, "grace = '100ms'")) as run:
        run.wait_line("web | ready")
        run.terminate()

    (killed,) = run.find("job.killed")
    commands = [survivor.split(" ", 1)[1] for survivor in killed["survivors"]]
    assert {"sleep 1234", "sleep 4321"} <= set(commands)


def test_every_stop_signal_reaches_the_command(tmp_path: Path) -> None:
    text = "".join(
        job(f"job-{name}", f"trap 'exit 0' {int(number)}; {LISTEN}", f"stop_signal = '{name}'")
        for name, number in STOP_SIGNALS.items()
    )

    with open_supervisor(tmp_path, text) as run:
        for name in STOP_SIGNALS:
            run.wait_line(f"job-{name} | ready")
        run.terminate()

    stopped = run.find("job.stopped", exit_code=0)
    assert (len(stopped), run.find("job.killed")) == (len(STOP_SIGNALS), [])


def test_jobs_stop_in_reverse_order_each_when_its_dependents_are_gone(tmp_path: Path) -> None:
    slow = "trap 'sleep 0.2; exit 0' TERM; " + LISTEN
    text = (
        job("a", slow)
        + job("b", slow, "depends_on = { a = 'started' }")
        + job("c", slow, "depends_on = { b = 'started' }")
        + job("d", slow)
    )

    with open_supervisor(tmp_path, text) as run:
        for name in "abcd":
            run.wait_line(f"{name} | ready")
        status = run.terminate()

    chain = [
        (event["event"], event["job"])
        for event in run.events
        if event["event"] in {"job.stopping", "job.stopped"} and event["job"] != "d"
    ]
    assert status == 0
    assert chain == [(f"job.{what}", name) for name in "cba" for what in ("stopping", "stopped")]


def test_second_signal_kills_at_once(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, job("web", STUBBORN, "grace = '1h'")) as run:
        run.wait_line("web | ready")
        run.send(signal.SIGTERM)
        run.wait_event("job.stopping")
        run.send(signal.SIGINT)

        status = run.wait_exit()

    assert (status, len(run.find("job.killed"))) == (1, 1)


@pytest.mark.parametrize(
    "keys",
    ["backoff = { initial = '1h', max = '1h' }", "depends_on = { other = 'completed' }"],
    ids=["backoff", "dependency"],
)
def test_job_that_waits_is_stopped_at_once(tmp_path: Path, keys: str) -> None:
    text = job("web", "exit 1", keys) + job("other", SLEEP)

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.started", job="other")
        if "backoff" in keys:
            run.wait_event("job.exited", job="web")
        asked = time.monotonic()

        status = run.terminate()

    assert (status, time.monotonic() - asked < 5) == (0, True)


def test_stop_while_a_job_becomes_ready_stops_it(tmp_path: Path) -> None:
    text = job("web", f"echo up; {SLEEP}", "ready = { log = 'never' }")

    with open_supervisor(tmp_path, text) as run:
        run.wait_line("web | up")
        status = run.terminate()

    assert (status, len(run.find("job.stopped", signal="SIGTERM"))) == (0, 1)


@pytest.mark.slow
def test_stop_of_everything_has_a_deadline(tmp_path: Path) -> None:
    text = "[supervisor]\nstop_timeout = '500ms'\n" + job("web", STUBBORN, "grace = '1h'")

    with open_supervisor(tmp_path, text) as run:
        run.wait_line("web | ready")
        status = run.terminate()

    assert (status, run.find("supervisor.stop_timed_out")[0]["jobs"]) == (1, ["web"])


@pytest.mark.slow
def test_job_that_no_kill_ends_is_told_and_left_behind(tmp_path: Path) -> None:
    keys = "[supervisor]\nstop_timeout = '100ms'\n"
    text = keys + job("web", STUBBORN, "grace = '1h'") + job("other", SLEEP)
    with open_supervisor(tmp_path, text) as run:
        run.wait_line("web | ready")
        init = run.wait_event("job.started", job="web")["pid"]
        run.wait_event("job.started", job="other")
        (command,) = read_children(init)
        with tracing(command):
            status = run.terminate()
            is_left = Path(f"/proc/{init}").exists()
        with watch([init]) as wait_ended:
            assert wait_ended() == []

    (left,) = run.find("supervisor.left_behind")
    assert (status, is_left, left["jobs"]) == (1, True, ["web"])
    assert run.events[-1]["event"] == "supervisor.stopped"
    assert run.events[-1]["exit_code"] == 1


@contextmanager
def tracing(pid: int) -> Iterator[None]:
    """Trace a process: if it is killed, it is there until the end, and its PID namespace as well.

    What has ended is its tracer's, which does not ask for it, before it is its parent's; and no
    init is gone before all others are. Source: ptrace(2), zap_pid_ns_processes() of the kernel.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_SEIZE, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    try:
        yield
    finally:
        os.waitpid(pid, 0)


def read_children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_process_that_left_its_session_ends_with_its_job(tmp_path: Path) -> None:
    script = "setsid sh -c 'while :; do echo x; sleep 0.1; done' & exec sleep 60"

    with open_supervisor(tmp_path, job("web", script, "grace = '300ms'")) as run:
        run.wait_line("web | x", count=3)
        with watch(find_descendants(run.process.pid)) as wait_ended:
            status = run.terminate()

            assert (status, wait_ended()) == (0, [])


@pytest.mark.slow
def test_many_jobs_leave_no_process_behind(tmp_path: Path) -> None:
    script = "sh -c 'while :; do sleep 3600; done' & sleep 1000 & sleep 1000"
    text = job("web", script, "replicas = 20")

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.started", count=20)
        with watch(find_descendants(run.process.pid)) as wait_ended:
            status = run.terminate()

            assert (status, wait_ended()) == (0, [])


@pytest.mark.parametrize("isolate", ["true", "false"])
def test_supervisor_that_is_killed_takes_every_process_with_it(
    tmp_path: Path, isolate: str
) -> None:
    script = f"setsid {SLEEP} & trap '' TERM; echo ready; {SLEEP}"

    with open_supervisor(tmp_path, job("web", script, f"replicas = 3\nisolate = {isolate}")) as run:
        for number in (1, 2, 3):
            run.wait_line(f"web-{number} | ready")
        with watch(find_descendants(run.process.pid)) as wait_ended:
            killed = time.monotonic()
            run.send(signal.SIGKILL)

            assert wait_ended() == []
            took = time.monotonic() - killed
    assert took < 1


@pytest.mark.parametrize("moment", range(8))
def test_supervisor_that_is_killed_while_jobs_start_and_are_probed_takes_all_with_it(
    tmp_path: Path, moment: int
) -> None:
    probes = "ready = { exec = ['sleep', '0.02'] }\nalive = { exec = ['true'], interval = '10ms' }"
    restarts = "restart = 'always'\nbackoff = { initial = '10ms' }"
    text = job("web", f"setsid {SLEEP} & exec {SLEEP}", f"replicas = 10\n{probes}")
    text += job("crash", "exit 1", f"replicas = 5\n{restarts}")

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.started", count=1 + 4 * moment)
        # So that none of its processes is overlooked: it asks for no more, and those that it has
        # asked for have come.
        run.send(signal.SIGSTOP)
        assert wait_until(lambda: is_stopped(run.process.pid))
        time.sleep(0.1)
        descendants = find_descendants(run.process.pid)
        with watch(descendants) as wait_ended:
            killed = time.monotonic()
            run.send(signal.SIGKILL)

            assert wait_ended() == []
            took = time.monotonic() - killed
    assert len(descendants) > 1
    assert took < 1


def is_stopped(pid: int) -> bool:
    return "\nState:\tT" in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_before_anything_is_loaded_ends_it_in_order(tmp_path: Path, number: int) -> None:
    with open_supervisor(tmp_path, job("web", SLEEP)) as run:
        # Its handlers are what it has first of all, and this one is the last of them.
        assert wait_until(lambda: catches(run.process.pid, signal.SIGQUIT))
        run.send(number)

        status = run.wait_exit()

    assert (status, run.remarks) == (0, [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_while_the_first_of_many_jobs_begin_ends_all_in_order(
    tmp_path: Path, number: int
) -> None:
    with open_supervisor(tmp_path, "".join(job(f"j{n}", SLEEP) for n in range(100))) as run:
        run.wait_event("config.loaded")
        run.send(number)

        status = run.wait_exit()

    assert (status, run.remarks) == (0, [])
    stopped = names(run.find("job.stopped"))
    assert (len(stopped), set(stopped)) == (100, {f"j{n}" for n in range(100)})


def catches(pid: int, number: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (caught,) = [line.split()[1] for line in lines if line.startswith("SigCgt:")]
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_nothing_is_started_or_reloaded_once_a_stop_has_begun(tmp_path: Path) -> None:
    text = job(
        "db",
        "mkfifo /tmp/go; echo ready; read -r _ <>/tmp/go",
        "restart = 'always'\nbackoff = { initial = 0 }",
    ) + job("web", STUBBORN, "depends_on = { db = 'started' }\ngrace = '1h'")

    with open_supervisor(tmp_path, text) as run:
        db = run.wait_event("job.started", job="db")
        run.wait_line("web | ready")
        run.send(signal.SIGTERM)
        run.wait_event("job.stopping", job="web")
        run.rewrite(job("new", SLEEP))
        os.kill(db["pid"], signal.SIGKILL)
        run.wait_event("job.exited", job="db")
        run.send(signal.SIGINT)
        run.wait_exit()

    assert names(run.find("job.started")) == ["db", "web"]
    assert len(run.find("config.loaded")) == 1


@pytest.mark.slow
def test_job_that_holds_a_stop_is_named_after_three_seconds(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, job("web", STUBBORN, "grace = '5s'")) as run:
        started = run.wait_event("job.started")
        run.wait_line("web | ready")
        run.send(signal.SIGTERM)
        waiting = run.wait_event("supervisor.waiting")
        run.send(signal.SIGQUIT)
        state = run.wait_event("job.state")
        run.send(signal.SIGTERM)
        run.wait_exit()

    assert (waiting["job"], waiting["pid"]) == ("web", started["pid"])
    assert 1 < waiting["killed_in_s"] <= 2
    assert state["state"] == "STOPPING"
