"""What the parent can ask of a running container's init, from outside."""

import os
import signal
import socket
from collections.abc import Sequence
from errno import ECONNREFUSED

import pytest

from mocker.isolation import (
    CommandError,
    Container,
    ContainerSpec,
    ExitStatus,
    SetupError,
    SpecError,
    receive_descriptors,
)
from tests.beside import SLEEP, run_beside, run_script, running, start
from tests.containers import (
    open_container,
    script,
    wait_for_titles,
    wait_readable,
)
from tests.in_namespaces import run_in_child
from tests.leaks import read_descriptors
from tests.requirements import (
    requires_busybox,
    requires_subordinate_ids,
    requires_user_namespaces,
)

pytestmark = [requires_busybox, requires_user_namespaces]

LOOP = "while :; do sleep 0.01; done"


def wait_until_busy(container: Container) -> None:
    """Wait until the command is executed and its init waits for something to happen."""
    run_script(container, "true")


@pytest.mark.parametrize("code", [0, 1, 125, 126, 127, 128, 255])
def test_exit_code_of_a_process_arrives(code: int) -> None:
    with running() as container:
        assert run_script(container, f"exit {code}").status == ExitStatus(code=code)


@pytest.mark.parametrize("name", ["HUP", "KILL", "TERM", "SEGV", "PIPE", "USR1"])
def test_signal_that_ends_a_process_arrives(name: str) -> None:
    with running() as container:
        status = run_script(container, f"kill -{name} $$").status

    assert status == ExitStatus(signal=signal.Signals[f"SIG{name}"])


def test_pid_of_a_process_is_the_one_that_the_container_sees() -> None:
    with running() as container, start(container, ["sh", "-c", "echo $$; sleep 1000"]) as (p, fd):
        before = p.pid
        p.poll()

        assert (before, p.pid) == (0, int(os.read(fd, 100)))


def test_environment_is_the_commands_and_what_was_asked_for() -> None:
    spec = ContainerSpec(["sleep", "1000"], env={"A": "1", "B": "2"}, hostname="inside")

    with running(spec) as container:
        lines = run_beside(container, ["env"], env={"B": "two\nlines", "C": "="}).text.split("\n")

    assert {"A=1", "B=two", "lines", "C==", "HOME=/root", "HOSTNAME=inside"} <= set(lines)
    assert "B=2" not in lines


def test_nothing_of_the_callers_environment_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "x")

    with running() as container:
        assert "SECRET" not in run_beside(container, ["env"]).text


def test_bytes_that_are_no_text_arrive_as_they_are() -> None:
    with running() as container, start(container, ["printf", "%s", "\udcff"]) as (process, fd):
        process.wait()

        assert os.read(fd, 100) == b"\xff"


@requires_subordinate_ids
@pytest.mark.parametrize(
    ("own", "asked", "seen"),
    [
        (None, None, "0:0 /root"),
        ("www-data", None, "33:33 /var/www"),
        (None, "www-data", "33:33 /var/www"),
        (None, "7:8", "7:8 /var/spool/lpd"),
    ],
)
def test_user_is_the_commands_unless_another_is_asked_for(
    own: str | None, asked: str | None, seen: str
) -> None:
    show = "echo $(id -u):$(id -g) $HOME"

    with running(ContainerSpec(["sleep", "1000"], user=own)) as container:
        ended = run_script(container, show, user=asked)

    uid_and_gid = seen.split(maxsplit=1)[0]
    assert ended.text.split()[0] == uid_and_gid
    if asked != "7:8":
        assert ended.text.strip() == seen


@requires_subordinate_ids
def test_process_of_another_user_may_open_its_pipes_by_name() -> None:
    argv = ["sh", "-c", "echo through its name >/dev/stdout"]

    with running() as container, start(container, argv, user="nobody") as (process, fd):
        process.wait()

        assert os.read(fd, 100) == b"through its name\n"


@pytest.mark.parametrize(
    ("own", "asked", "seen"), [(None, None, "/"), ("/srv", None, "/srv"), ("/srv", "/tmp", "/tmp")]
)
def test_workdir_is_the_commands_unless_another_is_asked_for(
    own: str | None, asked: str | None, seen: str
) -> None:
    with running(ContainerSpec(["sleep", "1000"], workdir=own)) as container:
        assert run_beside(container, ["pwd"], workdir=asked).text == f"{seen}\n"


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["nosuch"], 127, "cannot execute 'nosuch': .*; it is in no directory of the container's"),
        (["/bin/nosuch"], 127, "cannot execute '/bin/nosuch': No such file"),
        (["/etc/passwd"], 126, "cannot execute '/etc/passwd': Permission denied"),
        (["/etc"], 126, "cannot execute '/etc': Permission denied"),
    ],
)
def test_process_that_cannot_be_executed_is_an_error(
    argv: list[str], code: int, message: str
) -> None:
    with running() as container, start(container, argv) as (process, _):
        with pytest.raises(CommandError, match=message) as caught:
            process.wait()
        with pytest.raises(CommandError):
            process.poll()

    assert caught.value.exit_code == code


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"user": "nosuch"}, "cannot find user 'nosuch'"),
        ({"user": "4000000000"}, "cannot become user 4000000000:0; the container has no such ID"),
        ({"workdir": "/nosuch"}, r"cannot change to directory /nosuch: .*\(ENOENT\)"),
    ],
)
def test_process_that_is_refused_is_an_error(how: dict[str, str], message: str) -> None:
    with running() as container, start(container, ["true"], **how) as (process, _):
        with pytest.raises(SetupError, match=message):
            process.wait()

        assert run_script(container, "exit 3").status == ExitStatus(code=3)


@pytest.mark.parametrize(
    ("argv", "how", "message"),
    [
        ([], {}, "needs a command"),
        ([""], {}, "needs a command"),
        (["a\0"], {}, "argument must not contain a NUL byte"),
        (["true"], {"env": {"A=B": ""}}, "variable name must not be empty or contain '='"),
        (["true"], {"env": {"A": "\0"}}, "variable A must not contain a NUL byte"),
        (["true"], {"user": ""}, r"user must be USER\[:GROUP\]"),
        (["true"], {"workdir": "srv"}, "workdir must be an absolute path, not 'srv'"),
        (["true"], {"workdir": ""}, "workdir must be an absolute path, not ''"),
    ],
)
def test_what_no_container_could_carry_out_is_refused(
    argv: list[str], how: dict[str, object], message: str
) -> None:
    with running() as container, pytest.raises(SpecError, match=message):
        container.start_process(argv, **how)  # type: ignore[arg-type]


def test_descriptor_that_is_not_open_is_refused() -> None:
    with (
        running() as container,
        pytest.raises(SetupError, match=r"hand on descriptor 9999: .*EBADF"),
    ):
        container.start_process(["true"], stdio=(0, 1, 9999))


@pytest.mark.parametrize("size", [2**17, 2**18])
def test_request_that_is_too_big_is_refused_whole(size: int) -> None:
    with running() as container:
        with pytest.raises(SetupError, match=r"Message too long \(EMSGSIZE\); .* 131072 bytes"):
            container.start_process(["echo", "x" * size])

        assert run_script(container, "exit 3").status == ExitStatus(code=3)


def test_request_may_be_big() -> None:
    with running() as container:
        ended = run_beside(
            container, ["sh", "-c", 'printf %s "$1$2" | wc -c', "sh", *["x" * 65_000] * 2]
        )

    assert ended.text.strip() == "130000"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGRTMIN + 3])
def test_process_can_be_signalled(number: int) -> None:
    with running() as container, start(container, ["sleep", "1000"]) as (process, _):
        process.poll()
        process.send_signal(number)

        assert process.wait() == ExitStatus(signal=number)


def test_process_is_killed_when_it_is_let_go_of() -> None:
    with running() as container:
        with start(container, ["sh", "-c", "echo up; exec sleep 1000"]) as (_, fd):
            os.read(fd, 10)
            kept = os.dup(fd)
        end = os.read(kept, 10)
        os.close(kept)

    assert end == b""  # nobody has the other end


def test_process_is_killed_when_it_is_let_go_of_at_once() -> None:
    read_end, write_end = os.pipe()
    with running() as container:
        container.start_process(["sleep", "1000"], stdio=(0, write_end, write_end)).close()
        os.close(write_end)

        assert wait_readable(read_end, 10)
    os.close(read_end)


def test_signal_to_a_process_that_has_ended_reaches_nobody() -> None:
    with running() as container:
        with start(container, ["true"]) as (process, _):
            process.wait()
            process.send_signal(signal.SIGKILL)

        assert run_script(container, "exit 3").status == ExitStatus(code=3)


def test_status_stays_what_it_is() -> None:
    with running() as container, start(container, ["sh", "-c", "exit 5"]) as (process, _):
        statuses = [process.wait(), process.wait(), process.poll()]

    assert statuses == [ExitStatus(code=5)] * 3


def test_many_processes_at_once_keep_their_own_statuses() -> None:
    with running() as container:
        processes = [container.start_process(["sh", "-c", f"exit {n}"]) for n in range(50)]
        codes = [process.wait().code for process in reversed(processes)]
        for process in processes:
            process.close()

    assert codes == list(range(49, -1, -1))


def test_answer_can_be_waited_for_with_a_descriptor() -> None:
    with running() as container, start(container, ["true"]) as (process, _):
        news = []
        while process.poll() is None:
            news.append(wait_readable(process.fileno(), 10))

    assert news == [True]


def test_socket_is_one_of_the_containers_network() -> None:
    with running() as container, request_socket(container) as server:
        server.bind(("127.0.0.1", 7))
        server.listen()
        with request_socket(container) as client, socket.socket() as outsider:
            client.connect(("127.0.0.1", 7))
            refusal = outsider.connect_ex(("127.0.0.1", 7))
        table = run_script(container, "netstat -ltn").text

    assert refusal == ECONNREFUSED
    assert "127.0.0.1:7 " in table


def request_socket(container: Container) -> socket.socket:
    with container.request_socket(socket.AF_INET) as reply:
        (fd,) = receive_descriptors(reply)
    made = socket.socket(fileno=fd)
    made.settimeout(10)
    return made


def test_socket_reaches_no_other_program() -> None:
    with running() as container, container.request_socket(socket.AF_INET6) as reply:
        (fd,) = receive_descriptors(reply)
        inheritable = os.get_inheritable(fd)
        os.close(fd)

    assert not inheritable


def test_socket_of_a_family_that_is_none_is_refused() -> None:
    with running() as container:
        with (
            container.request_socket(250) as reply,
            pytest.raises(SetupError, match=r"cannot answer the request: .*\(E[A-Z]+\)"),
        ):
            receive_descriptors(reply)

        assert run_script(container, "exit 3").status == ExitStatus(code=3)


def test_namespaces_are_the_ones_of_the_init() -> None:
    with running() as container, container.request_namespaces() as reply:
        fds = receive_descriptors(reply)
        names = [read_descriptors()[str(fd)] for fd in fds]
        for fd in fds:
            os.close(fd)
        network = run_script(container, "readlink /proc/self/ns/net").text.strip()

    assert [name.partition(":")[0] for name in names] == ["user", "net"]
    assert names[1] == network


@pytest.mark.parametrize("closed", [False, True])
def test_request_to_a_container_that_is_gone_is_refused(closed: bool) -> None:
    with running(script("exit 0")) as container:
        container.wait()
        if closed:
            container.close()
        message = r"cannot ask the container's init: .*; the container is gone"

        with pytest.raises(SetupError, match=message):
            container.start_process(["true"])
        with pytest.raises(SetupError, match=message):
            container.request_socket(socket.AF_INET)
        with pytest.raises(SetupError, match=message):
            container.request_namespaces()


def test_request_to_a_container_that_is_gone_does_not_kill_the_caller() -> None:
    def act() -> str:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        with running() as container, start(container, ["sleep", "1000"]) as (process, _):
            process.poll()
            container.kill()
            container.wait()
            process.send_signal(signal.SIGTERM)
            try:
                container.request_namespaces()
            except SetupError as error:
                return str(error)
        return ""

    assert "the container is gone" in run_in_child(act)


def test_process_of_a_container_that_is_killed_was_killed() -> None:
    with running() as container, start(container, ["sleep", "1000"]) as (process, _):
        process.poll()
        container.kill()

        assert process.wait() == ExitStatus(signal=signal.SIGKILL)


def test_process_that_was_not_started_before_the_container_went_is_an_error() -> None:
    with running() as container:
        wait_until_busy(container)
        os.kill(container.pid, signal.SIGSTOP)
        with start(container, ["true"]) as (process, _):
            container.kill()
            message = "cannot start the process; the container is gone"

            with pytest.raises(SetupError, match=message):
                process.wait()


def test_process_does_not_keep_a_container_whose_command_has_ended() -> None:
    with running() as container, start(container, ["sleep", "1000"]) as (process, _):
        process.poll()
        run_script(container, "kill -TERM 2")

        assert container.wait() == ExitStatus(signal=signal.SIGTERM)
        assert process.wait() == ExitStatus(signal=signal.SIGTERM)


def read_output(container: Container, argv: Sequence[str]) -> str:
    """Execute a command beside that of a container, and return what it prints."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, encoding="utf-8") as output:
        try:
            process = container.start_process(argv, stdio=(0, write_end, 2))
        finally:
            os.close(write_end)
        with process:
            text = output.read()
            process.wait()
    return text


def ask_often(container: Container) -> None:
    """Ask for more than anything could keep for an init that does not take it."""
    for _ in range(10_000):
        container.request_socket(socket.AF_INET).close()


def test_process_that_is_let_go_of_is_killed_with_its_group() -> None:
    with open_container(SLEEP) as (container, _):
        process = container.start_process(["sh", "-c", "sleep 2000 & sleep 3000; :"])
        process.poll()  # it has a number now
        wait_for_titles(
            container, "sleep 1000", "sh -c sleep 2000 & sleep 3000; :", "sleep 2000", "sleep 3000"
        )
        process.close()

        assert wait_for_titles(container, "sleep 1000") == ["sleep 1000"]


def test_process_that_is_let_go_of_before_it_has_started_does_not_stay() -> None:
    with open_container(SLEEP) as (container, _):
        for _ in range(10):
            container.start_process(["sleep", "2000"]).close()
        with container.start_process(["true"]) as process:
            process.wait()  # requests are served in their order

        assert wait_for_titles(container, "sleep 1000") == ["sleep 1000"]


def test_process_leaves_its_group_behind_unless_that_is_to_be_killed() -> None:
    argv = ["sh", "-c", "sleep 2000 & exit 0"]
    with open_container(SLEEP) as (container, _):
        with container.start_process(argv, kill_group=True) as process:
            process.wait()
        first = wait_for_titles(container, "sleep 1000")
        with container.start_process(argv) as process:
            process.wait()
        second = wait_for_titles(container, "sleep 1000", "sleep 2000")

    assert (first, sorted(second)) == (["sleep 1000"], ["sleep 1000", "sleep 2000"])


def test_answer_that_nobody_takes_harms_nobody_and_leaves_nothing() -> None:
    count = ["grep", "sockets", "/proc/net/sockstat"]
    with open_container(SLEEP) as (container, _):
        read_output(container, count)
        own, before = len(read_descriptors()), read_output(container, count)
        for _ in range(20):
            container.request_socket(socket.AF_INET).close()
            container.request_namespaces().close()
        after = read_output(container, count)

        assert (after, len(read_descriptors())) == (before, own)
        assert container.poll() is None


def test_command_that_has_ended_is_told_from_the_container() -> None:
    left = "trap '' TERM; echo >/tmp/set; while :; do sleep 0.01; done"
    text = f"mkfifo /tmp/set; ({left}) & read -r _ </tmp/set; echo up; exec sleep 1000"
    with open_container(script(text, grace=1000)) as (container, output):
        output.readline()
        before = container.has_ended()
        container.send_signal(signal.SIGTERM)
        after = wait_readable(container.control_fd, 5) and container.has_ended()

        assert (before, after, container.poll()) == (False, True, None)


def test_init_that_does_not_listen_keeps_nobody_waiting() -> None:
    with open_container(SLEEP) as (container, _):
        os.kill(container.pid, signal.SIGSTOP)
        try:
            with pytest.raises(SetupError, match="ask the container's init"):
                ask_often(container)
        finally:
            os.kill(container.pid, signal.SIGCONT)
