import _thread
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from mocker.isolation import ContainerSpec, ExitStatus, SetupError, Volume, run, spawn
from mocker.isolation.handshake import receive_failure
from mocker.isolation.launch import check_one_thread, launch
from mocker.isolation.plan import make_plan
from tests.callers import call, run_prepared
from tests.containers import run_captured, script
from tests.in_namespaces import run_in_child
from tests.leaks import read_descriptors
from tests.refusals import Refusal, refuse_system_calls
from tests.requirements import (
    requires_busybox,
    requires_user_namespaces,
)

pytestmark = [requires_busybox, requires_user_namespaces]

TRUE = ContainerSpec(["true"])


def read_refusal(act: Callable[[], object]) -> str:
    """Return what the SetupError says that a function raises, "" if it raises none."""
    try:
        act()
    except SetupError as error:
        return str(error)
    return ""


def test_process_with_two_threads_is_refused() -> None:
    def act() -> tuple[str, ExitStatus]:
        done = threading.Event()
        thread = threading.Thread(target=done.wait)
        thread.start()
        sentence = read_refusal(lambda: spawn(TRUE))
        done.set()
        thread.join()
        return sentence, run(TRUE)

    sentence, status_with_one_thread = run_in_child(act)

    assert sentence == (
        "cannot clone from a process with 2 threads; "
        "start a ForkServer before the first thread, and spawn through it"
    )
    assert status_with_one_thread == ExitStatus(code=0)


def test_process_with_one_thread_is_not_refused() -> None:
    assert run_in_child(check_one_thread) is None


def test_process_whose_other_thread_is_about_to_end_is_not_refused() -> None:
    def act() -> int:
        # As one that was joined, of which the kernel does not know yet.
        _thread.start_new_thread(time.sleep, (0.005,))
        threads = len(list(Path("/proc/self/task").iterdir()))
        check_one_thread()
        return threads

    assert run_in_child(act) == 2


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
@pytest.mark.parametrize("closed", [200, -1])
def test_closed_descriptor_is_refused(name: str, closed: int) -> None:
    def act() -> tuple[str, dict[str, str], dict[str, str]]:
        before = read_descriptors()
        return read_refusal(lambda: spawn(TRUE, **{name: closed})), before, read_descriptors()

    sentence, before, after = run_in_child(act)

    assert sentence == f"cannot hand on descriptor {closed}: Bad file descriptor (EBADF)"
    assert set(after) == set(before)


def test_descriptors_may_be_handed_on_in_another_order() -> None:
    spec = script("echo to stdout; echo to stderr >&2")

    outcome = call(lambda: run(spec, stdout=2, stderr=1))

    assert outcome == (0, "to stderr\n", "to stdout\n")


def test_one_descriptor_may_be_handed_on_three_times() -> None:
    outcome = call(lambda: run(script("echo a; echo b >&2"), stdin=2, stdout=2, stderr=2))

    assert outcome == (0, "", "a\nb\n")


@pytest.mark.parametrize("closed", [(0,), (1,), (0, 1), (0, 1, 2)])
def test_numbers_of_the_standard_descriptors_are_kept_free_for_the_command(
    closed: tuple[int, ...],
) -> None:
    def act() -> str:
        stdio = [os.dup(fd) for fd in (0, 1, 2)]
        output = os.memfd_create("output")
        for fd in closed:
            os.close(fd)
        run(script("echo x"), stdin=stdio[0], stdout=output, stderr=stdio[2])
        return os.pread(output, 100, 0).decode()

    assert run_in_child(act) == "x\n"


def test_nothing_stays_of_a_container_that_lacks_descriptors() -> None:
    def act() -> tuple[set[str], dict[str, str], dict[str, str]]:
        before = read_descriptors()
        sentences = set()
        for number in range(len(before), len(before) + 14):
            resource.setrlimit(resource.RLIMIT_NOFILE, (number, 1000))
            sentences.add(read_refusal(lambda: run(TRUE)))
        resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000))
        return sentences, before, read_descriptors()

    sentences, before, after = run_in_child(act)

    refusals = {sentence for sentence in sentences if sentence}
    assert len(refusals) > 1
    assert all(": Too many open files (EMFILE); " in sentence for sentence in refusals)
    assert set(after) == set(before)


def test_nobody_is_left_to_reap_after_a_refusal() -> None:
    def act() -> str:
        read_refusal(lambda: spawn(ContainerSpec(["true"], tmpfs=[], workdir="/etc/passwd")))
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return "nobody"
        return "somebody"

    assert run_in_child(act) == "nobody"


@pytest.mark.parametrize("command", ["true", "frobnicate"])
def test_signal_mask_of_the_caller_is_what_it_was(command: str) -> None:
    def act() -> tuple[set[int], set[int]]:
        before = signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR1, signal.SIGHUP})
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        with suppress(Exception):
            run(ContainerSpec([command]))
        return before, signal.pthread_sigmask(signal.SIG_BLOCK, ())

    before, after = run_in_child(act)

    assert after == before


def test_signal_that_arrives_meanwhile_is_the_callers_alone() -> None:
    def act() -> int:
        seen = []
        signal.signal(signal.SIGALRM, lambda *_: seen.append(os.getpid()))
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        run(TRUE)
        signal.setitimer(signal.ITIMER_REAL, 0)
        return len(set(seen) - {os.getpid()}) if seen else -1

    assert run_in_child(act) == 0


def test_caller_that_ignores_sigchld_learns_the_exit_status() -> None:
    def act() -> ExitStatus:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        return run(script("exit 7"))

    assert run_in_child(act) == ExitStatus(code=7)


def test_init_is_told_to_go_on_and_not_waited_for() -> None:
    def act() -> tuple[int, object, int]:
        # Its report is only read below; nobody could wait for the command here.
        launched = launch(make_plan(script("read line; exit 7")), (0, 1, 2))
        failure = receive_failure(launched.report)
        ended = os.waitpid(launched.pid, os.WNOHANG)[0]
        launched.close()
        os.kill(launched.pid, signal.SIGKILL)
        return ended, failure, os.waitpid(launched.pid, 0)[1]

    read_end, write_end = os.pipe()
    stdin = os.dup(0)
    os.dup2(read_end, 0)
    try:
        result = run_in_child(act)
    finally:
        os.dup2(stdin, 0)
        for fd in (read_end, write_end, stdin):
            os.close(fd)
    assert result == (0, None, signal.SIGKILL)


def test_sibling_is_a_child_of_the_callers_parent() -> None:
    pid = run_in_child(lambda: launch(make_plan(TRUE), (0, 1, 2), sibling=True).pid)

    assert os.waitpid(pid, 0)[0] == pid


def test_more_volumes_arrive_than_one_message_takes(tmp_path: Path) -> None:
    volumes = [Volume(str(tmp_path), f"/data/{number}") for number in range(260)]

    outcome = run_captured(script("ls /data | wc -l; mount | grep -c ' /data/'", volumes=volumes))

    assert outcome == (ExitStatus(code=0), "260\n260\n", "")


def test_init_ends_with_a_parent_that_dies_before_it_says_go() -> None:
    # The caller of this adopts the init and fails if it goes on.
    refuse = partial(refuse_system_calls, [Refusal("sendto", kill=True)])

    outcome = run_prepared(refuse, "run", "sleep", "1000")

    assert outcome == (-signal.SIGSYS, "", "")


@pytest.mark.parametrize(
    ("number", "rootfs"),
    [
        ("recvmsg", "host"),  # by which trees of the host arrive
        ("sethostname", "busybox"),
        ("mount", "busybox"),
        ("pivot_root", "busybox"),
        ("setsid", "busybox"),
    ],
)
def test_init_that_is_killed_on_the_way_is_said(number: str, rootfs: str) -> None:
    refuse = partial(refuse_system_calls, [Refusal(number, kill=True)])

    outcome = run_prepared(refuse, "run", "--rootfs", rootfs, "true")

    sentence = "mocker run: cannot build the container; its init was killed on the way\n"
    assert outcome == (125, "", sentence)
