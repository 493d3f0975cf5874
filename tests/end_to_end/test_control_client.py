"""The commands that ask a supervisor, against a real one and against what is none."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest

from mocker.supervisor.client.commands import COMMANDS
from tests.end_to_end.asking import Said, ask, asking, make_env, run_curl
from tests.end_to_end.controlled import open_controlled
from tests.end_to_end.processes import MOCKER, PATIENCE
from tests.end_to_end.pty_driver import CTRL_C, open_terminal
from tests.end_to_end.supervised import MOCKER_SUPERVISE, Supervised, open_supervisor
from tests.requirements import (
    requires_busybox,
    requires_commands,
    requires_user_namespaces,
)
from tests.supervisor.client.fake_supervisor import answering, make_answer

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

SLEEP = '"sleep 1000"'
# What a supervisor answers with.
HEAVY = {"trio", "attr", "attrs", "structlog", "starlette", "hypercorn", "h11", "asyncio"}
JOBS = f"""
[supervisor]
name = "demo"
[jobs.web]
command = {SLEEP}
replicas = 2
[jobs.db]
command = {SLEEP}
"""
SLOW = """
[jobs.slow]
command = ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"]
grace = "10s"
"""
TRAPS = """
[jobs.trap]
command = ["sh", "-c", "trap 'echo got USR1' USR1; echo up; while :; do sleep 0.1; done"]
replicas = 2
"""
FISH_PROMPT = 'function fish_prompt; printf "<%s> " $status; end'
PROMPT_S = PATIENCE / 5  # far less than SLOW may take; an idle machine needs a twentieth of it
BATCH = """
[jobs.batch]
command = "true"
type = "oneshot"
[jobs.bad]
command = "false"
restart = "never"
"""
NEVER_READY = """
[jobs.lazy]
command = "sleep 1000"
ready = { log = "ready", timeout = "1h" }
"""


def states(directory: Path, *names: str) -> dict[str, str]:
    """Return the states of jobs by their names, as `mocker ps` tells them."""
    jobs = json.loads(ask(directory, "ps", "--json", *names).out)["jobs"]
    return {job["name"]: job["state"] for job in jobs}


def test_ps_shows_the_jobs_and_is_0_if_all_is_well(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_event("job.started", count=3)

        said = ask(tmp_path, "ps")

    head, *rows = said.out.splitlines()
    assert head.split() == ["NAME", "STATE", "PID", "UPTIME", "RESTARTS", "HEALTH", "CPU", "MEM"]
    assert [row.split()[:2] for row in rows] == [
        ["web-1", "RUNNING"],
        ["web-2", "RUNNING"],
        ["db", "RUNNING"],
    ]
    assert (said.err, said.status) == ("", 0)


def test_ps_is_3_if_a_job_does_not_run(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_event("job.started", count=3)
        ask(tmp_path, "stop", "db")

        assert ask(tmp_path, "ps").status == 3
        assert ask(tmp_path, "ps", "web").status == 0


@pytest.mark.parametrize("words", [["ps"], ["start"], ["stop"], ["wait"], ["signal", "HUP"]])
def test_unknown_job_is_4_and_nothing_is_done(tmp_path: Path, words: list[str]) -> None:
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_event("job.started", count=3)

        said = ask(tmp_path, *words, "db", "wbe-1")

        assert states(tmp_path, "db") == {"db": "RUNNING"}
    sentence = f"mocker {words[0]}: there is no job 'wbe-1'; is 'web-1' meant?\n"
    assert said == Said("", sentence, 4)


def test_start_of_a_job_that_runs_says_so(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_event("job.started", count=3)

        assert ask(tmp_path, "start", "db") == Said("db: already started\n", "", 0)
        assert ask(tmp_path, "stop", "db") == Said("db: stopped\n", "", 0)
        assert ask(tmp_path, "stop", "db") == Said("db: already stopped\n", "", 0)
        assert ask(tmp_path, "start", "db") == Said("db: started\n", "", 0)


@pytest.mark.parametrize("keys", ["restart = 'never'", "backoff = { initial = '1h', max = '1h' }"])
def test_start_of_a_job_that_ends_at_once_fails_and_shows_what_it_has_said(
    tmp_path: Path, keys: str
) -> None:
    fast = f"""[jobs.fast]\ncommand = ["sh", "-c", "echo too-fast; exit 3"]\n{keys}\n"""
    with open_supervisor(tmp_path, JOBS + fast) as supervised:
        supervised.wait_event("job.exited", job="fast")

        said = ask(tmp_path, "start", "fast")

    assert said == Said("fast: not started (it ended: exit code 3)\n", "fast | too-fast\n", 1)


@pytest.mark.parametrize("restart", ["never", "always"])
def test_start_that_is_refused_says_which_step_failed_and_why(tmp_path: Path, restart: str) -> None:
    text = f"[jobs.nope]\ncommand = 'nosuch'\nrestart = '{restart}'\nbackoff = {{initial = '1h'}}\n"
    with open_supervisor(tmp_path, f"{text}[jobs.web]\ncommand = {SLEEP}\n") as supervised:
        supervised.wait_event("job.start_failed")
        supervised.wait_event("job.started", job="web")

        said = ask(tmp_path, "start", "nope")

    reason = "cannot execute 'nosuch': No such file or directory (ENOENT)"
    assert said.out.startswith(f"nope: not started ({reason}; it is in no directory of ")
    assert (said.err, said.status) == ("", 1)


@pytest.mark.parametrize(
    ("words", "stopped"),
    [
        (["web-1"], {"web-1"}),
        (["web"], {"web-1", "web-2"}),
        (["web:*"], {"web-1", "web-2"}),
        (["web-*"], {"web-1", "web-2"}),
        (["*-[2-9]", "db"], {"web-2", "db"}),
        (["all"], {"web-1", "web-2", "db"}),
    ],
    ids=str,
)
def test_jobs_are_named_by_patterns_and_groups(
    tmp_path: Path, words: list[str], stopped: set[str]
) -> None:
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_event("job.started", count=3)

        said = ask(tmp_path, "stop", *words)

        assert set(said.out.splitlines()) == {f"{name}: stopped" for name in stopped}
        now = states(tmp_path)
        assert {name for name, state in now.items() if state == "STOPPED"} == stopped


def test_job_that_others_need_is_stopped_by_force_alone(tmp_path: Path) -> None:
    needing = "[jobs.{}]\ncommand = ['sleep', '1000']\ndepends_on = ['db']\n"
    text = f"[jobs.db]\ncommand = {SLEEP}\n{needing.format('web')}{needing.format('api')}"
    with open_controlled(tmp_path, text) as control:
        control.run.wait_event("job.started", count=3)

        refused = control.mocker("stop", "db")
        before = control.read_states()
        forced = control.mocker("stop", "--force", "db")
        after = control.read_states()

    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "mocker stop: cannot stop db: needed by web, api; stop these too, or use --force\n"
    )
    assert before == {"db": "RUNNING", "web": "RUNNING", "api": "RUNNING"}
    assert (forced.returncode, forced.stdout, forced.stderr) == (0, "db: stopped\n", "")
    assert after == {"db": "STOPPED", "web": "RUNNING", "api": "RUNNING"}


def test_restart_of_a_job_that_waits_for_a_dependency_starts_it_once(tmp_path: Path) -> None:
    text = gated("db", tmp_path, "ready = { log = 'open' }") + needing("web", "db", "ready")
    with open_supervisor(tmp_path, text) as supervised:
        supervised.wait_line("db | up")

        for _ in range(3):
            assert ask(tmp_path, "restart", "--no-wait", "web") == Said("web: restarting\n", "", 0)
        before = states(tmp_path)
        (tmp_path / "gate").touch()
        waited = ask(tmp_path, "wait", "web")
        after = states(tmp_path)
        status = supervised.terminate()

    assert waited == Said("web: ready\n", "", 0)
    assert before == {"db": "STARTING", "web": "STARTING"}
    assert after == {"db": "RUNNING", "web": "RUNNING"}
    assert (len(supervised.find("job.started", job="web")), status) == (1, 0)


def test_dependents_of_a_job_that_has_been_mended_can_be_started(tmp_path: Path) -> None:
    text = (
        "[jobs.migrate]\ncommand = 'test -e /dir/schema'\ntype = 'oneshot'\n"
        f"volumes = ['{tmp_path}:/dir:ro']\n"
        + needing("web", "migrate", "completed")
        + needing("proxy", "web", "started")
        + f"[jobs.other]\ncommand = {SLEEP}\n"
    )
    with open_supervisor(tmp_path, text) as supervised:
        supervised.wait_event("job.skipped", job="proxy")
        skipped = ask(tmp_path, "start", "web")

        (tmp_path / "schema").touch()
        started = [ask(tmp_path, "start", name) for name in ("migrate", "web", "proxy")]
        now = states(tmp_path, "web", "proxy")

    reason = "migrate will not be completed: it is EXITED"
    assert skipped == Said(f"web: skipped ({reason})\n", "", 1)
    assert started == [
        Said("migrate: completed\n", "", 0),
        Said("web: started\n", "", 0),
        Said("proxy: started\n", "", 0),
    ]
    assert now == {"web": "RUNNING", "proxy": "RUNNING"}


def gated(name: str, directory: Path, keys: str) -> str:
    """Return the entry of a job that says "up", and "open" once there is a gate in a directory."""
    script = "echo up; until [ -e /dir/gate ]; do sleep 0.05; done; echo open; exec sleep 1000"
    return f"""[jobs.{name}]
command = ["sh", "-c", "{script}"]
volumes = ["{directory}:/dir:ro"]
{keys}
"""


def needing(name: str, needed: str, condition: str) -> str:
    return f"[jobs.{name}]\ncommand = {SLEEP}\ndepends_on = {{ {needed} = '{condition}' }}\n"


def test_slow_stop_holds_up_no_other_command(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, JOBS + SLOW) as supervised:
        supervised.wait_line("slow | deaf")
        with asking(tmp_path, "stop", "slow") as stop:
            supervised.wait_event("job.stopping", job="slow")

            for words in (
                ["ps", "db"],
                ["stop", "db"],
                ["start", "--no-wait", "db"],
                ["signal", "CONT", "web-1"],
                ["logs", "slow"],
            ):
                assert measure(tmp_path, *words) < PROMPT_S, words
            assert states(tmp_path, "slow") == {"slow": "STOPPING"}
            assert stop.poll() is None
            assert ask(tmp_path, "kill", "slow") == Said("slow: killed\n", "", 0)
            assert (stop.communicate(), stop.wait()) == (("slow: stopped\n", ""), 0)


def test_stop_of_everything_holds_up_no_question(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, JOBS + SLOW) as supervised:
        supervised.wait_line("slow | deaf")
        supervised.wait_event("job.started", count=4)
        supervised.send(signal.SIGTERM)
        supervised.wait_event("job.stopped", count=3)

        took = [measure(tmp_path, "ps", status=3), measure(tmp_path, "logs", "slow")]
        now = states(tmp_path)
        killed = ask(tmp_path, "kill", "slow")
        status = supervised.wait_exit()

    stopped = dict.fromkeys(("web-1", "web-2", "db"), "STOPPED")
    assert now == {**stopped, "slow": "STOPPING"}
    assert max(took) < PROMPT_S
    assert (killed, status) == (Said("slow: killed\n", "", 0), 0)


def measure(directory: Path, *words: str, status: int = 0) -> float:
    """Return the seconds that a command takes, with its start."""
    began = time.monotonic()
    said = ask(directory, *words)
    took = time.monotonic() - began
    assert (said.err, said.status) == ("", status)
    return took


def test_stop_that_nobody_waits_for_goes_on(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, SLOW) as supervised:
        supervised.wait_line("slow | deaf")

        said = ask(tmp_path, "stop", "--no-wait", "slow")
        meanwhile = states(tmp_path)
        ask(tmp_path, "kill", "slow")

    assert said == Said("slow: stopping\n", "", 0)
    assert meanwhile == {"slow": "STOPPING"}


def make_gate(directory: Path) -> tuple[Path, str]:
    """Return a pipe, and a job that is ready once something is written to it."""
    gate = directory / "gate"
    os.mkfifo(gate)
    command = f'["sh", "-c", "read x <{gate}; echo ready; exec sleep 1000"]'
    ready = 'ready = { log = "^ready$", timeout = "1h" }'
    return gate, f"[jobs.slow]\ncommand = {command}\nisolate = false\n{ready}\n"


def open_gate(gate: Path) -> None:
    """Let a job become ready that waits for it."""
    gate.write_text("go\n")


@contextmanager
def slow_job(directory: Path, verb: str) -> Iterator[tuple[Supervised, Path]]:
    """Have a job that was ready once and is there for a verb; return its gate as well."""
    gate, text = make_gate(directory)
    with open_supervisor(directory, text) as supervised:
        supervised.wait_event("job.started")
        open_gate(gate)
        supervised.wait_event("job.ready")
        if verb == "start":
            ask(directory, "stop", "slow")
        yield supervised, gate


@pytest.mark.parametrize("verb", ["start", "restart"])
def test_start_of_a_job_that_is_ready_later_is_waited_for(tmp_path: Path, verb: str) -> None:
    with slow_job(tmp_path, verb) as (supervised, gate):
        with asking(tmp_path, verb, "slow") as waiting:
            supervised.wait_event("job.started", count=2)
            meanwhile, ended = states(tmp_path), waiting.poll()
            open_gate(gate)
            out, err = waiting.communicate(timeout=PATIENCE)
        afterwards = states(tmp_path)

    assert (meanwhile, ended) == ({"slow": "STARTING"}, None)
    assert Said(out, err, waiting.returncode) == Said(f"slow: {verb}ed\n", "", 0)
    assert afterwards == {"slow": "RUNNING"}


@pytest.mark.parametrize("verb", ["start", "restart"])
def test_start_that_nobody_waits_for_goes_on(tmp_path: Path, verb: str) -> None:
    with slow_job(tmp_path, verb) as (supervised, gate):
        said = ask(tmp_path, verb, "--no-wait", "slow")
        supervised.wait_event("job.started", count=2)
        meanwhile = states(tmp_path)
        open_gate(gate)
        supervised.wait_event("job.ready", count=2)
        afterwards = states(tmp_path)

    assert said == Said(f"slow: {verb}ing\n", "", 0)
    assert (meanwhile, afterwards) == ({"slow": "STARTING"}, {"slow": "RUNNING"})


def test_kill_that_nobody_waits_for_goes_on(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, SLOW) as supervised:
        supervised.wait_line("slow | deaf")

        said = ask(tmp_path, "kill", "--no-wait", "slow")
        stopped = supervised.wait_event("job.stopped", job="slow")
        afterwards = states(tmp_path)

    assert said == Said("slow: stopping\n", "", 0)
    assert (stopped["job"], afterwards) == ("slow", {"slow": "STOPPED"})


def test_signal_gets_to_the_commands_of_all_jobs_that_are_meant(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, TRAPS) as supervised:
        for number in (1, 2):
            supervised.wait_line(f"trap-{number} | up")

        said = ask(tmp_path, "signal", "USR1", "trap")

        for number in (1, 2):
            supervised.wait_line(f"trap-{number} | got USR1")
        assert states(tmp_path) == {"trap-1": "RUNNING", "trap-2": "RUNNING"}
    assert set(said.out.splitlines()) == {"trap-1: SIGUSR1 sent", "trap-2: SIGUSR1 sent"}
    assert (said.err, said.status) == ("", 0)


def test_without_a_supervisor_it_is_told_where_it_was_looked_for(tmp_path: Path) -> None:
    said = ask(tmp_path, "ps")

    where = f"cannot find a supervisor in {tmp_path}/mocker: none of this user's runs there"
    hint = "start one with 'mocker-supervise FILE', or use -s SOCKET"
    assert said == Said("", f"mocker ps: {where}; {hint}\n", 1)


def test_of_two_supervisors_one_is_named(tmp_path: Path) -> None:
    other = JOBS.replace("demo", "other").replace("db", "cache")
    with open_supervisor(tmp_path, JOBS) as demo:
        demo.wait_event("job.started", count=3)
        with open_supervisor(tmp_path, other) as supervised:
            supervised.wait_event("job.started", count=3)
            sockets = tmp_path / "mocker"

            unnamed = ask(tmp_path, "ps")
            by_name = ask(tmp_path, "ps", "-q", "-s", "other")
            by_path = ask(tmp_path, "ps", "-q", "-s", str(sockets / "demo.sock"))
            by_variable = ask(tmp_path, "ps", "-q", env={"MOCKER_SOCKET": "other"})
            elsewhere = ask(
                Path("/"), "ps", "-q", env={"MOCKER_SOCKET": str(sockets / "demo.sock")}
            )

    sentence = "cannot choose among supervisors demo, other: say which with -s NAME"
    assert unnamed == Said("", f"mocker ps: {sentence}, or set MOCKER_SOCKET\n", 1)
    assert by_name.out == by_variable.out == "web-1\nweb-2\ncache\n"
    assert by_path.out == elsewhere.out == "web-1\nweb-2\ndb\n"


def test_stale_socket_is_a_sentence_and_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "mocker/demo.sock"
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_event("job.started", count=3)
        supervised.send(signal.SIGKILL)
        supervised.wait_exit()

        said = ask(tmp_path, "ps")

    reason = "Connection refused (ECONNREFUSED); no supervisor runs there"
    assert said == Said("", f"mocker ps: cannot connect to {path}: {reason}\n", 1)
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_event("job.started", count=3)
        assert ask(tmp_path, "ps").status == 0


def test_second_supervisor_of_a_name_leaves_the_socket_to_the_first(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_event("job.started", count=3)

        second = subprocess.run(
            [MOCKER_SUPERVISE, supervised.file],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=make_env(tmp_path),
            timeout=PATIENCE,
            check=False,
        )

        assert second.returncode == 1
        assert "cannot use the name 'demo'" in second.stderr
        assert ask(tmp_path, "ps").status == 0


def test_socket_is_left_to_who_listens_though_the_lock_was_tidied_up(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_event("job.started", count=3)
        (tmp_path / "mocker/demo.lock").unlink()

        with open_supervisor(tmp_path, JOBS) as second:
            second.wait_event("job.started", count=3)
            refused = second.wait_event("control.unavailable")
            mine = ask(tmp_path, "ps", "--json").out
            second.terminate()

        assert ask(tmp_path, "ps").status == 0
        pids = {event["pid"] for event in supervised.find("job.started")}

    assert "Address already in use" in refused["reason"]
    assert {job["pid"] for job in json.loads(mine)["jobs"]} == pids


def test_supervisor_that_has_ended_leaves_no_socket(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_event("job.started", count=3)
        ask(tmp_path, "ps")
        supervised.terminate()

        assert not (tmp_path / "mocker/demo.sock").exists()


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ('"$0" ps >&-', 0),
        ('"$0" stop db >&-', 0),
        ('"$0" ps nosuch 2>&-', 4),
        ('"$0" ps <&- >&- 2>&-', 0),
        ('"$0" ps >/dev/full', 1),
    ],
)
def test_output_that_nobody_wants_is_no_defect(tmp_path: Path, line: str, status: int) -> None:
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_event("job.started", count=3)

        result = run_shell(tmp_path, line)

    assert result.returncode == status
    assert "defect" not in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("words", ["ps", "ps --watch", "stop all"])
def test_reader_that_goes_away_ends_it_silently(tmp_path: Path, words: str) -> None:
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_event("job.started", count=3)

        result = run_shell(tmp_path, f'"$0" {words} | head -1')

        assert (len(result.stdout.splitlines()), result.stderr) == (1, "")
        assert ask(tmp_path, "ps", "-q").out == "web-1\nweb-2\ndb\n"


def run_shell(directory: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell code in which "$0" is mocker."""
    return subprocess.run(
        ["env", "--default-signal", "sh", "-c", line, MOCKER],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=make_env(directory),
        timeout=PATIENCE,
        check=False,
    )


def test_interrupt_in_the_middle_of_a_wait_has_no_traceback(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, JOBS + NEVER_READY) as supervised:
        supervised.wait_event("job.started", count=4)
        with asking(tmp_path, "wait", "db", "lazy") as wait:
            assert wait.stdout is not None
            assert wait.stdout.readline() == "db: ready\n"

            wait.send_signal(signal.SIGINT)

            assert (wait.communicate(), wait.wait()) == (("", ""), -signal.SIGINT)
        assert states(tmp_path, "lazy") == {"lazy": "STARTING"}


@pytest.mark.parametrize("name", [b"w\xff", b"w\x1b[31m", "ж".encode(), b"a b", b"", b"%00"])
@pytest.mark.parametrize("verb", ["ps", "stop"])
def test_name_with_odd_bytes_is_unknown(tmp_path: Path, verb: str, name: bytes) -> None:
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_event("job.started", count=3)

        said = ask(tmp_path, verb, name)

    assert (said.out, said.status) == ("", 4)
    assert said.err.startswith(f"mocker {verb}: there is no job '")
    assert said.err.removesuffix("\n").isprintable()


@pytest.mark.parametrize("answer", [b"hello\n", b"\xff" * 100, b"HTTP/1.1 200 \r\n\r\n[]", b""])
def test_what_is_no_supervisor_is_a_sentence(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path, answer):
        said = ask(tmp_path, "ps")

    assert (said.out, said.status) == ("", 1)
    assert said.err.startswith("mocker ps: cannot ")
    assert said.err.count("\n") == 1


def test_socket_that_never_answers_can_be_interrupted(tmp_path: Path) -> None:
    (tmp_path / "mocker").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "mocker/demo.sock"))
        listener.listen()
        with asking(tmp_path, "ps") as process:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)

                process.send_signal(signal.SIGINT)

                assert (process.communicate(), process.wait()) == (("", ""), -signal.SIGINT)


def test_supervisor_of_another_version_is_told(tmp_path: Path) -> None:
    with answering(tmp_path, make_answer({"jobs": []}, version="77.0")):
        said = ask(tmp_path, "ps")

    ours = version("mocker-supervise")
    assert said.err == f"mocker ps: this is mocker {ours}, the supervisor is 77.0\n"
    assert (said.out.split()[0], said.status) == ("NAME", 0)


@contextmanager
def executing(directory: Path, *answers: dict[str, object]) -> Iterator[None]:
    """Be a supervisor that is asked to execute or attach once, for the length of a block."""
    folder = directory / "mocker"
    folder.mkdir(mode=0o700)
    (folder / "demo.sock").touch()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(folder / "demo.exec"))
        listener.listen()
        listener.settimeout(PATIENCE)

        def answer_one() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(2**16)
                for answer in answers:
                    connection.send(json.dumps(answer).encode())

        thread = threading.Thread(target=answer_one)
        thread.start()
        try:
            yield
        finally:
            thread.join()


NOT_THERE = {"error": {"code": "no-such-job", "message": "no web here"}, "exit_code": 125}


@pytest.mark.parametrize(
    ("answers", "status", "told"),
    [
        (({"started": 5, "version": "77.0"}, {"exited": 3}), 3, ""),
        (({**NOT_THERE, "version": "77.0"},), 125, "mocker exec: no web here\n"),
    ],
    ids=["started", "refused"],
)
def test_supervisor_of_another_version_is_told_by_exec(
    tmp_path: Path, answers: tuple[dict[str, object], ...], status: int, told: str
) -> None:
    with executing(tmp_path, *answers):
        said = ask(tmp_path, "exec", "web", "true")

    ours = version("mocker-supervise")
    sentence = f"mocker exec: this is mocker {ours}, the supervisor is 77.0\n"
    assert said == Said("", sentence + told, status)


def test_supervisor_of_another_version_is_told_by_attach(tmp_path: Path) -> None:
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}
    with (
        executing(tmp_path, {**NOT_THERE, "version": "77.0"}),
        open_terminal(columns=200, env=env) as terminal,
    ):
        said = terminal.run("mocker attach web")

    sentence = f"this is mocker {version('mocker-supervise')}, the supervisor is 77.0"
    assert said.text == f"mocker attach: {sentence}\r\nmocker attach: no web here\r\n"
    assert said.status == 4


@pytest.mark.parametrize("words", [["ps", "-q", "db"], ["exec", "db", "echo", "db"]], ids=str)
def test_newer_mocker_that_is_installed_meanwhile_tells_of_the_older_supervisor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    newer = tmp_path / "newer"
    newer.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(newer), prepend=os.pathsep)
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_event("job.started", job="db")
        (newer / "mocker_supervise-77.0.dist-info").mkdir()

        said = ask(tmp_path, *words)

    ours = version("mocker-supervise")
    sentence = f"mocker {words[0]}: this is mocker 77.0, the supervisor is {ours}\n"
    assert said == Said("db\n", sentence, 0)


@requires_commands("curl")
def test_supervisor_tells_its_version_whatever_it_answers(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_event("job.started", count=3)

        heads = [
            run_curl(tmp_path / "mocker/demo.sock", "-o", "/dev/null", "-D", "-", url)
            for url in ("http://x/v1/jobs", "http://x/v1/jobs?name=nosuch", "http://x/no/such")
        ]

    assert [head.split()[1] for head in heads] == ["200", "404", "404"]
    line = f"mocker-version: {version('mocker-supervise')}\n"
    assert all(line in head.replace("\r", "") for head in heads)


def test_watch_draws_the_jobs_anew_until_it_is_interrupted(tmp_path: Path) -> None:
    with (
        open_supervisor(tmp_path, JOBS) as supervised,
        open_terminal(rows=10, columns=20, env={"XDG_RUNTIME_DIR": str(tmp_path)}) as terminal,
    ):
        supervised.wait_event("job.started", count=3)
        terminal.type("mocker ps --watch\n")
        terminal.wait_for(r"\033\[HNAME   STATE    PID \033\[K\r\n")
        terminal.wait_for(r"db     RUNNING  \d+")
        ask(tmp_path, "stop", "db")
        terminal.wait_for(r"\033\[HNAME")
        terminal.wait_for(r"db     STOPPED  -")

        terminal.type(CTRL_C)

        assert terminal.wait_for_prompt().status == 130
        assert terminal.is_as_found


def test_narrow_terminal_is_no_problem(tmp_path: Path) -> None:
    env = {"XDG_RUNTIME_DIR": str(tmp_path), "COLUMNS": "7"}
    with (
        open_supervisor(tmp_path, JOBS) as supervised,
        open_terminal(rows=3, columns=7, env=env) as terminal,
    ):
        supervised.wait_event("job.started", count=3)

        shown = terminal.run("mocker ps -o wide; mocker stop --help")

    assert "NAME   STATE" in shown.text
    assert shown.status == 0


def test_watch_without_a_terminal_prints_the_jobs_again_and_again(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_event("job.started", count=3)
        with asking(tmp_path, "ps", "--watch", "-q", "db") as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(2)]

            supervised.terminate()

            _, err = process.communicate()
            status = process.wait()

    assert lines == ["db\n", "db\n"]
    assert (err.startswith("mocker ps: cannot "), status) == (True, 1)


def test_wait_ends_once_it_is_so(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, JOBS + BATCH) as supervised:
        supervised.wait_event("job.started", job="db")
        assert ask(tmp_path, "wait", "db", "--timeout", "10s") == Said("db: ready\n", "", 0)
        said = ask(tmp_path, "wait", "batch", "--for", "completed", "--timeout", "10s")
        assert said == Said("batch: completed\n", "", 0)
        said = ask(tmp_path, "wait", "batch", "bad", "--for", "stopped")
        assert (sorted(said.out.split("\n")), said.status) == (
            ["", "bad: stopped", "batch: stopped"],
            0,
        )


def test_wait_ends_once_it_will_never_be_so(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, JOBS + BATCH + NEVER_READY) as supervised:
        supervised.wait_event("job.started", job="db")
        said = ask(tmp_path, "wait", "lazy", "bad", "--for", "completed")

    assert said == Said("bad: not completed (it is EXITED: exit code 1)\n", "", 1)


def test_wait_has_a_time(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, JOBS + NEVER_READY) as supervised:
        supervised.wait_event("job.started", job="db")
        said = ask(tmp_path, "wait", "lazy", "--timeout", "200ms")

    assert said == Said("lazy: not ready (the time is over, it is STARTING)\n", "", 124)


def test_wait_with_a_time_begins_before_the_supervisor_does(tmp_path: Path) -> None:
    words = ["wait", "db", "--timeout", "9s"]
    with asking(tmp_path, *words) as wait, open_supervisor(tmp_path, JOBS):
        out, err = wait.communicate()

    assert Said(out, err, wait.wait()) == Said("db: ready\n", "", 0)


def test_wait_is_told_when_the_supervisor_ends(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, JOBS + NEVER_READY) as supervised:
        supervised.wait_event("job.started", count=4)
        with asking(tmp_path, "wait", "db", "lazy") as wait:
            assert wait.stdout is not None
            assert wait.stdout.readline() == "db: ready\n"

            supervised.terminate()

            out, _ = wait.communicate()
            assert (out.startswith("lazy: not ready (it is STOPPED"), wait.wait()) == (True, 1)


@requires_commands("curl")
def test_curl_waits_as_well(tmp_path: Path) -> None:
    url = "http://x/v1/wait"
    with open_supervisor(tmp_path, JOBS + NEVER_READY) as supervised:
        supervised.wait_event("job.started", count=4)
        path = tmp_path / "mocker/demo.sock"
        late = run_curl(path, url, "-d", '{"jobs": ["lazy", "db"], "timeout_s": 0.1}')
        wrong = run_curl(path, url, "-d", '{"jobs": ["lazy"], "timeout_s": NaN}')

    assert [json.loads(line) for line in late.splitlines()] == [
        {"job": "db", "outcome": "ready", "ok": True, "reason": "", "timed_out": False},
        {
            "job": "lazy",
            "outcome": "not ready",
            "ok": False,
            "reason": "the time is over, it is STARTING",
            "timed_out": True,
        },
    ]
    assert json.loads(wrong)["error"]["code"] == "bad-request"


@pytest.mark.parametrize(
    ("shell", "sources"),
    [
        pytest.param(
            ("bash", "--norc", "--noprofile", "-i"),
            ["source <(mocker completion bash)"],
            marks=requires_commands("bash"),
        ),
        pytest.param(
            ("zsh", "-f", "-i"),
            ["autoload -Uz compinit && compinit -u -D", "source <(mocker completion zsh)"],
            marks=requires_commands("zsh"),
        ),
        pytest.param(
            ("fish", "-i", "-C", FISH_PROMPT),
            ["mocker completion fish | source"],
            marks=requires_commands("fish"),
        ),
    ],
    ids=["bash", "zsh", "fish"],
)
def test_tab_completes_the_jobs_that_run(
    tmp_path: Path, shell: tuple[str, ...], sources: list[str]
) -> None:
    # Each shell draws the line anew in a way of its own, hence what is between words.
    home = {"HOME": str(tmp_path), "INPUTRC": "/dev/null", "TERM": "dumb"}
    prompt = {"PS1": "<%?> "} if shell[0] == "zsh" else {}
    env = {"XDG_RUNTIME_DIR": str(tmp_path), **home, **prompt}
    with (
        open_supervisor(tmp_path, JOBS) as supervised,
        open_terminal(shell, columns=200, env=env) as terminal,
    ):
        supervised.wait_event("job.started", count=3)
        for line in sources:
            terminal.type(f"{line}\n")
            terminal.wait_for_prompt()

        terminal.type("mocker sto\t")
        terminal.wait_for("mocker stop ")
        terminal.type("d\t")
        terminal.wait_for("db ")
        terminal.type("--no\t")
        terminal.wait_for("--no-wait ")
        terminal.type("\n")

        terminal.wait_for("db: stopping")
        terminal.wait_for_prompt()


def test_asking_loads_none_of_what_a_supervisor_needs(tmp_path: Path) -> None:
    asked = [["ps"], ["ps", "--json"], ["logs", "web"], ["stats"], ["signal", "CONT", "web"]]
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_event("job.started", count=3)

        loaded = [
            subprocess.run(
                [sys.executable, "-X", "importtime", MOCKER, *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                env=make_env(tmp_path),
                timeout=PATIENCE,
                check=True,
            ).stderr
            for words in asked
        ]

    for listing in loaded:
        modules = {
            line.rpartition("|")[2].strip().partition(".")[0] for line in listing.split("\n")
        }
        assert modules.isdisjoint(HEAVY)
        assert "mocker" in modules


def test_asking_needs_none_of_what_a_supervisor_needs() -> None:
    program = """
import sys
from mocker.supervisor.client.commands import COMMANDS, find_command
print(*(name for name in COMMANDS if find_command(name)))
print(*sys.modules)
"""

    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    loaded, modules = result.stdout.splitlines()
    assert loaded.split() == list(COMMANDS)
    assert not HEAVY & set(modules.split())
