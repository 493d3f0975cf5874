import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mocker.isolation import (
    CommandError,
    Container,
    ContainerSpec,
    ExitStatus,
    ForkServer,
    Rlimit,
    SetupError,
    spawn,
)
from mocker.isolation.init import _signal_descendants
from mocker.isolation.survivors import list_container, list_descendants, read_title
from tests.containers import in_container, open_container, run_captured, script, wait_readable
from tests.in_namespaces import run_in_child
from tests.leaks import PATIENCE, read_children, read_descriptors
from tests.requirements import requires_root

LOOP = "while :; do sleep 0.01; done"
STUBBORN = f"trap '' TERM; {LOOP}"
# Four processes below the command, of which two have nothing to do with it any more.
FAMILY = """\
sleep 1000 &
setsid sh -c 'echo $$; sleep 1000 & wait' &
(setsid sh -c 'echo $$; exec sleep 1000' & )
"""

# Each process forks the next one and ends, so that hardly any list of them is complete.
FLEETING = """\
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b"up\\n")
if os.fork():
    signal.pause()
while not os.fork():
    pass
"""


def unisolated(text: str, *arguments: str, **fields: object) -> ContainerSpec:
    """Return the spec of a shell script that is a process of the host's."""
    shared = {"isolate": False, "rootfs": "host", "network": "host"}
    return script(text, *arguments, **shared, **fields)


@contextmanager
def watched(pid: int) -> Iterator[list[int]]:
    """Hold on to all that is below a process, as descriptors."""
    pidfds: list[int] = []
    for descendant in descend(pid):
        with suppress(ProcessLookupError):  # it has ended meanwhile: the loop's sleep does
            pidfds.append(os.pidfd_open(descendant))
    try:
        yield pidfds
    finally:
        for pidfd in pidfds:
            os.close(pidfd)


def descend(pid: int) -> Iterator[int]:
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        children: list[str] = []
        with suppress(FileNotFoundError, ProcessLookupError):
            children = listing.read_text().split()
        for child in map(int, children):
            yield child
            yield from descend(child)


def wait_for_family(container: Container, size: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(list(descend(container.pid))) < size:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def find_alive(pidfds: list[int]) -> list[int]:
    return [pidfd for pidfd in pidfds if not wait_readable(pidfd, 5)]


def test_descendants_are_children_and_theirs() -> None:
    def act() -> tuple[bool, int]:
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            grandchild = os.fork()
            if grandchild:
                os.write(write_end, b"%d" % grandchild)
            signal.pause()
        pids = {child, int(os.read(read_end, 100))}
        found = list_descendants(os.getpid())
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(child, 0)
        return set(found) == pids, len(found)

    assert run_in_child(act) == (True, 2)


def test_descendants_are_those_of_every_thread() -> None:
    program = """\
import subprocess, threading
def work():
    child = subprocess.Popen(["sleep", "1000"])
    print(child.pid, flush=True)
    child.wait()
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""

    def act() -> tuple[int, list[int]]:
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            grandchild = int(process.stdout.readline())
            found = list_descendants(os.getpid())
            os.kill(grandchild, signal.SIGKILL)
        return grandchild, found

    grandchild, found = run_in_child(act)

    assert grandchild in found
    assert len(found) == 2


def test_process_without_children_has_no_descendants() -> None:
    assert run_in_child(lambda: list_descendants(os.getpid())) == []


def test_container_is_all_but_the_process_itself() -> None:
    own, others = os.getpid(), list_container()

    assert own not in others
    assert os.getppid() in others


@contextmanager
def child(*arguments: str) -> Iterator[int]:
    """Run a shell with these arguments, and provide its pid once it runs."""
    command = ["sh", "-c", "echo; read -r _", "sh", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


def test_title_is_the_command_line() -> None:
    with child("word") as pid:
        assert read_title(pid) == "sh -c echo; read -r _ sh word"


def test_long_title_is_cut() -> None:
    with child(*["word"] * 100) as pid:
        title = read_title(pid)

    assert 190 <= len(title) <= 200  # less the end of a word


def test_what_has_ended_and_was_not_waited_for_has_no_title() -> None:
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

        assert process.pid in list_descendants(os.getpid())
        assert read_title(process.pid) == ""


@pytest.mark.parametrize("pid", [-1, 2**22 + 1])
def test_nobody_is_below_a_number_that_is_none(pid: int) -> None:
    assert (list_descendants(pid), read_title(pid)) == ([], "")


@in_container
def test_container_is_seen_from_outside_with_what_has_left_the_command() -> None:
    last = "mkfifo $0; echo; read -r _ <>$0"  # lasts, and prints a line first
    spec = script(f"(setsid sh -c '{last}' /a &); {last.replace('$0', '/b')}", "main")

    with open_container(spec) as (container, output):
        output.readline(), output.readline()
        titles = [read_title(pid) for pid in list_descendants(container.pid)]

    assert sorted(title.split()[-1] for title in titles if title) == ["/a", "main"]


@in_container
def test_no_more_descendants_are_listed_than_are_wanted() -> None:
    spec = script("for _ in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo; wait")

    with open_container(spec) as (container, output):
        output.readline()

        assert len(list_descendants(container.pid)) == 9
        assert len(list_descendants(container.pid, 5)) == 5


def test_title_of_what_is_gone_is_empty() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()

    assert read_title(process.pid) == ""


@in_container
def test_what_had_to_be_killed_is_told() -> None:
    ready = "until test -e /tmp/ready; do sleep 0.01; done"
    child = f"trap '' TERM; touch /tmp/ready; {LOOP}"

    with open_container(script(f'sh -c "$1" stubborn & {ready}', child, grace=0.2)) as (c, _):
        c.wait()

    titles = [title for _, title in c.survivors]
    assert any(title.startswith("sh -c trap '' TERM;") for title in titles)
    assert all(pid > 1 for pid, _ in c.survivors)


@in_container
def test_nothing_is_told_of_what_ended_when_it_was_asked_to() -> None:
    with open_container(script("sleep 1000 & exit 3")) as (container, _):
        container.wait()

    assert container.survivors == []


@in_container
def test_more_than_a_message_holds_are_told_as_far_as_they_fit() -> None:
    text = """\
    n=0; trap '' TERM
    while [ $n -lt 150 ]; do sleep 1000.$1 & n=$((n+1)); done
    """

    with open_container(script(text, "0" * 300, grace=0)) as (container, _):
        container.wait()

    assert len(container.survivors) < 150
    # The last ones may not have come to their command yet.
    assert sum(title.startswith("sleep 1000.") for _, title in container.survivors) > 50


@pytest.mark.parametrize("how", ["stop", "kill", "close"])
def test_all_that_the_command_started_is_ended_with_it(how: str) -> None:
    with open_container(unisolated(f"{FAMILY} {LOOP}")) as (container, output):
        output.readline(), output.readline()
        wait_for_family(container, 5)
        with watched(container.pid) as pidfds:
            getattr(container, how)()
            container.wait()

            assert find_alive(pidfds) == []
            assert len(pidfds) >= 5


def test_all_that_the_command_leaves_is_ended() -> None:
    with open_container(unisolated(f"{FAMILY} {LOOP}")) as (container, _):
        wait_for_family(container, 5)
        command = next(descend(container.pid))
        with watched(container.pid) as pidfds:
            os.kill(command, signal.SIGUSR1)

            assert container.wait() == ExitStatus(signal=signal.SIGUSR1)
            assert find_alive(pidfds) == []


def test_what_does_not_end_is_killed_after_the_grace_period_and_told() -> None:
    text = '(setsid sh -c "$1" & echo up); exec sleep 1000'

    with open_container(unisolated(text, f"trap '' TERM; echo up; {LOOP}", grace=0.3)) as (
        container,
        output,
    ):
        assert [output.readline(), output.readline()] == ["up\n", "up\n"]
        with watched(container.pid) as pidfds:
            start = time.monotonic()
            container.send_signal(signal.SIGTERM)

            assert container.wait() == ExitStatus(signal=signal.SIGTERM)
            assert time.monotonic() - start >= 0.3
            assert find_alive(pidfds) == []
    assert any("trap '' TERM" in title for _, title in container.survivors)


def test_kill_does_not_wait_for_the_grace_period_of_what_was_left() -> None:
    text = 'setsid sh -c "$1" & exec sleep 1000'

    with open_container(unisolated(text, f"trap '' TERM; echo up; {LOOP}", grace=1000)) as (
        container,
        output,
    ):
        output.readline()
        container.send_signal(signal.SIGTERM)
        assert wait_readable(container.control_fd, 10)  # the command has ended
        container.kill()

        assert container.wait(10) == ExitStatus(signal=signal.SIGTERM)


def test_kill_ends_what_is_forked_in_that_instant() -> None:
    for _ in range(10):
        with open_container(
            unisolated(f'exec {sys.executable} -Sc "$1"', FLEETING, grace=1000)
        ) as (container, output):
            output.readline()
            container.kill()

            assert container.wait(10) == ExitStatus(signal=signal.SIGKILL)


def test_container_that_is_killed_at_once_ends() -> None:
    for _ in range(20):
        with ForkServer() as server:
            container = server.start(unisolated("exec sleep 1000"))
            container.kill()
            status = container.wait(10)
            container.close()

        assert status == ExitStatus(signal=signal.SIGKILL)


@pytest.mark.parametrize("through", ["spawn", "ForkServer().spawn"])
def test_all_is_ended_if_the_parent_is_killed(through: str) -> None:
    program = f"""\
import time
from mocker.isolation import ContainerSpec, ForkServer, spawn
argv = ["sh", "-c", {FAMILY + STUBBORN!r}]
container = {through}(ContainerSpec(argv, isolate=False, rootfs="host", network="host"))
print(container.pid, flush=True)
time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        init = max(map(int, lines), key=lambda pid: len(list(descend(pid))))
        deadline = time.monotonic() + PATIENCE
        while len(list(descend(init))) < 5:
            assert time.monotonic() < deadline
        with watched(init) as pidfds:
            process.kill()

            assert find_alive(pidfds) == []


def test_status_of_the_command_is_told_without_isolation() -> None:
    assert run_captured(unisolated("exit 42")).status == ExitStatus(code=42)
    assert run_captured(unisolated("kill -KILL $$")).status == ExitStatus(signal=9)


def test_command_is_a_process_of_the_hosts() -> None:
    names = ("user", "mnt", "uts", "pid", "ipc", "net", "cgroup")
    text = f"id -u; umask; for n in {' '.join(names)}; do readlink /proc/self/ns/$n; done"

    uid, umask, *found = run_captured(unisolated(text)).stdout.split()

    assert (int(uid), umask) == (os.geteuid(), "0022")
    assert found == [str(Path(f"/proc/self/ns/{name}").readlink()) for name in names]


def test_environment_is_what_was_asked_for_and_nothing_of_the_callers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "x")

    text = run_captured(unisolated("env", env={"A": "1"})).stdout

    assert "A=1" in text.split()
    assert "SECRET" not in text


def test_workdir_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    assert run_captured(unisolated("pwd -P", workdir=str(tmp_path))).stdout == f"{tmp_path}\n"


def test_workdir_is_the_callers_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert run_captured(unisolated("pwd -P")).stdout == f"{tmp_path}\n"


def test_workdir_that_is_not_there_is_refused() -> None:
    with pytest.raises(SetupError, match=r"cannot change to directory /no/such"):
        run_captured(unisolated("true", workdir="/no/such"))


def test_command_that_is_not_there_is_refused() -> None:
    spec = ContainerSpec(["nosuch"], isolate=False, rootfs="host", network="host")

    with pytest.raises(CommandError, match="cannot execute 'nosuch'"):
        spawn(spec)


def test_limits_are_set() -> None:
    spec = unisolated("ulimit -n", rlimits=[Rlimit("nofile", 77)])

    assert run_captured(spec).stdout == "77\n"


@requires_root
def test_root_may_choose_the_user() -> None:
    spec = unisolated("id -u; id -g; echo $HOME", user="nobody")

    assert run_captured(spec).stdout.split() == ["65534", "65534", "/nonexistent"]


@requires_root
def test_all_that_another_user_started_is_ended_too() -> None:
    spec = unisolated(f"{FAMILY} {LOOP}", user="nobody")

    with open_container(spec) as (container, output):
        output.readline(), output.readline()
        wait_for_family(container, 5)
        with watched(container.pid) as pidfds:
            container.kill()

            assert container.wait() == ExitStatus(signal=signal.SIGKILL)
            assert find_alive(pidfds) == []


def test_process_beside_the_command_is_ended_with_it() -> None:
    with (
        open_container(unisolated(LOOP)) as (container, _),
        container.start_process(["sleep", "1000"]) as process,
    ):
        process.poll()
        container.kill()

        assert process.wait() == ExitStatus(signal=signal.SIGKILL)


def test_nothing_is_left_of_many() -> None:
    before = read_descriptors(), read_children()

    for _ in range(20):
        run_captured(unisolated("sleep 1000 & (setsid sleep 1000 &)"))

    assert (read_descriptors(), read_children()) == before


@requires_root
def test_process_that_became_somebody_else_is_passed_over() -> None:
    def act() -> tuple[int, bool]:
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(write_end)
            os.read(read_end, 1)
            os._exit(0)
        os.setresuid(12345, 12345, 12345)
        told = _signal_descendants(signal.SIGKILL)
        alive = os.waitpid(pid, os.WNOHANG)[0] == 0
        os.close(write_end)
        os.waitpid(pid, 0)
        return told, alive

    assert run_in_child(act) == (0, True)
