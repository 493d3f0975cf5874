"""How `mocker run` ends, and what signals do to it and to what runs in it."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from signal import Signals

import pytest

from mocker.supervisor.ending_signals import ECHO_S
from tests.callers import adopted_orphans, call
from tests.conftest import Mocker
from tests.end_to_end.processes import (
    DEFAULT_SIGNALS,
    MOCKER,
    PATIENCE,
    find_descendants,
    open_run,
    read_line,
    wait_until,
    watch,
)
from tests.requirements import (
    requires_busybox,
    requires_commands,
    requires_user_namespaces,
)

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

SYNCHRONOUS = {
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGSYS,
    signal.SIGTRAP,
}
NOT_FORWARDED = SYNCHRONOUS | {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
ENDING = (signal.SIGTERM, signal.SIGINT)

# What is not fatal to a process that does nothing about it, signal(7).
HARMLESS = {
    signal.SIGCHLD,
    signal.SIGCONT,
    signal.SIGSTOP,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGURG,
    signal.SIGWINCH,
}
# QUIT is fatal too, but busybox's shell, which the tests have kill itself, ignores it.
FATAL = sorted(set(range(1, signal.SIGRTMAX + 1)) - HARMLESS - {signal.SIGQUIT})

# Many calls in one process, because a start of Python for each takes most of their time.
MANY_CALLS = """
import json, os, sys
from mocker.supervisor import cli, run_command
statuses = []
for arguments in json.load(sys.stdin):
    pid = os.fork()
    if pid == 0:
        sys.argv[1:] = ["run", *arguments]
        cli.main()
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(*statuses)
"""

# Seconds: less than the default grace period, which would otherwise be waited for.
SOON = 8

# A shell that says which signals it gets, for as long as its standard input is open.
LISTEN = "echo ready; while :; do read -r _; done"


def start_child(on_term: str) -> str:
    """Return shell code that starts a process and goes on when its trap for TERM is set."""
    child = f"trap {shlex.quote(on_term)} TERM; echo >/tmp/set; while :; do sleep 0.01; done"
    return f"mkfifo /tmp/set; ({child}) & read -r _ </tmp/set;"


STUBBORN_CHILD = start_child("")


def run_many(calls: Iterable[Sequence[str]]) -> list[int]:
    """Call `mocker run` once for each list of arguments and return the exit statuses."""
    result = subprocess.run(
        [sys.executable, "-c", MANY_CALLS],
        input=json.dumps(list(calls)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr == ""
    return [int(status) for status in result.stdout.split()]


def say(*numbers: int) -> str:
    """Return shell code that prints a signal's number whenever it arrives."""
    return "".join(f"trap 'echo {int(number)}' {int(number)}; " for number in numbers)


# The exit status


@pytest.mark.parametrize("code", [0, 1, 2, 124, 125, 126, 127, 128, 137, 255])
def test_exit_code_is_the_commands(mocker: Mocker, code: int) -> None:
    result = mocker("run", "sh", "-c", f"exit {code}")

    assert (result.returncode, result.stdout, result.stderr) == (code, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 256, 32))
def test_all_exit_codes_come_through(first: int) -> None:
    codes = list(range(first, first + 32))

    statuses = run_many(["sh", "-c", f"exit {code}"] for code in codes)

    assert statuses == codes


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_signal_that_ended_the_command_is_told(mocker: Mocker, number: Signals) -> None:
    options = ["--ulimit", "core=0"]

    result = mocker("run", *options, "sh", "-c", f"kill -{int(number)} $$")

    assert (result.returncode, result.stdout, result.stderr) == (128 + number, "", "")


@pytest.mark.slow
def test_every_signal_that_ends_the_command_is_told() -> None:
    # The command is not PID 1, or the kernel would spare it.
    statuses = run_many(
        ["--ulimit", "core=0", "sh", "-c", f"kill -{number} $$"] for number in FATAL
    )

    assert statuses == [128 + number for number in FATAL]


@pytest.mark.parametrize("rootfs", ["/nonexistent", "/dev/null"])
def test_container_that_can_not_be_made_is_125(mocker: Mocker, rootfs: str) -> None:
    result = mocker("run", "--rootfs", rootfs, "true")

    assert (result.returncode, result.stdout) == (125, "")
    assert result.stderr.startswith("mocker run: cannot ")


@pytest.mark.parametrize("command", ["/etc/passwd", "/tmp", "/dev/null"])
def test_command_that_is_not_executable_is_126(mocker: Mocker, command: str) -> None:
    result = mocker("run", command)

    assert (result.returncode, result.stdout) == (126, "")
    assert result.stderr.startswith(f"mocker run: cannot execute {command!r}: ")


@pytest.mark.parametrize("command", ["no-such-command", "/bin/no-such", "./no-such"])
def test_command_that_is_not_found_is_127(mocker: Mocker, command: str) -> None:
    result = mocker("run", command)

    assert (result.returncode, result.stdout) == (127, "")
    assert result.stderr.startswith(f"mocker run: cannot execute {command!r}: No such file")


def test_command_whose_interpreter_is_not_found_is_127(mocker: Mocker, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/no-such-interpreter\n")
    (tmp_path / "script").chmod(0o755)

    result = mocker("run", "-v", f"{tmp_path}:/volume", "/volume/script")

    assert (result.returncode, result.stdout) == (127, "")
    assert "interpreter" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--no-such-option", "true"],
        ["-v", "/nowhere", "true"],
        ["--network", "bridge", "true"],
        ["--timeout", "soon", "true"],
        ["--stop-signal", "NONE", "true"],
        ["--name"],
    ],
)
def test_wrong_usage_is_2(mocker: Mocker, arguments: list[str]) -> None:
    result = mocker("run", *arguments)

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("mocker run: ")
    assert result.stderr.count("\n") == 1


def test_reader_that_goes_away_ends_the_command() -> None:
    with open_run("yes") as process:
        read_line(process)
        assert process.stdout is not None

        process.stdout.close()
        status = process.wait(PATIENCE)

    assert status == 128 + signal.SIGPIPE


# Signals that are sent to `mocker run`


@pytest.mark.slow
def test_every_signal_reaches_the_command() -> None:
    # TERM has a test of its own, because it would be the second after INT; so has TSTP.
    others = {signal.SIGTERM, signal.SIGTSTP}
    numbers = sorted(signal.valid_signals() - NOT_FORWARDED - others)

    with open_run("sh", "-c", say(*numbers) + LISTEN) as process:
        read_line(process)
        heard = []
        for number in numbers:
            process.send_signal(number)
            heard.append(read_line(process))

    assert heard == [str(int(number)) for number in numbers]
    assert len(heard) > 50


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGTSTP])
def test_signal_reaches_the_command(number: Signals) -> None:
    with open_run("sh", "-c", say(number) + LISTEN) as process:
        read_line(process)
        process.send_signal(number)
        heard = read_line(process)

    assert heard == str(int(number))


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGABRT,
        signal.SIGUSR1,
        signal.SIGPIPE,
        signal.SIGALRM,
        signal.SIGTERM,
        signal.SIGXFSZ,
        signal.SIGRTMIN,
        signal.SIGRTMAX,
    ],
)
def test_default_action_of_a_signal_works(number: Signals) -> None:
    with open_run("--ulimit", "core=0", "cat") as process:
        press_enter(process)
        read_line(process)
        process.send_signal(number)
        status = process.wait(PATIENCE)

    assert status == 128 + number


def test_stopping_stops_both_and_continuing_continues_both() -> None:
    script = "echo ready; read -r _; echo heard"

    with open_run("sh", "-c", script) as process:
        read_line(process)
        pids = [process.pid, find_descendants(process.pid)[1]]
        process.send_signal(signal.SIGTSTP)
        stopped = wait_until(lambda: [read_state(pid) for pid in pids] == ["T", "T"])
        process.send_signal(signal.SIGCONT)
        press_enter(process)
        answer = read_line(process)

    assert (stopped, answer) == (True, "heard")


def read_state(pid: int) -> str:
    """Return the one-letter state of a process, proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@requires_commands("nohup")
def test_hangup_that_the_caller_ignores_is_not_forwarded() -> None:
    script = say(signal.SIGHUP, signal.SIGUSR1) + LISTEN

    with open_run("sh", "-c", script, wrapper=["nohup"]) as process:
        read_line(process)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGUSR1)
        heard = read_line(process)

    assert heard == str(int(signal.SIGUSR1))


@pytest.mark.parametrize("first", ENDING)
@pytest.mark.parametrize("second", ENDING)
def test_second_signal_to_end_kills_at_once(first: Signals, second: Signals) -> None:
    options = ["--grace", "60s"]
    script = "sh -c 'trap \"\" TERM INT; sleep 1000' & " + say(*ENDING) + LISTEN

    with open_run(*options, "sh", "-c", script) as process:
        read_line(process)
        with watch(find_descendants(process.pid)) as wait_ended:
            process.send_signal(first)
            heard = read_line(process)
            running = process.poll() is None
            time.sleep(ECHO_S)
            process.send_signal(second)
            status = process.wait(PATIENCE)
            survivors = wait_ended()

    assert (heard, running) == (str(int(first)), True)
    assert (status, survivors) == (128 + signal.SIGKILL, [])


@pytest.mark.parametrize("number", ENDING)
def test_signals_to_end_cut_the_grace_period_short(number: Signals) -> None:
    script = f"{STUBBORN_CHILD} echo ready; read -r _; exit 7"

    with open_run("--grace", "60s", "sh", "-c", script) as process:
        read_line(process)
        with watch([find_descendants(process.pid)[1]]) as wait_ended:
            press_enter(process)
            waiting = (wait_ended(), process.poll())

        def insist() -> bool:
            process.send_signal(number)
            return process.poll() is not None

        ended = wait_until(insist)

    assert waiting == ([], None)
    assert (ended, process.returncode) == (True, 7)


def press_enter(process: subprocess.Popen[str]) -> None:
    """Give the command a line to read."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


# --timeout, --stop-signal, --grace


@pytest.mark.slow
@pytest.mark.parametrize("time_limit", ["300ms", "0.3s", "0.3"])
def test_command_that_runs_into_the_timeout_is_ended_and_told_by_124(
    mocker: Mocker, time_limit: str
) -> None:
    result = mocker("run", "--timeout", time_limit, "sleep", "1000", timeout=SOON)

    assert (result.returncode, result.stdout, result.stderr) == (124, "", "")


@pytest.mark.slow
def test_command_that_ends_well_at_the_timeout_is_told_by_124(mocker: Mocker) -> None:
    script = "trap 'echo bye; exit 0' TERM; while :; do sleep 0.01; done"

    result = mocker("run", "--timeout", "1s", "sh", "-c", script, timeout=SOON)

    assert (result.returncode, result.stdout) == (124, "bye\n")


@pytest.mark.slow
def test_command_that_ignores_the_timeout_is_killed_after_the_grace_period(mocker: Mocker) -> None:
    options = ["--timeout", "1s", "--grace", "300ms"]
    script = "trap 'echo no' TERM; while :; do sleep 0.01; done"

    result = mocker("run", *options, "sh", "-c", script, timeout=SOON)

    assert (result.returncode, result.stdout) == (124, "no\n")


@pytest.mark.slow
def test_command_has_the_grace_period_after_the_timeout(mocker: Mocker) -> None:
    script = "trap 'sleep 0.3; echo done; exit' TERM; while :; do sleep 0.01; done"

    result = mocker("run", "--timeout", "1s", "sh", "-c", script, timeout=SOON)

    assert (result.returncode, result.stdout) == (124, "done\n")


@pytest.mark.slow
def test_command_has_no_time_after_the_timeout_without_a_grace_period(mocker: Mocker) -> None:
    options = ["--timeout", "300ms", "--grace", "0"]
    script = "trap 'sleep 60' TERM; while :; do sleep 0.01; done"

    result = mocker("run", *options, "sh", "-c", script, timeout=SOON)

    assert result.returncode == 124


def test_command_that_ends_in_time_keeps_its_status(mocker: Mocker) -> None:
    result = mocker("run", "--timeout", "60s", "sh", "-c", "exit 3")

    assert result.returncode == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("INT", signal.SIGINT),
        ("SIGUSR1", signal.SIGUSR1),
        ("2", signal.SIGINT),
    ],
)
def test_stop_signal_is_sent_at_the_timeout(mocker: Mocker, word: str, number: Signals) -> None:
    options = ["--timeout", "1s", "--stop-signal", word]
    script = f"trap 'echo told; exit' {int(number)}; while :; do sleep 0.01; done"

    result = mocker("run", *options, "sh", "-c", script, timeout=SOON)

    assert (result.returncode, result.stdout) == (124, "told\n")


# What the command leaves behind


def test_orphan_becomes_a_child_of_the_init(mocker: Mocker) -> None:
    script = "(sleep 1000 & echo $! >/tmp/pid); grep PPid /proc/$(cat /tmp/pid)/status"

    result = mocker("run", "sh", "-c", script)

    assert result.stdout.split() == ["PPid:", "1"]


def test_orphans_are_reaped(mocker: Mocker) -> None:
    # A zombie has its entry in /proc as well. The loop itself starts no process.
    script = """
        for i in 1 2 3 4 5 6 7 8 9; do (sleep 0.01 &); done
        while set -- /proc/[0-9]*; [ $# -gt 2 ]; do read -t 0.01 _; done; echo $*
    """

    result = mocker("run", "--timeout", "10s", "sh", "-c", script)

    assert (result.stdout, result.returncode) == ("/proc/1 /proc/2\n", 0)


def test_what_is_left_gets_term(mocker: Mocker) -> None:
    script = f"{start_child('echo told; exit')} exit 7"

    result = mocker("run", "sh", "-c", script, timeout=SOON)

    assert (result.stdout, result.returncode) == ("told\n", 7)


@pytest.mark.slow
def test_what_is_left_has_the_grace_period(mocker: Mocker) -> None:
    script = f"{start_child('sleep 0.5; echo done; exit')} exit 7"

    result = mocker("run", "sh", "-c", script, timeout=SOON)

    assert (result.stdout, result.returncode) == ("done\n", 7)


@pytest.mark.slow
def test_what_ignores_term_is_killed_after_the_grace_period(mocker: Mocker) -> None:
    start = time.monotonic()

    result = mocker("run", "--grace", "300ms", "sh", "-c", f"{STUBBORN_CHILD} exit 7", timeout=SOON)

    assert result.returncode == 7
    assert time.monotonic() - start > 0.3


def test_what_is_left_is_killed_at_once_without_a_grace_period(mocker: Mocker) -> None:
    script = f"{start_child('sleep 60')} exit 7"

    result = mocker("run", "--grace", "0", "sh", "-c", script, timeout=SOON)

    assert result.returncode == 7


@pytest.mark.parametrize(
    "leave",
    [
        "sleep 1000 &",
        "(sleep 1000 &);",
        "(trap '' HUP; exec sleep 1000) &",
        "setsid sleep 1000 &",
        "(setsid setsid sleep 1000 &);",
        "sleep 1000 & kill -STOP $!;",
        "cat /dev/zero >/dev/null &",
        "while :; do sleep 1000; done &",
    ],
)
def test_what_is_left_does_not_survive_the_command(leave: str) -> None:
    with open_run("sh", "-c", f"{leave} echo ready; read -r _; exit 7") as process:
        read_line(process)
        processes = find_descendants(process.pid)
        with watch(processes) as wait_ended:
            process.communicate("go on\n", timeout=SOON)
            survivors = wait_ended()

    assert len(processes) > 2
    assert (process.returncode, survivors) == (7, [])


# Sudden ends


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_nothing_survives_mocker_itself(number: Signals) -> None:
    script = f"""
        {STUBBORN_CHILD}
        setsid sh -c 'trap "" HUP INT TERM; sleep 1000' & (sleep 1000 &)
        echo started; exec cat
    """
    no_core = ["sh", "-c", 'ulimit -c 0; exec "$@"', "sh"]

    with open_run("sh", "-c", script, wrapper=no_core) as process:
        started = read_line(process)
        processes = find_descendants(process.pid)
        with watch(processes) as wait_ended:
            process.send_signal(number)
            survivors = wait_ended()
            status = process.wait(PATIENCE)

    assert started == "started"
    assert len(processes) >= 5
    assert (status, survivors) == (-number, [])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_survives_whenever_mocker_is_ended(number: Signals) -> None:
    statuses = set()

    with adopted_orphans():
        for milliseconds in range(0, 120, 6):
            with subprocess.Popen(
                [*DEFAULT_SIGNALS, MOCKER, "run", "sleep", "1000"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            ) as process:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(milliseconds / 1000)
                process.send_signal(number)
                statuses.add(process.wait(PATIENCE))

    assert statuses <= {-number, 128 + number}


def test_container_whose_init_is_killed_is_told_by_137() -> None:
    with open_run("sh", "-c", f"{STUBBORN_CHILD} echo ready; exec cat") as process:
        read_line(process)
        init, *others = find_descendants(process.pid)
        with watch(others) as wait_ended:
            os.kill(init, signal.SIGKILL)
            status = process.wait(PATIENCE)
            survivors = wait_ended()

    assert (status, survivors) == (128 + signal.SIGKILL, [])


@pytest.mark.parametrize("command", ["mocker", "mocker-supervise"])
@pytest.mark.parametrize(("ignored", "code"), [(False, -signal.SIGINT), (True, 7)])
def test_interrupt_while_mocker_is_imported_ends_it_without_a_word(
    command: str, ignored: bool, code: int, tmp_path: Path
) -> None:
    package = tmp_path / "mocker"
    package.mkdir()
    text = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nos._exit(7)\n"
    (package / "__init__.py").write_text(text)
    path = str(Path(sys.executable).with_name(command))

    def act() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL)
        os.execve(path, [path], dict(os.environ, PYTHONPATH=str(tmp_path)))  # noqa: S606

    assert call(act) == (code, "", "")
