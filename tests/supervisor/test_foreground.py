import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mocker.isolation import Container, Limits, Rlimit
from mocker.isolation.delegation import Delegation
from mocker.isolation.launch import launch
from mocker.isolation.plan import make_plan
from mocker.supervisor.ending_signals import ECHO_S
from mocker.supervisor.foreground import (
    TIMED_OUT,
    Watch,
    are_one_terminal,
    fill_standard_descriptors,
    forwarded_signals,
    replace_terminals,
    run_foreground,
    suspend,
    tell_oom_kill,
)
from tests.cgroups import in_own_tree, own_tree
from tests.containers import in_container, open_container, script
from tests.end_to_end.pty_driver import lead_new_terminal
from tests.in_namespaces import run_in_child

READY = "echo ready; while :; do sleep 0.01; done"


def tell_nobody(text: str) -> None:
    pass


# What has been asked of a container.


@in_container
def test_first_signal_reaches_the_command() -> None:
    with open_container(script(f"trap 'exit 7' TERM; {READY}")) as (container, output):
        output.readline()

        Watch(container, None).forward(signal.SIGTERM)

        assert container.wait().code == 7


@in_container
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_that_asks_to_end_kills_at_once(second: int) -> None:
    with open_container(script(f"trap '' INT TERM; {READY}")) as (container, output):
        output.readline()
        watch = Watch(container, None)

        watch.forward(signal.SIGTERM)
        time.sleep(ECHO_S)
        watch.forward(second)

        assert container.wait().signal == signal.SIGKILL


@in_container
def test_signal_that_is_sent_to_the_process_and_to_its_group_is_one() -> None:
    with open_container(script(f"trap 'sleep 0.2; exit 7' TERM; {READY}")) as (container, output):
        output.readline()
        watch = Watch(container, None)

        watch.forward(signal.SIGTERM)
        watch.forward(signal.SIGTERM)

        assert container.wait().code == 7


@in_container
def test_another_signal_that_asks_to_end_is_never_the_same_one() -> None:
    with open_container(script(f"trap '' INT TERM; {READY}")) as (container, output):
        output.readline()
        watch = Watch(container, None)

        watch.forward(signal.SIGTERM)
        watch.forward(signal.SIGINT)

        assert container.wait().signal == signal.SIGKILL


@in_container
def test_other_signals_can_be_repeated() -> None:
    text = f"trap 'echo HUP' HUP; trap 'exit 7' TERM; {READY}"
    with open_container(script(text)) as (container, output):
        output.readline()
        watch = Watch(container, None)

        for _ in range(3):
            watch.forward(signal.SIGHUP)
            assert output.readline() == "HUP\n"
        watch.forward(signal.SIGTERM)

        assert container.wait().code == 7


@in_container
def test_container_without_time_limit_has_all_the_time() -> None:
    with open_container(script(READY)) as (container, _):
        watch = Watch(container, None)

        watch.keep_time()

        assert (watch.remaining(), watch.timed_out) == (None, False)


@in_container
def test_container_within_its_time_is_left_alone() -> None:
    with open_container(script(READY)) as (container, _):
        watch = Watch(container, 1000)

        watch.keep_time()

        assert 990 < (watch.remaining() or 0) <= 1000
        assert not watch.timed_out


@in_container
def test_container_whose_time_is_over_gets_the_stop_signal() -> None:
    spec = script(f"trap 'exit 7' USR1; {READY}", stop_signal=signal.SIGUSR1)
    with open_container(spec) as (container, output):
        output.readline()
        watch = Watch(container, 0)

        watch.keep_time()

        assert watch.timed_out
        assert container.wait().code == 7


@in_container
def test_container_that_does_not_stop_is_killed_after_the_grace_period() -> None:
    with open_container(script(f"trap '' TERM; {READY}", grace=0.05)) as (container, output):
        output.readline()
        watch = Watch(container, 0)

        while (remaining := watch.remaining()) is not None:
            time.sleep(remaining)
            watch.keep_time()

        assert container.wait().signal == signal.SIGKILL


# A container on the caller's own descriptors.


@in_container
@pytest.mark.parametrize(
    ("text", "code"), [("exit 0", 0), ("exit 255", 255), ("kill -KILL $$", 137)]
)
def test_exit_status_is_the_commands(text: str, code: int) -> None:
    assert run_in_child(lambda: run_foreground(script(text), None, tell_nobody)) == code


@in_container
def test_output_that_nobody_wants_goes_nowhere() -> None:
    def run_silently() -> tuple[int, bytes]:
        fd = os.memfd_create("output")
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        status = run_foreground(script("ls / /no; exit 7"), None, tell_nobody, silent=True)
        return status, os.pread(fd, 1000, 0)

    assert run_in_child(run_silently) == (7, b"")


@in_container
def test_exit_status_of_a_timeout_is_that_of_timeout() -> None:
    spec = script("sleep 1000")

    assert run_in_child(lambda: run_foreground(spec, 0.05, tell_nobody)) == TIMED_OUT == 124


@in_container
def test_what_is_not_as_asked_for_is_told() -> None:
    def lower_and_run() -> list[str]:
        told: list[str] = []
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        run_foreground(script("exit", rlimits=[Rlimit("core", 1, 1)]), None, told.append)
        return told

    (note,) = run_in_child(lower_and_run)

    assert "ulimit core is 0:0, not 1:1" in note


@in_own_tree
@in_container
def test_container_that_was_not_killed_for_lack_of_memory_is_not_told_of() -> None:
    told: list[str] = []
    spec = script("kill -KILL $$", limits=Limits())
    with own_tree() as tree:
        cgroup = Delegation(str(tree), ()).make_cgroup(Limits())
        with Container(spec, launch(make_plan(spec), (0, 1, 2), cgroup=cgroup.fd), cgroup) as made:
            made.wait()

            tell_oom_kill(made, told.append)

    assert told == []


@in_container
def test_caller_that_ignores_sigchld_gets_the_status() -> None:
    def ignore_and_run() -> int:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        return run_foreground(script("exit 7"), None, tell_nobody)

    assert run_in_child(ignore_and_run) == 7


@in_container
def test_caller_that_blocks_signals_can_still_be_signalled() -> None:
    def block_and_run() -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        return run_foreground(script(READY), None, tell_nobody)

    assert run_in_child(block_and_run) == 128 + signal.SIGALRM


@in_container
def test_signal_that_the_caller_ignores_is_not_forwarded() -> None:
    def ignore_and_run() -> int:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        return run_foreground(script("sleep 0.2; exit 7"), None, tell_nobody)

    assert run_in_child(ignore_and_run) == 7


@in_container
def test_pipe_that_the_command_closes_is_closed() -> None:
    def run_with_pipe() -> tuple[bytes, bytes]:
        read_end, write_end = os.pipe()
        os.dup2(write_end, 1)
        os.close(write_end)
        pid = os.fork()
        if pid == 0:
            os.close(read_end)
            run_foreground(script("echo out; exec >&-; sleep 1000"), None, tell_nobody)
            os._exit(0)
        os.close(1)
        shown, end = os.read(read_end, 100), os.read(read_end, 100)
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        return shown, end

    assert run_in_child(run_with_pipe) == (b"out\n", b"")


@in_container
def test_container_without_a_terminal_needs_no_event_loop() -> None:
    program = (
        "import sys; from mocker.supervisor.cli import run_command; "
        "code = run_command(['run', 'true']); print(code, 'trio' in sys.modules, file=sys.stderr)"
    )

    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert result.stderr == "0 False\n"


# Which signals.


def test_ignored_signals_are_not_forwarded_and_others_are() -> None:
    def ignore() -> tuple[bool, bool]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return signal.SIGHUP in forwarded_signals(), signal.SIGUSR1 in forwarded_signals()

    assert run_in_child(ignore) == (False, True)


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGSEGV, signal.SIGFPE]
)
def test_signal_about_the_process_itself_is_not_forwarded(number: int) -> None:
    assert number not in forwarded_signals()


@pytest.mark.parametrize("number", [signal.SIGRTMIN, signal.SIGRTMAX, signal.SIGWINCH])
def test_signal_is_forwarded(number: int) -> None:
    assert number in forwarded_signals()


def test_signal_that_python_ignores_for_itself_is_forwarded() -> None:
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    assert signal.SIGXFSZ in forwarded_signals()


# Stopping.


def fork_suspended(prepare: Callable[[], object]) -> int:
    """Fork a process that suspends itself, in a group of its own, and then ends with code 7."""
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        prepare()
        suspend(os.getpid())
        os._exit(7)
    return pid


def wait_stopped_or_ended(pid: int) -> tuple[int, int]:
    result = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED)
    assert result is not None
    return result.si_code, result.si_status


def test_process_stops_and_goes_on() -> None:
    pid = fork_suspended(lambda: None)

    stopped = wait_stopped_or_ended(pid)
    os.kill(pid, signal.SIGCONT)
    ended = wait_stopped_or_ended(pid)

    assert stopped == (os.CLD_STOPPED, signal.SIGTSTP)
    assert ended == (os.CLD_EXITED, 7)


def test_process_stops_even_if_it_handles_and_blocks_the_signal() -> None:
    def handle_and_block() -> None:
        signal.signal(signal.SIGTSTP, lambda *_: os._exit(1))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})

    pid = fork_suspended(handle_and_block)

    stopped = wait_stopped_or_ended(pid)
    os.kill(pid, signal.SIGCONT)
    ended = wait_stopped_or_ended(pid)

    assert stopped == (os.CLD_STOPPED, signal.SIGTSTP)
    assert ended == (os.CLD_EXITED, 7)


def test_whole_group_stops() -> None:
    other = os.fork()
    if other == 0:
        os.setpgid(0, 0)
        signal.pause()
    os.setpgid(other, other)
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, other)
        suspend(0)
        os._exit(7)

    stopped = [wait_stopped_or_ended(pid), wait_stopped_or_ended(other)]
    os.killpg(other, signal.SIGCONT)
    ended = wait_stopped_or_ended(pid)
    os.kill(other, signal.SIGKILL)
    os.waitpid(other, 0)

    assert stopped == [(os.CLD_STOPPED, signal.SIGTSTP)] * 2
    assert ended == (os.CLD_EXITED, 7)


def test_process_whose_caller_ignores_the_signal_does_not_stop() -> None:
    pid = fork_suspended(lambda: signal.signal(signal.SIGTSTP, signal.SIG_IGN))

    assert wait_stopped_or_ended(pid) == (os.CLD_EXITED, 7)


def test_process_that_no_shell_could_continue_does_not_stop() -> None:
    pid = os.fork()
    if pid == 0:
        os.setsid()
        suspend(os.getpid())
        os._exit(7)

    assert wait_stopped_or_ended(pid) == (os.CLD_EXITED, 7)


# Descriptors.


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_closed_descriptor_is_filled_with_one_that_is_of_no_use(closed: int) -> None:
    def close_and_fill() -> tuple[str, bool]:
        os.close(closed)
        fill_standard_descriptors()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.read(0, 1) if closed == 0 else os.write(closed, b"x")
        return str(Path(f"/proc/self/fd/{closed}").readlink()), os.get_inheritable(closed)

    assert run_in_child(close_and_fill) == (os.devnull, True)


def test_open_descriptors_are_left_as_they_are() -> None:
    def fill() -> bool:
        before = [os.fstat(fd) for fd in range(3)]
        fill_standard_descriptors()
        return [os.fstat(fd) for fd in range(3)] == before

    assert run_in_child(fill)


def test_terminal_and_its_copy_are_one() -> None:
    def ask() -> bool:
        lead_new_terminal()
        return are_one_terminal(0, 1)

    assert run_in_child(ask)


def test_terminal_and_dev_tty_are_one() -> None:
    def ask() -> bool:
        lead_new_terminal()
        return are_one_terminal(0, os.open("/dev/tty", os.O_RDWR))

    assert run_in_child(ask)


def test_two_terminals_are_two() -> None:
    def ask() -> bool:
        lead_new_terminal()
        return are_one_terminal(0, os.openpty()[1])

    assert not run_in_child(ask)


def test_terminals_are_replaced_but_for_that_which_the_command_has_itself() -> None:
    def run() -> list[object]:
        lead_new_terminal()
        os.dup2(1, 2)
        _, other = os.openpty()
        null = os.open(os.devnull, os.O_RDWR)
        kept = replace_terminals((0, 1, 2), terminal=True)
        others = replace_terminals((0, 1, other), terminal=True)
        one = replace_terminals((null, null, 2))
        none = replace_terminals((null, null, null))
        assert others is not None
        assert one is not None
        return [kept, none, others.stdio[:2] == [0, 1], one.stdio[:2] == [null, null]]

    assert run_in_child(run) == [None, None, True, True]


def test_what_is_no_terminal_is_not_the_same_terminal() -> None:
    def ask() -> list[bool]:
        null = os.open(os.devnull, os.O_RDWR)
        lead_new_terminal()
        return [are_one_terminal(*fds) for fds in ((0, null), (null, 0), (null, null))]

    assert run_in_child(ask) == [False, False, False]
