"""What users of other supervisors and of other inits try first, and what mocker does then.

Rarer than what `test_mocker_supervise` has, and each seen to go wrong somewhere.
"""

import json
import signal
from pathlib import Path

import pytest

from mocker.isolation.survivors import read_title
from tests.conftest import Mocker
from tests.end_to_end.processes import find_descendants, wait_until, watch
from tests.end_to_end.supervised import open_supervisor, supervise
from tests.requirements import requires_busybox, requires_root, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

SLEEP = "[jobs.other]\ncommand = 'sleep 1000'\n"

# Shell code: wait until nobody but the init and the shell itself is left, a zombie or not. To open
# a FIFO for both wakes all at once who wait for its other end, and blocks nobody.
WAIT_ALONE = "while set -- /proc/[0-9]*; [ $# -gt 2 ]; do : <>/tmp/go; done; echo alone"


def find_commands(pid: int) -> list[str]:
    """Return the command lines of all processes below one."""
    return [read_title(below) for below in find_descendants(pid)]


# Restarts and reloads


def test_job_that_was_given_up_comes_back_with_all_its_attempts_once_it_changes(
    tmp_path: Path,
) -> None:
    rules = "backoff = { initial = 0 }\ngive_up = { failures = 2, within = '60s' }\n"
    broken = f"[jobs.web]\ncommand = 'false'\n{rules}"

    with open_supervisor(tmp_path, SLEEP + broken) as run:
        run.wait_event("job.given_up", attempt=2)
        run.rewrite(f"{SLEEP}{broken}env = {{ A = 'changed' }}\n")
        run.wait_event("job.given_up", count=2, attempt=2)
        run.terminate()

    attempts = [event["attempt"] for event in run.find("job.started", job="web")]
    assert attempts == [1, 2, 1, 2]


def test_many_reloads_at_once_lead_to_one_run_of_the_last_file(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, "[jobs.web]\ncommand = 'sleep 1000'") as run:
        run.wait_event("job.started")
        for seconds in range(1001, 1021):
            run.rewrite(f"[jobs.web]\ncommand = 'sleep {seconds}'")

        def sleeps() -> list[str]:
            return [line for line in find_commands(run.process.pid) if line.startswith("sleep")]

        assert wait_until(lambda: sleeps() == ["sleep 1020"])
        assert run.terminate() == 0
    assert len(run.find("job.stopped")) == len(run.find("job.started"))


def test_job_that_changes_while_it_waits_is_started_once(tmp_path: Path) -> None:
    script = "until test -e /host/go; do sleep 0.01; done; echo up; exec sleep 1000"
    db = f"[jobs.db]\ncommand = ['sh', '-c', '{script}']\n"
    db += f"volumes = ['{tmp_path}:/host:ro']\nready = {{ log = 'up' }}\n"
    web = "[jobs.web]\ncommand = 'sleep 1000'\ndepends_on = { db = 'ready' }\n"

    with open_supervisor(tmp_path, db + web) as run:
        run.wait_event("job.started", job="db")
        run.rewrite(db + web.replace("1000", "2000"))
        run.wait_event("config.loaded", changed=["web"])
        (tmp_path / "go").touch()
        run.wait_event("job.started", job="web")
        commands = find_commands(run.process.pid)
        run.terminate()

    assert [line for line in commands if "2000" in line or line == "sleep 1000"] == [
        "sleep 1000",
        "sleep 2000",
    ]
    assert [event["job"] for event in run.find("job.started")] == ["db", "web"]


def test_critical_job_that_does_not_answer_ends_everything(tmp_path: Path) -> None:
    web = "[jobs.web]\ncommand = 'sleep 1000'\nrestart = 'never'\ncritical = true\n"
    web += "alive = { exec = ['false'], interval = '10ms', failures = 2 }\n"

    status, run = supervise(tmp_path, web + SLEEP)

    assert status == 128 + signal.SIGTERM
    assert run.find("supervisor.stopping", reason="critical job web has ended")


def test_cycle_is_told_with_its_path_and_nothing_is_started(tmp_path: Path) -> None:
    text = SLEEP + "".join(
        f"[jobs.{name}]\ncommand = 'true'\ndepends_on = ['{needed}']\n"
        for name, needed in ("ab", "bc", "ca", "dd")
    )

    status, run = supervise(tmp_path, text)

    assert (status, run.events) == (2, [])
    assert [line.partition("has ")[2] for line in run.remarks] == ["a -> b -> c -> a", "d -> d"]


# What arrives in a job


@pytest.mark.parametrize("isolate", ["true", "false"])
def test_words_and_variables_arrive_as_they_are(tmp_path: Path, isolate: str) -> None:
    word = '100% ;# it\'s "ünï" \\n $(id) `id` *'
    text = f"""
[defaults]
isolate = {isolate}
type = "oneshot"
[jobs.word]
command = ["printf", "%s\\n", '''{word.replace("$", "$$")}''']
[jobs.variable]
command = ["sh", "-c", 'printf "%s\\n" "$$WORD"']
env = {{ WORD = '''{word.replace("$", "$$")}''' }}
[jobs.text]
command = 'printf "%s\\n" "100% ;# ünï \\"x\\" *" a\\ b'
"""

    status, run = supervise(tmp_path, text)

    assert status == 0
    assert sorted(run.lines) == [
        'text | 100% ;# ünï "x" *',
        "text | a b",
        f"variable | {word}",
        f"word | {word}",
    ]


@pytest.mark.parametrize("isolate", ["true", "false"])
def test_no_descriptor_of_the_callers_reaches_a_job(tmp_path: Path, isolate: str) -> None:
    leaks = 'for fd in 3 4 5 6 7 8 9; do eval "exec $fd</etc/passwd"; done; exec "$@"'
    # `exit`, so that the shell whose descriptors these are does not become `ls`.
    text = "[jobs.web]\ncommand = ['sh', '-c', 'ls /proc/$$$$/fd; exit 0']\ntype = 'oneshot'\n"
    text += f"isolate = {isolate}\n"

    with open_supervisor(tmp_path, text, ["sh", "-c", leaks, "sh"]) as run:
        assert run.wait_exit() == 0

    assert run.lines == ["web | 0", "web | 1", "web | 2"]


# The init of a container


def test_five_hundred_that_end_in_one_instant_are_all_reaped(mocker: Mocker) -> None:
    script = "mkfifo /tmp/go; for n in $(seq 500); do (read -r _ </tmp/go &); done; " + WAIT_ALONE

    result = mocker("run", "--timeout", "12s", "sh", "-c", script)

    assert (result.stdout, result.returncode) == ("alone\n", 0)


def test_children_of_a_child_that_ended_are_reaped(mocker: Mocker) -> None:
    child = "for n in $(seq 100); do sleep 0.01 & done"

    result = mocker(
        "run", "--timeout", "12s", "sh", "-c", f"mkfifo /tmp/go; sh -c '{child}'; {WAIT_ALONE}"
    )

    assert (result.stdout, result.returncode) == ("alone\n", 0)


def test_whole_pipeline_ends_with_its_job(tmp_path: Path) -> None:
    pipeline = " | ".join(f"sleep {seconds}" for seconds in range(1001, 1007))

    with open_supervisor(tmp_path, f"[jobs.web]\ncommand = ['sh', '-c', '{pipeline}']") as run:
        assert wait_until(lambda: "sleep 1006" in find_commands(run.process.pid))
        with watch(find_descendants(run.process.pid)) as wait_ended:
            status = run.terminate()

            assert (status, wait_ended()) == (0, [])
    assert run.find("job.killed") == []


def test_what_left_its_session_gets_sigterm_when_the_command_ends(tmp_path: Path) -> None:
    wait = "while :; do read -t 0.2 -r _ <>/tmp/go; done"  # a shell hears signals between commands
    child = f'trap "echo told; exit" TERM; mkfifo /tmp/go; {wait}'
    script = f"setsid sh -c '{child}' & until test -e /tmp/go; do sleep 0.01; done; exit 7"
    text = f"[jobs.web]\ntype = 'oneshot'\ncommand = ['sh', '-c', '''{script}''']"

    status, run = supervise(tmp_path, text)

    assert (status, run.lines[-1]) == (1, "web | told")


@pytest.mark.parametrize("isolate", ["true", "false"])
@pytest.mark.parametrize(
    ("rule", "next_step"), [("type = 'oneshot'", "nothing"), ("restart = 'always'", "restart")]
)
def test_what_outlives_its_command_is_logged_up_to_its_end_which_is_told(
    tmp_path: Path, rule: str, next_step: str, isolate: str
) -> None:
    talk = 'trap "" TERM; i=0; while :; do i=$((i + 1)); echo $i; sleep 0.02; done'
    script = f"setsid sh -c '{talk}' & sleep 0.1; echo over"
    keys = f"grace = '300ms'\nisolate = {isolate}\noutput = {{ file = 'log', format = 'json' }}"
    text = f"[jobs.web]\n{rule}\n{keys}\ncommand = ['sh', '-c', '''{script}''']"

    with open_supervisor(tmp_path, text) as run:
        exited = run.wait_event("job.exited")
        killed = run.wait_event("job.killed")
        started = run.find("job.started")[0]
        run.terminate()

    entries = map(json.loads, (tmp_path / "log").read_text().splitlines())
    lines = [entry["line"] for entry in entries if entry["attempt"] == 1]
    after = len(lines) - lines.index("over") - 1
    lines.remove("over")
    commands = [survivor.split(" ", 1)[1] for survivor in killed["survivors"]]
    assert lines == [str(number) for number in range(1, len(lines) + 1)]
    assert after > 3
    assert (killed["pid"], f"sh -c {talk}" in commands) == (started["pid"], True)
    assert (exited["exit_code"], exited["next"]) == (0, next_step)


@requires_root
def test_init_is_in_the_root_of_its_container(tmp_path: Path) -> None:
    text = "[jobs.web]\ncommand = 'sleep 1000'\nworkdir = '/tmp'"

    with open_supervisor(tmp_path, text) as run:
        init = run.wait_event("job.started")["pid"]
        (command,) = find_descendants(init)
        directories = [str(Path(f"/proc/{pid}/cwd").readlink()) for pid in (init, command)]
        run.terminate()

    assert directories == ["/", "/tmp"]
