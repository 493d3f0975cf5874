"""What becomes of a request inside: as whom and where, and what the init keeps of it."""

import os
import re
import resource
import signal
import socket
import time
from pathlib import Path

import pytest

from mocker.isolation import (
    Container,
    ContainerSpec,
    ExitStatus,
    ForkServer,
    IsolationError,
    Rlimit,
    SetupError,
    Volume,
    receive_descriptors,
)
from tests.beside import SLEEP, run_beside, run_script, running, start
from tests.containers import (
    list_titles,
    open_container,
    run_captured,
    script,
    wait_for_titles,
    wait_readable,
)
from tests.in_namespaces import run_in_child
from tests.keys import SEARCH, hold_key
from tests.leaks import PATIENCE, read_children, read_descriptors
from tests.requirements import (
    requires_busybox,
    requires_root,
    requires_subordinate_ids,
    requires_user_namespaces,
)

pytestmark = [requires_busybox, requires_user_namespaces]

LOOP = "while :; do sleep 0.01; done"
NAMESPACES = ("user", "mnt", "uts", "pid", "ipc", "net", "cgroup")
# One run of the shell has the same words for the command and for a process beside it.
SHOW_NAMESPACES = "; ".join(f"readlink /proc/self/ns/{name}" for name in NAMESPACES)


@pytest.mark.parametrize(
    "fields", [{}, {"network": "host"}, {"rootfs": "host"}, {"user": "nobody"}]
)
@requires_subordinate_ids
def test_process_has_all_namespaces_of_the_command(fields: dict[str, object]) -> None:
    text = f"{SHOW_NAMESPACES}; echo end; sleep 1000"

    with open_container(script(text, **fields)) as (container, output):
        commands = [output.readline().strip() for _ in NAMESPACES]
        processs = run_script(container, SHOW_NAMESPACES).text.split()

    assert processs == commands
    assert len(set(processs)) == len(NAMESPACES)


@requires_root
def test_process_has_the_hosts_user_namespace_where_the_command_has() -> None:
    text = f"{SHOW_NAMESPACES}; grep Cap /proc/self/status; echo end; sleep 1000"

    with open_container(script(text, userns="host")) as (container, output):
        commands = list(iter(output.readline, "end\n"))
        processs = run_script(container, text.replace("echo end; sleep 1000", "true")).text

    assert processs == "".join(commands)
    assert str(Path("/proc/self/ns/user").readlink()) in processs


def test_process_has_the_rights_of_the_command_and_no_more() -> None:
    pattern = "^(Cap|NoNewPrivs|Seccomp:|Sig(Blk|Ign|Cgt)|Groups|Umask)"
    argv = ["grep", "-E", pattern, "/proc/self/status"]

    with running() as container:
        ended = run_beside(container, argv)

    assert ended.text == run_captured(ContainerSpec(argv)).stdout
    assert "CapBnd" in ended.text


@requires_subordinate_ids
@pytest.mark.parametrize("user", ["root", "0", "www-data", "nobody:0", "nobody:www-data"])
def test_process_is_no_other_user_than_a_command_that_is_not_root(user: str) -> None:
    said = f"cannot start a process as user '{user}'; the command is user 65534:65534, and"

    with (
        running(ContainerSpec(["sleep", "1000"], user="nobody")) as container,
        pytest.raises(SetupError, match=re.escape(said)),
    ):
        run_beside(container, ["true"], user=user)


@requires_subordinate_ids
@pytest.mark.parametrize("user", [None, "nobody", "nobody:nogroup", "65534:65534"])
def test_process_may_be_the_very_user_that_the_command_is(user: str | None) -> None:
    with running(ContainerSpec(["sleep", "1000"], user="nobody")) as container:
        ended = run_beside(container, ["id", "-u"], user=user)

    assert ended.text == "65534\n"


@requires_root
def test_process_without_a_container_has_no_more_rights_than_its_command() -> None:
    spec = ContainerSpec(
        ["sleep", "1000"],
        isolate=False,
        rootfs="host",
        network="host",
        userns="host",
        user="nobody",
    )

    with running(spec) as container, pytest.raises(SetupError, match="as user 'root'"):
        run_beside(container, ["true"], user="root")


@requires_subordinate_ids
def test_process_stays_the_user_that_the_command_was_at_its_start(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("joe:x:33:33::/:/bin/sh\n")
    spec = script(
        "echo joe:x:0:0::/:/bin/sh >/etc/passwd 2>/dev/null; echo up; exec sleep 1000",
        user="joe",
        volumes=[Volume(str(tmp_path), "/etc")],
    )

    with open_container(spec) as (container, output):
        output.readline()
        (tmp_path / "passwd").write_text("joe:x:0:0::/:/bin/sh\n")

        assert run_beside(container, ["/bin/busybox", "id", "-u"]).text == "33\n"


def test_process_is_a_child_of_the_init_in_a_session_of_its_own() -> None:
    with running() as container:
        own, parent, session = run_script(
            container, "echo $$ $PPID; cut -d ' ' -f 6 /proc/$$/stat"
        ).text.split()

    assert (parent, session) == ("1", own)


def test_umask_and_limits_are_the_commands() -> None:
    spec = ContainerSpec(["sleep", "1000"], rlimits=[Rlimit("nofile", 77), Rlimit("core", 0)])

    with running(spec) as container:
        assert run_script(container, "umask; ulimit -n; ulimit -c").text.split() == [
            "0022",
            "77",
            "0",
        ]


@pytest.mark.parametrize("allowed", [False, True])
def test_keys_of_the_caller_are_out_of_reach_of_a_process(allowed: bool) -> None:
    # The filter would keep it from looking.
    spec = ContainerSpec(
        ["sleep", "1000"], rootfs="host", seccomp="unconfined", allow_new_privs=allowed
    )

    def act() -> str:
        hold_key()
        with running(spec) as container:
            return run_beside(container, SEARCH).text

    assert run_in_child(act) == "none\n"


def test_process_has_three_descriptors_and_no_other() -> None:
    leak = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        with running() as container:
            run_script(container, "true")
            text = run_script(container, "cd /proc/self/fd; echo *").text
    finally:
        os.close(leak)

    assert text == "0 1 2 3\n"  # the shell's own glob has the directory itself open meanwhile


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_ten_thousand_requests_leave_nothing() -> None:
    with running() as container:
        run_script(container, "true")
        init = Path(f"/proc/{container.pid}")
        before = len(read_descriptors()), read_children(), read_memory(init)
        for number in range(10_000):
            if number % 20:
                with container.request_socket(socket.AF_INET) as reply:
                    for fd in receive_descriptors(reply):
                        os.close(fd)
            else:
                with container.start_process(["true"]) as process:
                    process.wait()
        after = len(read_descriptors()), read_children(), read_memory(init)
        others = run_script(container, "echo /proc/[0-9]*").text.split()

    assert after[:2] == before[:2]
    assert after[2] - before[2] < 512  # KiB
    assert len(others) == 3  # the init, the command, and who looks


def read_memory(process: Path) -> int:
    """Return the KiB of memory that a process has."""
    lines = (process / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def test_process_is_killed_though_the_request_for_that_was_lost() -> None:
    with running() as container:
        with start(container, ["sleep", "999"]) as (process, _):
            process.poll()
            wait_for_titles(container, "sleep 1000", "sleep 999")
            os.kill(container.pid, signal.SIGSTOP)
            for _ in range(10_000):  # until the socket takes no more, which nobody is told
                process.send_signal(signal.SIGURG)
        assert "sleep 999" in list_titles(container.pid)

        os.kill(container.pid, signal.SIGCONT)

        assert wait_for_titles(container, "sleep 1000") == ["sleep 1000"]


def test_process_is_killed_as_soon_as_nobody_holds_it() -> None:
    with running() as container, start(container, ["sleep", "999"]) as (process, _):
        wait_for_titles(container, "sleep 1000", "sleep 999")

        process._reply.close()  # and nothing is asked for

        assert wait_for_titles(container, "sleep 1000") == ["sleep 1000"]


@requires_root
def test_init_keeps_no_descriptor_of_a_request() -> None:
    with running() as container:
        for _ in range(5):
            run_script(container, "true")
            with pytest.raises(IsolationError):
                run_beside(container, ["nosuch"])
            with container.request_namespaces() as reply:
                for fd in receive_descriptors(reply):
                    os.close(fd)
            container.request_socket(socket.AF_INET).close()
        deadline = time.monotonic() + PATIENCE
        while (left := count_init_descriptors(container)) > 1:  # the socket to its parent
            assert time.monotonic() < deadline, left


def count_init_descriptors(container: Container) -> int:
    return len(list(Path(f"/proc/{container.pid}/fd").iterdir()))


def test_init_without_descriptors_left_says_so_and_goes_on() -> None:
    with running() as container:
        run_script(container, "true")
        limits = resource.prlimit(container.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(container.pid, resource.RLIMIT_NOFILE, (0, limits[1]))
        with container.request_socket(socket.AF_INET) as reply, pytest.raises(SetupError):
            receive_descriptors(reply)
        resource.prlimit(container.pid, resource.RLIMIT_NOFILE, limits)

        assert run_script(container, "exit 3").status == ExitStatus(code=3)


def test_process_that_outlives_the_command_is_asked_to_end_and_tells_how_it_did() -> None:
    text = f"trap 'exit 9' TERM; echo up; {LOOP}"

    with running() as container, start(container, ["sh", "-c", text]) as (process, fd):
        os.read(fd, 10)
        container.send_signal(signal.SIGTERM)

        assert (process.poll(), process.wait()) == (None, ExitStatus(code=9))
        assert container.wait() == ExitStatus(signal=signal.SIGTERM)


def test_process_that_does_not_end_with_the_command_is_killed_after_the_grace_period() -> None:
    text = f"trap '' TERM; echo up; {LOOP}"
    spec = ContainerSpec(["sleep", "1000"], grace=0.2)

    with running(spec) as container, start(container, ["sh", "-c", text]) as (process, fd):
        os.read(fd, 10)
        container.send_signal(signal.SIGTERM)

        assert process.wait() == ExitStatus(signal=signal.SIGKILL)
        assert container.wait() == ExitStatus(signal=signal.SIGTERM)
        assert any(text in title for _, title in container.survivors)


def test_no_process_is_started_once_the_command_has_ended() -> None:
    text = f"trap '' TERM; echo up; {LOOP}"

    with running() as container, start(container, ["sh", "-c", text]) as (process, fd):
        os.read(fd, 10)
        container.send_signal(signal.SIGTERM)
        assert wait_readable(container.control_fd, 10)
        with (
            start(container, ["true"]) as (late, _),
            pytest.raises(SetupError, match="cannot start the process; the command has ended"),
        ):
            late.wait()
        process.send_signal(signal.SIGKILL)

        assert process.wait() == ExitStatus(signal=signal.SIGKILL)
        assert container.wait() == ExitStatus(signal=signal.SIGTERM)


def test_requests_while_the_command_ends_are_answered_one_way_or_the_other() -> None:
    outcomes = set()
    for _ in range(20):
        with running() as container:
            container.send_signal(signal.SIGTERM)
            try:
                outcomes.add(str(run_script(container, "exit 3").status))
            except SetupError as error:
                outcomes.add(str(error).partition(";")[0].partition(":")[0])

    assert outcomes <= {
        "exit code 3",
        str(ExitStatus(signal=signal.SIGTERM)),
        str(ExitStatus(signal=signal.SIGKILL)),
        "cannot start the process",
        "cannot ask the container's init",
    }


def test_signal_io_from_outside_is_still_handed_on() -> None:
    with open_container(script(f"trap 'echo got; exit 7' IO; echo up; {LOOP}")) as (container, out):
        out.readline()
        run_script(container, "true")
        container.send_signal(signal.SIGIO)

        assert (out.readline(), container.wait()) == ("got\n", ExitStatus(code=7))


def test_signal_io_from_outside_is_not_swallowed_by_a_request() -> None:
    with open_container(script(f"trap 'echo got; exit 7' IO; echo up; {LOOP}")) as (container, out):
        out.readline()
        with start(container, ["sleep", "1000"]):
            os.kill(container.pid, signal.SIGSTOP)
        container.send_signal(signal.SIGIO)
        os.kill(container.pid, signal.SIGCONT)

        assert (out.readline(), container.wait()) == ("got\n", ExitStatus(code=7))


def test_request_behind_a_signal_io_from_outside_is_not_lost() -> None:
    text = f"trap 'echo got' IO; echo up; {LOOP}"

    with open_container(script(text)) as (container, output):
        output.readline()
        os.kill(container.pid, signal.SIGSTOP)
        container.send_signal(signal.SIGIO)  # pending, as the kernel's own is
        with start(container, ["sh", "-c", "exit 3"]) as (process, _):
            os.kill(container.pid, signal.SIGCONT)

            assert process.wait() == ExitStatus(code=3)
        assert output.readline() == "got\n"


def test_request_before_the_command_is_executed_is_answered() -> None:
    with ForkServer() as server:
        container = server.start(SLEEP)
        with container, container.start_process(["sh", "-c", "exit 3"]) as process:
            container.wait_started()

            assert process.wait() == ExitStatus(code=3)


@pytest.mark.parametrize(
    "attack",
    [
        "ls /proc/1/fd",
        "cat /proc/1/environ",
        "cat /proc/1/mem",
        "readlink /proc/1/exe",
        "readlink /proc/1/cwd",
        "echo x >/proc/1/fd/3",
    ],
)
def test_command_gets_nothing_of_the_init_after_a_request(attack: str) -> None:
    with open_container(script(f"echo up; read x </tmp/none; {attack}; sleep 1000")) as (
        container,
        _,
    ):
        ended = run_script(container, attack)

    assert ended.status != ExitStatus(code=0)
    assert ended.text == "" or "denied" in ended.text.lower()


def test_container_ends_even_if_the_command_stops_all_that_was_started() -> None:
    with running() as container, start(container, ["sleep", "1000"]) as (process, _):
        process.poll()
        process.send_signal(signal.SIGSTOP)
        container.send_signal(signal.SIGTERM)

        assert process.wait() == ExitStatus(signal=signal.SIGTERM)
        assert container.wait() == ExitStatus(signal=signal.SIGTERM)
