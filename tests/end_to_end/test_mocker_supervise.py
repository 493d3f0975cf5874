"""`mocker-supervise` as its user meets it: real files, real containers, real signals."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import Signals

import pytest

from tests.end_to_end.asking import ask
from tests.end_to_end.late_opens import open_late_opens
from tests.end_to_end.processes import find_descendants, wait_until, watch
from tests.end_to_end.supervised import MOCKER_SUPERVISE, Supervised, open_supervisor, supervise
from tests.requirements import (
    requires_busybox,
    requires_commands,
    requires_root,
    requires_user,
    requires_user_namespaces,
)

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

# Shell code. A process that is done at SIGTERM, as most are, and one that only SIGKILL ends: it
# ignores every signal that can be ignored, and so does what it starts.
SLEEP = "sleep 1000"
STUBBORN = 'for n in $(seq 64); do trap "" $n; done; echo ready; while :; do sleep 1; done'
# One that listens, as a shell does only between two commands: a signal that comes right before it
# waits is heard after the wait, which therefore is a short one.
LISTEN = "mkfifo /tmp/go; echo ready; while :; do read -t 0.2 -r _ <>/tmp/go; done"

PTRACE_SEIZE = 0x4206

STOP_SIGNALS = {
    number.name.removeprefix("SIG"): number
    for number in signal.Signals
    if number not in {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
}


def job(name: str, script: str, keys: str = "") -> str:
    """Return the entry of a job that is a shell script; the keys are TOML."""
    text = script.replace("$", "$$")  # mocker's own variables
    return f"[jobs.{name}]\ncommand = ['sh', '-c', '''{text}''']\n{keys}\n"


def names(events: list[dict[str, object]]) -> list[object]:
    return [event.get("job") for event in events]


# How it ends


def test_oneshots_that_end_well_end_it_with_0(tmp_path: Path) -> None:
    status, run = supervise(tmp_path, job("one", "echo hello", "type = 'oneshot'"))

    assert (status, run.lines, run.remarks) == (0, ["one | hello"], [])


def test_file_without_jobs_that_run_ends_at_once(tmp_path: Path) -> None:
    status, run = supervise(tmp_path, job("one", "exit 0", "restart = 'on-failure'"))

    assert (status, run.find("job.exited", exit_code=0) != []) == (0, True)


def test_job_that_is_given_up_makes_the_status_1_and_shows_its_last_lines(tmp_path: Path) -> None:
    keys = "backoff = { initial = 0 }\ngive_up = { failures = 3, within = '60s' }"

    status, run = supervise(tmp_path, job("web", "seq 30; exit 7", keys))

    (given_up,) = run.find("job.given_up")
    assert (status, len(run.find("job.started"))) == (1, 3)
    assert given_up["last_lines"] == [str(number) for number in range(11, 31)]


@pytest.mark.parametrize("keys", ["restart = 'never'", "backoff = { initial = '1h', max = '1h' }"])
def test_run_that_ends_right_after_its_start_shows_its_last_lines(
    tmp_path: Path, keys: str
) -> None:
    with open_supervisor(tmp_path, job("web", "echo too-fast; exit 1", keys)) as run:
        exited = run.wait_event("job.exited")

    assert (exited["last_lines"], exited["exit_code"]) == (["too-fast"], 1)


def test_permanent_exit_code_ends_a_job_after_one_run(tmp_path: Path) -> None:
    keys = "restart = 'always'\npermanent_codes = [78]"

    status, run = supervise(tmp_path, job("web", "exit 78", keys))

    assert (status, len(run.find("job.started"))) == (1, 1)
    assert run.find("job.given_up", reason="exit code 78 is permanent")


def test_command_that_does_not_exist_says_so_and_is_tried_again(tmp_path: Path) -> None:
    text = "[jobs.web]\ncommand = ['nosuch']\nbackoff = { initial = '10ms' }"

    with open_supervisor(tmp_path, text) as run:
        failed = run.wait_event("job.start_failed", count=2)

        status = run.terminate()

    assert (status, failed["next"]) == (0, "restart")
    assert "'nosuch'" in failed["reason"]


def test_start_that_is_given_up_names_the_step(tmp_path: Path) -> None:
    text = "[jobs.web]\ncommand = ['true']\nuser = 'nosuch'\nrestart = 'never'"

    status, run = supervise(tmp_path, text)

    assert (status, "nosuch" in run.find("job.start_failed")[0]["reason"]) == (1, True)


@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("exit 0", 0), ("kill -9 $$", 137)])
def test_critical_job_stops_the_others_and_gives_its_status(
    tmp_path: Path, script: str, status: int
) -> None:
    text = job("main", script, "critical = true\nrestart = 'never'") + job("other", SLEEP)

    ended, run = supervise(tmp_path, text)

    assert ended == status
    assert run.find("supervisor.stopping", reason="critical job main has ended")
    assert run.find("supervisor.stopped", exit_code=status)


def test_second_supervisor_of_a_name_refuses(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, job("web", SLEEP)) as run:
        run.wait_event("job.started")

        second = subprocess.run(
            [MOCKER_SUPERVISE, run.file],
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    assert second.returncode == 1
    assert second.stderr == (
        f"mocker-supervise: cannot use the name 'jobs': supervisor {run.process.pid} has it; "
        "set another one in [supervisor]\n"
    )


def test_mistakes_of_the_file_are_all_told_and_nothing_is_started(tmp_path: Path) -> None:
    text = job("web", SLEEP, "restart = 'alway'") + job("db", SLEEP, "grace = -1")

    status, run = supervise(tmp_path, f"{text}\n[jobs.web]\nuser = nobody\n")

    assert (status, run.events, len(run.remarks)) == (2, [], 4)
    assert all(line.startswith(f"mocker-supervise: {run.file}:") for line in run.remarks)


# Restarts


def test_each_restart_has_its_reason_and_its_wait(tmp_path: Path) -> None:
    text = job("web", "kill -SEGV $$", "backoff = { initial = '10ms', factor = 3, jitter = 0 }")

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.exited", count=3)
        run.terminate()

    exits = run.find("job.exited", signal="SIGSEGV", next="restart")[:3]
    assert [event["delay_s"] for event in exits] == [0.01, 0.03, 0.09]
    assert all(0 <= event["uptime_s"] < 5 for event in exits)


@pytest.mark.parametrize("number", ["1", "2", "6", "9", "11", "15"])
def test_job_that_dies_of_a_signal_is_restarted_and_the_signal_is_named(
    tmp_path: Path, number: str
) -> None:
    text = job("web", f"kill -{number} $$", "restart = 'always'\nbackoff = { initial = 0 }")

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.started", count=3)
        run.terminate()

    assert run.find("job.exited", signal=Signals(int(number)).name)


def test_crash_of_a_dependency_leaves_its_dependents_alone(tmp_path: Path) -> None:
    text = job(
        "db", "echo up; mkfifo /tmp/go; read -r _ <>/tmp/go", "backoff = { initial = 0 }"
    ) + job("web", SLEEP, "depends_on = { db = 'started' }")

    with open_supervisor(tmp_path, text) as run:
        db = run.wait_event("job.started", job="db")
        run.wait_event("job.started", job="web")
        os.kill(db["pid"], signal.SIGKILL)
        run.wait_event("job.started", job="db", count=2)
        run.terminate()

    assert len(run.find("job.started", job="web")) == 1


@pytest.mark.slow
def test_scheduled_job_runs_at_its_times_and_not_at_the_start(tmp_path: Path) -> None:
    text = job("tick", "echo tick", "type = 'oneshot'\nschedule = '* * * * * *'")

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.started", count=2)

        assert run.terminate() == 0
    seconds = [event["timestamp"][:19] for event in run.find("job.started")[:2]]
    assert seconds[0] < seconds[1]


# Stops


@pytest.mark.slow
def test_job_that_ignores_its_stop_signal_is_killed_after_the_grace_period(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, job("web", STUBBORN, "grace = '700ms'")) as run:
        run.wait_line("web | ready")

        status = run.terminate()

    assert (status, run.find("job.stopped", signal="SIGKILL") != []) == (0, True)
    assert 0.7 <= run.measure("supervisor.stopping", "job.stopped") <= 1.2


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


def test_supervisor_that_is_killed_takes_every_process_with_it(tmp_path: Path) -> None:
    script = f"setsid {SLEEP} & trap '' TERM; echo ready; {SLEEP}"

    with open_supervisor(tmp_path, job("web", script, "replicas = 3")) as run:
        for number in (1, 2, 3):
            run.wait_line(f"web-{number} | ready")
        with watch(find_descendants(run.process.pid)) as wait_ended:
            killed = time.monotonic()
            run.send(signal.SIGKILL)

            assert wait_ended() == []
            took = time.monotonic() - killed
    assert took < 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_before_anything_is_loaded_ends_it_in_order(tmp_path: Path, number: int) -> None:
    with open_supervisor(tmp_path, job("web", SLEEP)) as run:
        # Its handlers are what it has first of all, and this one is the last of them.
        assert wait_until(lambda: catches(run.process.pid, signal.SIGQUIT))
        run.send(number)

        status = run.wait_exit()

    assert (status, run.remarks) == (0, [])


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


# Dependencies


def test_chain_of_oneshots_runs_in_order(tmp_path: Path) -> None:
    text = "".join(
        job(
            f"j{number}",
            f"echo {number}",
            "type = 'oneshot'"
            + (f"\ndepends_on = {{ j{number - 1} = 'completed' }}" if number else ""),
        )
        for number in range(6)
    )

    status, run = supervise(tmp_path, text)

    assert (status, run.lines) == (0, [f"j{number} | {number}" for number in range(6)])


def test_job_with_two_dependencies_starts_once_after_both(tmp_path: Path) -> None:
    def step(name: str, needed: str) -> str:
        return job(name, f"echo {name}", f"type = 'oneshot'\ndepends_on = {{ {needed} }}")

    text = (
        step("end", "left = 'completed', right = 'completed'")
        + step("left", "top = 'completed'")
        + step("right", "top = 'completed'")
        + step("top", "")
    )

    status, run = supervise(tmp_path, text)

    started = names(run.find("job.started"))
    assert (status, started[0], sorted(map(str, started[1:3])), started[3:]) == (
        0,
        "top",
        ["left", "right"],
        ["end"],
    )


@pytest.mark.slow
def test_long_chain_of_short_jobs_is_done_soon(tmp_path: Path) -> None:
    text = "".join(
        f"[jobs.j{number}]\ncommand = ['true']\ntype = 'oneshot'\n"
        + (f"depends_on = {{ j{number - 1} = 'completed' }}\n" if number else "")
        for number in range(50)
    )

    status, run = supervise(tmp_path, text)

    assert (status, names(run.find("job.exited"))) == (0, [f"j{number}" for number in range(50)])


def test_dependency_that_fails_for_good_leaves_its_dependents_skipped(tmp_path: Path) -> None:
    text = (
        job("migrate", "exit 1", "type = 'oneshot'")
        + job("web", SLEEP, "depends_on = { migrate = 'completed' }")
        + job("proxy", SLEEP, "depends_on = { web = 'started' }")
    )

    status, run = supervise(tmp_path, text)

    assert status == 1
    assert [(event["job"], event["reason"]) for event in run.find("job.skipped")] == [
        ("web", "migrate will not be completed: it is EXITED"),
        ("proxy", "web will not be started: it is STOPPED"),
    ]


def test_line_that_comes_in_two_pieces_makes_a_job_ready_once(tmp_path: Path) -> None:
    text = job(
        "db",
        f"printf 'now accept'; sleep 0.2; echo ing; {SLEEP}",
        "ready = { log = 'now accepting$' }",
    ) + job("web", SLEEP, "depends_on = { db = 'ready' }")

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.started", job="web")
        run.terminate()

    order = [
        (e["event"], e["job"]) for e in run.events if e["event"] in {"job.ready", "job.started"}
    ]
    assert order == [("job.started", "db"), ("job.ready", "db"), ("job.started", "web")]


def test_dependents_of_a_job_that_ends_before_it_is_ready_are_skipped(tmp_path: Path) -> None:
    text = job(
        "db", "echo cannot; exit 1", "restart = 'never'\nready = { log = 'accepting' }"
    ) + job("web", SLEEP, "depends_on = { db = 'ready' }")

    status, run = supervise(tmp_path, text)

    (exited,) = run.find("job.exited")
    assert (status, names(run.find("job.skipped"))) == (1, ["web"])
    assert exited["last_lines"] == ["cannot"]


def test_job_that_is_not_ready_in_time_has_failed(tmp_path: Path) -> None:
    keys = "ready = { log = 'never' }\nstart_timeout = '200ms'\nrestart = 'never'"

    status, run = supervise(tmp_path, job("web", SLEEP, keys))

    (exited,) = run.find("job.exited")
    assert (status, exited["reason"]) == (1, "not ready after 0.2 s")


# Reload


def test_reload_touches_only_what_has_changed(tmp_path: Path) -> None:
    same, old = job("same", SLEEP), job("old", SLEEP)

    with open_supervisor(tmp_path, same + old + job("other", SLEEP)) as run:
        run.wait_event("job.started", count=3)
        run.rewrite(same + job("other", "sleep 2000") + job("new", SLEEP))
        loaded = run.wait_event("config.loaded", count=2)
        run.wait_event("job.started", job="new")
        run.wait_event("job.started", job="other", count=2)
        run.terminate()

    assert (loaded["added"], loaded["changed"], loaded["removed"]) == (["new"], ["other"], ["old"])
    assert len(run.find("job.started", job="same")) == 1
    assert len(run.find("job.stopped", job="old")) == 1


def test_reload_with_more_replicas_keeps_those_that_run(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, job("web", SLEEP, "replicas = 2")) as run:
        run.wait_event("job.started", count=2)
        run.rewrite(job("web", SLEEP, "replicas = 3"))
        run.wait_event("job.started", count=3)
        run.terminate()

    assert sorted(map(str, names(run.find("job.started")))) == ["web-1", "web-2", "web-3"]


def test_reload_of_the_same_file_changes_nothing(tmp_path: Path) -> None:
    text = job("web", SLEEP)

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.started")
        run.rewrite(text)
        loaded = run.wait_event("config.loaded", count=2)
        run.terminate()

    assert (loaded["unchanged"], "changed" in loaded) == (1, False)
    assert len(run.find("job.started")) == 1


@pytest.mark.parametrize(
    "text",
    ["garbage\0", "[jobs.web]\ncommand = []", "", f"{job('web', SLEEP)}\n[jobs.web]\n"],
    ids=["garbage", "mistake", "empty", "twice"],
)
def test_reload_of_a_file_that_cannot_be_meant_changes_nothing_and_says_why(
    tmp_path: Path, text: str
) -> None:
    with open_supervisor(tmp_path, job("web", SLEEP)) as run:
        run.wait_event("job.started")
        run.rewrite(text)
        rejected = run.wait_event("config.rejected")
        run.send(signal.SIGQUIT)
        state = run.wait_event("job.state", job="web")
        run.terminate()

    assert (state["state"], str(run.file) in rejected["mistakes"][0]) == ("RUNNING", True)


# Without isolation, as a filter may mean a container without IDs of its own.
TICKS = job("web", "while :; do echo tick; sleep 0.05; done", "isolate = false")


def test_disk_that_hangs_at_a_reload_holds_up_nobody(tmp_path: Path) -> None:
    with (
        open_late_opens() as disk,
        open_supervisor(tmp_path, TICKS, disk.wrapper) as run,
    ):
        run.wait_line("web | tick")
        disk.shut()
        run.rewrite(TICKS + job("new", SLEEP, "isolate = false"))
        disk.wait_caller()

        run.wait_line("web | tick", count=run.lines.count("web | tick") + 3)
        listed = ask(tmp_path, "ps", "-q")
        disk.open()
        run.wait_event("job.started", job="new")
        status = run.terminate()

    assert (listed.out, listed.status, status) == ("web\n", 0, 0)


def test_stop_does_not_wait_for_a_disk_that_hangs_at_a_reload(tmp_path: Path) -> None:
    with (
        open_late_opens() as disk,
        open_supervisor(tmp_path, TICKS, disk.wrapper) as run,
    ):
        run.wait_line("web | tick")
        disk.shut()
        run.send(signal.SIGHUP)
        disk.wait_caller()

        status = run.terminate()

    assert (status, names(run.find("job.stopped"))) == (0, ["web"])


def replace_by_link_to_itself(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def replace_by_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def forbid_to_read(file: Path) -> None:
    file.chmod(0)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (Path.unlink, "No such file or directory (ENOENT)"),
        (replace_by_link_to_itself, "Too many levels of symbolic links (ELOOP)"),
        (replace_by_directory, "cannot be read: it is a directory"),
        pytest.param(forbid_to_read, "Permission denied (EACCES)", marks=requires_user),
    ],
)
def test_reload_of_a_file_that_cannot_be_read_changes_nothing_and_says_why(
    tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    with open_supervisor(tmp_path, job("web", SLEEP)) as run:
        run.wait_event("job.started")
        spoil(run.file)
        run.send(signal.SIGHUP)
        rejected = run.wait_event("config.rejected")
        run.send(signal.SIGQUIT)
        state = run.wait_event("job.state", job="web")
        status = run.terminate()

    (mistake,) = rejected["mistakes"]
    assert str(run.file) in mistake
    assert reason in mistake
    assert (state["state"], len(run.find("job.started")), status) == ("RUNNING", 1, 0)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_signal_to_open_logs_anew_harms_nobody(tmp_path: Path, number: int) -> None:
    with open_supervisor(tmp_path, job("web", SLEEP)) as run:
        run.wait_event("job.started")
        run.send(number)
        run.wait_event("logs.reopened")

        assert run.terminate() == 0


# As an init


@requires_commands("unshare")
@requires_root
def test_as_the_init_of_a_pid_namespace_it_reaps_what_it_never_started(tmp_path: Path) -> None:
    orphans = "for i in 1 2 3; do (sleep 0.5 &); done"
    wrapper = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]

    with open_supervisor(
        tmp_path, job("web", SLEEP), [*wrapper, "sh", "-c", f'{orphans}; exec "$@"', "sh"]
    ) as run:
        run.wait_event("orphan.reaped", count=3)
        inside = find_descendants(run.process.pid)[0]
        os.kill(inside, signal.SIGTERM)

        assert run.wait_exit() == 0


@pytest.mark.slow
@pytest.mark.timeout(60)
@requires_commands("unshare")
@requires_root
def test_as_an_init_it_reaps_a_burst_of_orphans_while_a_job_goes_on(tmp_path: Path) -> None:
    count = 10_000
    os.mkfifo(tmp_path / "go")
    # Once told to, it leaves all of them behind at once, ended and reaped by nobody.
    parent = f"""import os
print("leaving", open({str(tmp_path / "go")!r}).read(), flush=True)
for _ in range({count}): os.fork() or os._exit(0)
"""
    wrapper = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    wrapper += ["sh", "-c", f'{sys.executable} -ISc "$0" & exec "$@"', parent]
    text = job("web", "while :; do echo tick; sleep 0.1; done")

    with open_supervisor(tmp_path, text, wrapper) as run:
        run.wait_line("web | tick")
        (tmp_path / "go").write_text("them")
        run.wait_line("leaving them")
        before = run.lines.count("web | tick")
        assert wait_until(lambda: count_orphans(run) > count, 40)  # their parent is one as well
        during = run.lines.count("web | tick") - before
        (inside,) = find_children(run.process.pid)
        zombies = [pid for pid in find_children(inside) if read_state(pid) == "Z"]
        run.wait_line("web | tick", count=before + during + 2)
        os.kill(inside, signal.SIGTERM)
        status = run.wait_exit()

    assert (count_orphans(run), zombies, status) == (count + 1, [], 0)
    assert (during > 0, len(run.find("job.started"))) == (True, 1)


def count_orphans(run: Supervised) -> int:
    return sum(event.get("count", 1) for event in run.find("orphan.reaped"))


def find_children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


def read_state(pid: int) -> str:
    """Return the letter of a process's state; "X" if there is none any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def test_as_a_subreaper_it_reaps_what_it_never_started(tmp_path: Path) -> None:
    orphan = '(sleep 0.5; :) & exec "$@"'

    with open_supervisor(tmp_path, job("web", SLEEP), ["sh", "-c", orphan, "sh"]) as run:
        run.wait_event("orphan.reaped", exit_code=0)

        assert run.terminate() == 0


# What jobs have of each other, and of the host


def test_job_shares_the_network_of_another_one(tmp_path: Path) -> None:
    text = job("db", "echo up; exec nc -l -p 8080 -e echo hello", "ready = { log = 'up' }") + job(
        "web",
        "until nc 127.0.0.1 8080; do sleep 0.05; done",
        "type = 'oneshot'\nnetwork = 'job:db'\ndepends_on = { db = 'ready' }",
    )

    with open_supervisor(tmp_path, text) as run:
        run.wait_line("web | hello")
        run.terminate()

    assert run.find("orphan.reaped") == []


def test_job_that_shares_the_network_of_one_that_does_not_run_says_so(tmp_path: Path) -> None:
    text = job("db", "exit 0") + job(
        "web", SLEEP, "network = 'job:db'\ndepends_on = { db = 'exited' }\nrestart = 'never'"
    )

    _, run = supervise(tmp_path, text)

    (failed,) = run.find("job.start_failed")
    assert failed["reason"] == "cannot share the network of db; db does not run"


@pytest.mark.slow
def test_job_does_not_wait_forever_for_a_network_whose_init_is_stopped(tmp_path: Path) -> None:
    text = job("db", SLEEP) + job(
        "web", "sleep 0.3; exit 1", "network = 'job:db'\nbackoff = { initial = '10ms' }"
    )

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.exited", job="web")
        (db,) = run.find("job.started", job="db")
        os.kill(db["pid"], signal.SIGSTOP)
        failed = run.wait_event("job.start_failed", job="web")
        os.kill(db["pid"], signal.SIGCONT)

        run.terminate()

    reason = "cannot share the network of db; its init has not answered for 5 s"
    assert failed["reason"] == reason


def test_job_without_isolation_leaves_nothing_behind_either(tmp_path: Path) -> None:
    script = f"setsid sh -c '{STUBBORN}' & trap '' TERM; wait"
    text = job("web", script, "isolate = false\ngrace = '200ms'")

    with open_supervisor(tmp_path, text) as run:
        run.wait_line("web | ready")
        with watch(find_descendants(run.process.pid)) as wait_ended:
            status = run.terminate()

            assert (status, wait_ended()) == (0, [])
    assert "isolate = false" in run.find("job.degraded")[0]["reason"]


# Bad luck


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
    text = job("web", "exec >&- 2>&-; mkfifo /tmp/go; read -r _ <>/tmp/go")

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.started")
        run.send(signal.SIGQUIT)
        state = run.wait_event("job.state")
        status = run.terminate()

    assert (state["state"], status) == ("RUNNING", 0)


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
