"""`mocker exec`: a command in a running job, as its caller sees it, on a terminal and on none."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mocker.supervisor.ending_signals import ECHO_S
from tests.end_to_end.processes import PATIENCE, find_descendants, wait_until
from tests.end_to_end.pty_driver import (
    BASH,
    CTRL_C,
    CTRL_D,
    CTRL_Z,
    DASH,
    OuterTerminal,
    open_terminal,
)
from tests.end_to_end.supervised import Supervised, open_supervisor
from tests.requirements import (
    requires_busybox,
    requires_commands,
    requires_root,
    requires_subordinate_ids,
    requires_user_namespaces,
)

pytestmark = [
    pytest.mark.end_to_end,
    requires_user_namespaces,
    requires_busybox,
    requires_commands("bash", "dash", "setsid"),
]

MOCKER = Path(sys.executable).with_name("mocker")
JOBS = """
[supervisor]
name = "demo"

[jobs.web]
command = ["sh", "-c", "echo up; exec sleep 1000"]
env = {A = "one", B = "two"}
grace = "100s"
ulimits = {nofile = 77}

[jobs.done]
command = "true"
restart = "never"
"""
STOPPED = 128 + signal.SIGTSTP


@contextmanager
def open_jobs(directory: Path, text: str = JOBS) -> Iterator[Supervised]:
    with open_supervisor(directory, text) as supervised:
        supervised.wait_line("web | up")
        yield supervised


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    """Jobs that outlive the test."""
    with open_jobs(tmp_path_factory.mktemp("jobs")) as supervised:
        yield supervised


@pytest.fixture
def own_jobs(tmp_path: Path) -> Iterator[Supervised]:
    """Jobs that the test may end."""
    with open_jobs(tmp_path) as supervised:
        yield supervised


def environment(jobs: Supervised) -> dict[str, str]:
    return {**os.environ, "XDG_RUNTIME_DIR": str(jobs.file.parent)}


def execute(
    jobs: Supervised, *words: str, stdin: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MOCKER, "exec", *words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(jobs) | env,
        check=False,
    )


@contextmanager
def executing(jobs: Supervised, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Execute something that goes on; it has said "up" by now."""
    process = subprocess.Popen(
        ["env", "--default-signal", MOCKER, "exec", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(jobs),
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            yield process
        finally:
            process.kill()


def count_processes(jobs: Supervised) -> int:
    """Return how many processes there are in the job, but for who looks."""
    return len(execute(jobs, "web", "sh", "-c", "echo /proc/[0-9]*").stdout.split()) - 1


def wait_alone(jobs: Supervised) -> bool:
    """Wait until the job has nothing but its init and its command."""
    return wait_until(lambda: count_processes(jobs) == 2)


@contextmanager
def terminal_beside(
    jobs: Supervised, shell: tuple[str, ...] = BASH, rows: int = 24, columns: int = 80
) -> Iterator[OuterTerminal]:
    assert wait_alone(jobs)  # nobody is left of a former test's
    env = {"XDG_RUNTIME_DIR": str(jobs.file.parent)}
    with open_terminal(shell, rows=rows, columns=columns, env=env) as terminal:
        yield terminal


def mocker_sh(script: str, *options: str) -> str:
    return shlex.join(["mocker", "exec", *options, "web", "sh", "-c", script])


def start(terminal: OuterTerminal, line: str) -> None:
    """Type a command line, and wait until what is executed has the terminal."""
    terminal.type(f"{line}\n")
    terminal.wait_for("\r\n")
    assert wait_until(lambda: terminal.is_raw)


# Without a terminal.


def test_command_has_the_jobs_environment_and_limits(jobs: Supervised) -> None:
    ended = execute(
        jobs, "-e", "B=2", "-e", "C", "web", "sh", "-c", "echo $A $B $C; ulimit -n", C="3"
    )

    assert (ended.stdout, ended.stderr, ended.returncode) == ("one 2 3\n77\n", "", 0)


def test_nothing_else_of_the_callers_environment_arrives(jobs: Supervised) -> None:
    ended = execute(jobs, "web", "env", CALLERS_OWN="x")

    assert "CALLERS_OWN" not in ended.stdout


def test_command_is_in_all_namespaces_of_the_job(jobs: Supervised) -> None:
    show = "for n in user mnt uts pid ipc net cgroup; do readlink /proc/PID/ns/$n; done"

    shown = [execute(jobs, "web", "sh", "-c", show.replace("PID", pid)) for pid in ("2", "self")]

    assert shown[0].stdout == shown[1].stdout
    assert str(Path("/proc/self/ns/pid").readlink()) not in shown[0].stdout
    assert len(shown[0].stdout.split()) == 7


def test_command_has_the_rights_of_the_job_and_no_more(jobs: Supervised) -> None:
    grep = ["grep", "-E", "^(Cap|NoNewPrivs|Seccomp:|SigIgn|SigBlk|Groups|Uid|Gid)"]

    shown = [execute(jobs, "web", *grep, f"/proc/{pid}/status") for pid in ("2", "self")]

    assert shown[0].stdout == shown[1].stdout
    assert "CapBnd" in shown[0].stdout


@requires_subordinate_ids
def test_user_is_the_jobs_unless_another_is_asked_for(tmp_path: Path) -> None:
    with open_jobs(
        tmp_path, f"{JOBS}\n[jobs.other]\ncommand = 'sleep 99'\nuser = 'nobody'"
    ) as jobs:
        jobs.wait_event("job.started", job="other")
        users = [
            execute(jobs, *words, "id", "-un").stdout
            for words in (["web"], ["other"], ["-u", "www-data", "web"], ["-u", "nobody", "other"])
        ]

    assert users == ["root\n", "nobody\n", "www-data\n", "nobody\n"]


@requires_subordinate_ids
@pytest.mark.parametrize("options", [[], ["-t"]], ids=["plain", "terminal"])
def test_nobody_gets_more_rights_than_the_job_has(tmp_path: Path, options: list[str]) -> None:
    with open_jobs(
        tmp_path, f"{JOBS}\n[jobs.other]\ncommand = 'sleep 99'\nuser = 'nobody'"
    ) as jobs:
        jobs.wait_event("job.started", job="other")
        ended = execute(jobs, *options, "-u", "root", "other", "id")

    said = "mocker exec: cannot start a process as user 'root'; the command is user 65534:65534"
    assert (ended.returncode, ended.stdout) == (125, "")
    assert ended.stderr.startswith(said)


def test_working_directory_can_be_chosen(jobs: Supervised) -> None:
    assert execute(jobs, "-w", "/tmp", "web", "pwd").stdout == "/tmp\n"


def test_directory_that_the_caller_has_open_is_no_working_directory(
    jobs: Supervised, tmp_path: Path
) -> None:
    (tmp_path / "canary").touch()
    each = f"for n in {{3..12}}; do {MOCKER} exec -w /proc/self/fd/$n web ls; echo $?; done"
    hold = 'for n in {3..12}; do eval "exec $n<$0"; done; (cd /proc/self/fd/9 && ls)'

    result = subprocess.run(
        ["bash", "-c", f"{hold}; {each}", tmp_path],
        capture_output=True,
        text=True,
        env=environment(jobs),
        check=False,
    )

    seen, *codes = result.stdout.split()
    assert seen == "canary"
    assert codes == ["125"] * 10
    assert result.stderr.count("cannot ") == 10


def test_stdin_stdout_and_stderr_are_the_callers(jobs: Supervised) -> None:
    ended = execute(jobs, "-i", "web", "sh", "-c", "cat; echo problem >&2", stdin="typed\n")

    assert (ended.stdout, ended.stderr, ended.returncode) == ("typed\n", "problem\n", 0)


def test_much_output_arrives_whole(jobs: Supervised) -> None:
    ended = execute(jobs, "web", "seq", "200000")

    assert ended.stdout == "".join(f"{number}\n" for number in range(1, 200_001))


def test_closing_stdout_is_seen_by_the_reader(jobs: Supervised) -> None:
    with executing(jobs, "web", "sh", "-c", "echo up; exec >&-; sleep 1000") as process:
        assert process.stdout is not None
        assert process.stdout.read() == ""
        assert process.poll() is None


def test_words_of_the_command_may_look_like_options(jobs: Supervised) -> None:
    assert execute(jobs, "web", "echo", "-s", "--help", "-e").stdout == "-s --help -e\n"
    assert execute(jobs, "web", "--", "echo", "--", "x").stdout == "-- x\n"


def test_bytes_that_are_no_text_arrive_as_they_are(jobs: Supervised) -> None:
    result = subprocess.run(
        [MOCKER, "exec", "-e", b"X=\xfe", "web", "sh", "-c", 'printf "$X$0"', b"\xff\xc3\xa9"],
        stdout=subprocess.PIPE,
        env=environment(jobs),
        check=True,
    )

    assert result.stdout == b"\xfe\xff\xc3\xa9"


@pytest.mark.parametrize("code", [0, 1, 124, 125, 126, 127, 128, 255])
def test_exit_code_is_the_commands(jobs: Supervised, code: int) -> None:
    assert execute(jobs, "web", "sh", "-c", f"exit {code}").returncode == code


@pytest.mark.parametrize("name", ["TERM", "KILL", "SEGV", "USR1"])
def test_signal_that_ends_the_command_is_told(jobs: Supervised, name: str) -> None:
    ended = execute(jobs, "web", "sh", "-c", f"kill -{name} $$")

    assert ended.returncode == 128 + signal.Signals[f"SIG{name}"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["web", "nosuch"], 127, "cannot execute 'nosuch': No such file .* container's PATH"),
        (["web", "/etc"], 126, r"cannot execute '/etc': Permission denied \(EACCES\)"),
        (["wob", "true"], 125, "there is no job 'wob'; is 'web' meant\\?"),
        (["all", "true"], 125, "'all' is more than one job: web, done; name one of them"),
        (["done", "true"], 125, "cannot execute anything in done: it does not run, it is EXITED"),
        (["-u", "nosuch", "web", "true"], 125, "cannot find user 'nosuch' in /etc/passwd"),
        (
            ["-w", "/nosuch", "web", "true"],
            125,
            r"cannot change to directory /nosuch: .*\(ENOENT\)",
        ),
        (["-w", "here", "web", "true"], 2, "workdir must be an absolute path, not 'here'"),
        (["-e", "=", "web", "true"], 2, "--env must be KEY or KEY=VALUE, not '='"),
        (["web"], 2, r"JOB COMMAND \[ARG...\] is needed"),
        (["--nosuch", "web", "true"], 2, "unknown option '--nosuch'; see 'mocker exec --help'"),
        (
            ["-s", "other", "web", "true"],
            125,
            "cannot find supervisor 'other' in .*: there are demo",
        ),
        (["web", "echo", *["x" * 70_000] * 2], 125, "may have 131072 bytes"),
        (["web", "echo", *["x" * 100_000] * 3], 2, "are too long; they may have 128 KiB"),
    ],
)
def test_what_is_wrong_is_said(jobs: Supervised, words: list[str], status: int, said: str) -> None:
    jobs.wait_event("job.exited", job="done")

    ended = execute(jobs, *words)

    assert (ended.stdout, ended.returncode) == ("", status)
    assert re.fullmatch(f"mocker exec: .*{said}.*\n", ended.stderr)


def test_help_is_shown_without_a_supervisor(tmp_path: Path) -> None:
    env = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    results = [
        subprocess.run(
            [MOCKER, "exec", *words], env=env, capture_output=True, text=True, check=False
        )
        for words in (["--help"], ["web", "true"])
    ]

    assert results[0].stdout.startswith("usage: mocker exec [OPTIONS] JOB COMMAND [ARG...]\n")
    assert results[1].returncode == 125
    assert "cannot find a supervisor" in results[1].stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT])
def test_signals_are_handed_on(jobs: Supervised, number: signal.Signals) -> None:
    script = f"trap 'echo got; exit 7' {number.name[3:]}; echo up; while sleep 0.01; do :; done"
    with executing(jobs, "web", "sh", "-c", script) as process:
        process.send_signal(number)

        assert process.communicate(timeout=PATIENCE) == ("got\n", "")
        assert process.returncode == 7


def test_second_interrupt_kills(jobs: Supervised) -> None:
    script = "trap 'echo no' INT; echo up; while :; do sleep 0.01; done"
    with executing(jobs, "web", "sh", "-c", script) as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "no\n"
        time.sleep(ECHO_S)
        process.send_signal(signal.SIGINT)

        assert process.wait(PATIENCE) == 137


@pytest.mark.parametrize("script", ["echo up; sleep 1000", "trap '' TERM HUP; echo up; sleep 1000"])
def test_command_ends_with_a_client_that_is_killed(jobs: Supervised, script: str) -> None:
    with executing(jobs, "web", "sh", "-c", script) as process:
        process.kill()
        process.wait()

        assert wait_alone(jobs)


def test_command_ends_with_the_job(own_jobs: Supervised) -> None:
    with executing(own_jobs, "web", "sh", "-c", "echo up; exec sleep 1000") as process:
        subprocess.run(
            [MOCKER, "stop", "web"], env=environment(own_jobs), check=True, timeout=PATIENCE
        )

        assert process.wait(PATIENCE) == 128 + signal.SIGTERM


def test_command_ends_with_the_supervisor_and_that_is_said(own_jobs: Supervised) -> None:
    with executing(own_jobs, "web", "sh", "-c", "echo up; exec sleep 1000") as process:
        execute(own_jobs, "web", "true")  # by now the caller knows that it is started
        own_jobs.send(signal.SIGKILL)

        assert process.communicate(timeout=PATIENCE)[1] == (
            "mocker exec: the supervisor is gone, and what was executed with it\n"
        )
        assert process.returncode == 128 + signal.SIGKILL


def test_who_executed_what_is_logged(jobs: Supervised) -> None:
    execute(jobs, "we*", "echo", "secret")

    event = jobs.wait_event("exec.started", job="web", command="echo")
    assert "secret" not in json.dumps(event)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_thousand_leave_nothing(jobs: Supervised) -> None:
    assert execute(jobs, "web", "true").returncode == 0
    before = list_descriptors(jobs.process.pid)
    for number in range(1000):
        with connect(jobs) as connection:
            ask(connection, {"job": "web", "argv": ["true"], "terminal": number % 10 == 0})
            terminals = list[int]()
            assert "started" in receive(connection, terminals)
            assert receive(connection) == {"exited": 0}
            for fd in terminals:
                os.close(fd)

    assert wait_until(lambda: len(list_descriptors(jobs.process.pid)) <= len(before))
    assert wait_alone(jobs)


# The socket itself.


def connect(jobs: Supervised) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    directory = os.open(jobs.file.parent / "mocker", os.O_PATH)
    connection.connect(f"/proc/self/fd/{directory}/demo.exec")
    os.close(directory)
    connection.settimeout(PATIENCE)
    return connection


def ask(connection: socket.socket, values: object, count: int = 3) -> None:
    message = values if isinstance(values, bytes) else json.dumps(values).encode()
    null = os.open(os.devnull, os.O_RDWR)
    socket.send_fds(connection, [message], [null] * count)
    os.close(null)


def receive(connection: socket.socket, terminals: list[int] | None = None) -> dict[str, Any]:
    message, fds, _, _ = socket.recv_fds(connection, 2**16, 1)
    if terminals is not None:
        terminals += fds
    return json.loads(message) if message else {}


def list_descriptors(pid: int) -> list[str]:
    return [path.name for path in Path(f"/proc/{pid}/fd").iterdir()]


def test_socket_is_for_its_owner_alone(jobs: Supervised) -> None:
    path = jobs.file.parent / "mocker" / "demo.exec"

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_sockets_are_gone_with_the_supervisor(own_jobs: Supervised) -> None:
    assert own_jobs.terminate() == 0

    assert [path.name for path in (own_jobs.file.parent / "mocker").iterdir()] == ["demo.lock"]


@pytest.mark.parametrize(
    ("message", "count", "said"),
    [
        (b"{", 3, "the message is no JSON"),
        (b"[" * 100_000, 3, "the message is no JSON"),
        (b"\xff\xfe", 3, "the message is no JSON"),
        ([], 3, "the message is no JSON object"),
        ({"job": "web"}, 3, "'argv' is no list of words"),
        ({"job": "web", "argv": []}, 3, "'argv' is no list of words"),
        ({"job": "web", "argv": ["true", 1]}, 3, "'argv' is no list of words"),
        ({"job": 1, "argv": ["true"]}, 3, "'job' is no name"),
        ({"job": "web", "argv": ["true"], "env": {"A": 1}}, 3, "'env' is no object of texts"),
        ({"job": "web", "argv": ["true"], "env": {"=": ""}}, 3, "variable name must not be empty"),
        ({"job": "web", "argv": ["true"], "user": 1}, 3, "'user' is no text"),
        ({"job": "web", "argv": ["true"], "terminal": 1}, 3, "'terminal' is no true or false"),
        ({"job": "web", "argv": ["true"], "more": 1}, 3, "unknown key 'more'"),
        ({"job": "web", "argv": ["a\0b"]}, 3, "argument"),
        ({"job": "../../etc", "argv": ["true"]}, 3, "there is no job"),
        ({"job": "web", "argv": ["true"]}, 2, "3 descriptors are needed"),
        ({"job": "web", "argv": ["true"]}, 5, "3 descriptors are needed|^$"),
    ],
)
def test_odd_requests_are_refused_and_harm_nobody(
    jobs: Supervised, message: object, count: int, said: str
) -> None:
    with connect(jobs) as connection:
        ask(connection, message, count)
        answer = receive(connection)

    error = answer.get("error", {"message": ""})
    assert isinstance(error, dict)
    assert re.search(said, error["message"])
    assert execute(jobs, "web", "true").returncode == 0


@pytest.mark.parametrize(
    "message", [b"{", b'{"signal": 0}', b'{"signal": "x"}', b'{"signal": 999}']
)
def test_odd_later_message_ends_the_process(jobs: Supervised, message: bytes) -> None:
    with connect(jobs) as connection:
        ask(connection, {"job": "web", "argv": ["sleep", "1000"]})
        assert "started" in receive(connection)
        connection.send(message)

        assert "error" in receive(connection)
    assert wait_alone(jobs)


def test_who_only_connects_has_to_make_place_and_is_told_so(jobs: Supervised) -> None:
    others = [connect(jobs) for _ in range(300)]

    executed = execute(jobs, "web", "echo", "yes")
    answers = [receive(other) for other in others[: 300 - 256]]
    for other in others:
        other.close()

    assert (executed.stdout, executed.stderr) == ("yes\n", "")
    assert {answer["error"]["code"] for answer in answers} == {"busy"}
    assert jobs.find("control.failed") == []


def test_no_more_than_so_many_are_executed(jobs: Supervised) -> None:
    connections = [connect(jobs) for _ in range(256)]
    for connection in connections:
        ask(connection, {"job": "web", "argv": ["sleep", "1000"]})
    for connection in connections:
        assert "started" in receive(connection)

    ended = execute(jobs, "web", "true")
    for connection in connections:
        connection.close()

    assert (ended.returncode, ended.stderr) == (
        125,
        "mocker exec: 256 processes are executed already\n",
    )
    assert wait_alone(jobs)


@requires_root
def test_others_are_not_let_in(own_jobs: Supervised) -> None:
    for path in (own_jobs.file.parent / "mocker", *own_jobs.file.parents):
        if path.owner() == "root" and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o001)
    (own_jobs.file.parent / "mocker" / "demo.exec").chmod(0o666)
    program = f"""
import socket
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.connect({str(own_jobs.file.parent / "mocker" / "demo.exec")!r})
print(connection.recv(1000).decode())
"""

    result = subprocess.run(
        [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "/usr/bin/env",
            "python3",
            "-c",
            program,
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert "only the supervisor's owner and root may do that" in result.stdout, result.stderr
    own_jobs.wait_event("control.refused", uid=65534)


# On a terminal.


def test_command_has_a_terminal_of_the_jobs_devpts(jobs: Supervised) -> None:
    with terminal_beside(jobs) as terminal:
        answer = terminal.run(mocker_sh("tty; ls -1 /dev/pts; echo $TERM", "-it"))

    assert answer == ("/dev/pts/0\r\n0\r\nptmx\r\nvt220\r\n", 0)


def test_terminal_has_the_size_of_the_window_and_follows_it(jobs: Supervised) -> None:
    script = "stty size; trap 'stty size; exit' WINCH; echo ready; while sleep 0.01; do :; done"
    with terminal_beside(jobs, rows=33, columns=77) as terminal:
        start(terminal, mocker_sh(script))
        terminal.wait_for("33 77\r\nready\r\n")

        terminal.resize(50, 132)
        answer = terminal.wait_for_prompt()

    assert answer == ("50 132\r\n", 0)


def test_much_output_arrives_whole_through_the_terminal(jobs: Supervised) -> None:
    with terminal_beside(jobs) as terminal:
        answer = terminal.run(mocker_sh("seq 20000"))

    assert answer.text == "".join(f"{number}\r\n" for number in range(1, 20_001))


def test_stderr_stays_where_it_is_sent_to(jobs: Supervised, tmp_path: Path) -> None:
    with terminal_beside(jobs) as terminal:
        line = f"{mocker_sh('tty; echo problem >&2')} 2>{tmp_path}/errors"
        answer = terminal.run(line)

    assert answer.text == "/dev/pts/0\r\n"
    assert (tmp_path / "errors").read_text() == "problem\n"


def test_output_into_a_pipe_is_the_callers_without_a_terminal(jobs: Supervised) -> None:
    with terminal_beside(jobs) as terminal:
        answer = terminal.run(f"{mocker_sh('test -t 1 || echo none')} | cat")

    assert answer.text == "none\r\n"


# Says which of its descriptors are terminals.
LOOK = "for n in 0 1 2; do test -t $n && echo terminal $n; done >&2; echo looked >&2"


@pytest.mark.parametrize(
    "redirection",
    ["| cat", "</dev/null", ">/dev/null", "</dev/null >/dev/null", "</dev/null | cat"],
)
def test_callers_terminal_is_never_the_commands(jobs: Supervised, redirection: str) -> None:
    with terminal_beside(jobs) as terminal:
        answer = terminal.run(f"{mocker_sh(LOOK)} {redirection}")

    assert answer.text == "looked\r\n"


def test_what_is_left_of_it_does_not_hold_up_the_end(jobs: Supervised) -> None:
    script = "sleep 7 & echo last words >&2; exit 3"
    with terminal_beside(jobs) as terminal:
        answer = terminal.run(f"{mocker_sh(script)} </dev/null")
        execute(jobs, "web", "pkill", "-f", "sleep 7")

    assert answer == ("last words\r\n", 3)


def test_what_is_typed_arrives_without_a_terminal(jobs: Supervised) -> None:
    with terminal_beside(jobs) as terminal:
        terminal.type(f"{mocker_sh('echo ready; exec tee')} | cat\n")
        terminal.wait_for("ready\r\n")
        terminal.type("hello\n")
        terminal.wait_for("hello\r\nhello\r\n")
        terminal.type(CTRL_D)

        assert terminal.wait_for_prompt() == ("", 0)


def test_terminal_can_be_asked_for(jobs: Supervised) -> None:
    with terminal_beside(jobs) as terminal:
        answer = terminal.run(f"{mocker_sh('tty', '-t')} | cat")

    assert answer.text.strip() == "/dev/pts/0"


@pytest.mark.parametrize("code", [0, 7, 126, 255])
def test_exit_code_is_the_commands_on_a_terminal(jobs: Supervised, code: int) -> None:
    with terminal_beside(jobs, DASH) as terminal:
        assert terminal.run(mocker_sh(f"exit {code}")).status == code
        assert terminal.is_as_found


def test_what_is_wrong_is_said_on_a_terminal_that_is_as_it_was(jobs: Supervised) -> None:
    with terminal_beside(jobs, DASH) as terminal:
        answers = [terminal.run(f"mocker exec -it {w}") for w in ("web nosuch", "wob true")]

        assert [answer.status for answer in answers] == [127, 125]
        assert "cannot execute 'nosuch'" in answers[0].text
        assert "there is no job 'wob'" in answers[1].text
        assert terminal.is_as_found


@pytest.mark.parametrize("shell", [BASH, DASH], ids=["bash", "dash"])
def test_shell_has_job_control(jobs: Supervised, shell: tuple[str, ...]) -> None:
    with terminal_beside(jobs, shell) as terminal:
        start(terminal, "mocker exec -it -e PS1='inner> ' web sh")
        terminal.wait_for("inner> ")
        terminal.type("sleep 999\n")
        assert wait_until(lambda: "sleep 999" in processes_of(jobs))
        terminal.type(CTRL_C)
        terminal.wait_for("inner> ")
        terminal.type("sh -c 'echo up; read word; echo got $word; exit 4'\n")
        terminal.wait_for("\r\nup\r\n")
        terminal.type(CTRL_Z)
        terminal.wait_for("Stopped.*inner> ")
        terminal.type("fg\nword\n")
        terminal.wait_for("got word\r\n")
        terminal.wait_for("inner> ")
        terminal.type(CTRL_D)
        answer = terminal.wait_for_prompt()

        assert answer.status == 4
        assert terminal.is_as_found
    assert wait_alone(jobs)


def processes_of(jobs: Supervised) -> str:
    return execute(jobs, "web", "ps", "-o", "args").stdout


def test_interrupt_goes_to_the_foreground_inside_and_to_nobody_else(jobs: Supervised) -> None:
    with terminal_beside(jobs, DASH) as terminal:
        start(terminal, mocker_sh("trap 'echo got; exit 9' INT; echo up; read x"))
        terminal.wait_for("up\r\n")
        terminal.type(CTRL_C)

        answer = terminal.wait_for_prompt()
        assert (answer.text.endswith("got\r\n"), answer.status) == (True, 9)
        assert terminal.is_as_found


@pytest.mark.parametrize("shell", [BASH, DASH], ids=["bash", "dash"])
def test_command_itself_can_be_stopped_and_continued(
    jobs: Supervised, shell: tuple[str, ...]
) -> None:
    with terminal_beside(jobs, shell) as terminal:
        start(terminal, mocker_sh("echo up; read line; echo got $line; exit 5"))
        terminal.wait_for("up\r\n")
        terminal.type(CTRL_Z)
        assert terminal.wait_for_prompt().status == STOPPED
        assert terminal.is_as_found
        start(terminal, "fg")
        terminal.type("word\n")
        terminal.wait_for("got word\r\n")

        assert terminal.wait_for_prompt().status == 5


def test_what_is_left_in_the_background_holds_up_nobody(own_jobs: Supervised) -> None:
    with terminal_beside(own_jobs, DASH) as terminal:
        answer = terminal.run(mocker_sh("trap '' HUP; sleep 1000 & echo done; exit 3"))

        assert answer == ("done\r\n", 3)
        assert terminal.is_as_found


def test_command_ends_as_its_terminal_hangs_up(jobs: Supervised) -> None:
    with terminal_beside(jobs) as terminal:
        start(terminal, mocker_sh("echo up; sleep 1000"))
        terminal.wait_for("up\r\n")
        terminal.hang_up()

        assert wait_alone(jobs)


def test_client_that_is_killed_on_a_terminal_takes_the_command_with_it(jobs: Supervised) -> None:
    with terminal_beside(jobs) as terminal:
        start(terminal, mocker_sh("trap '' HUP INT TERM; echo up; sleep 1000"))
        terminal.wait_for("up\r\n")
        os.kill(find_descendants(terminal.shell.pid)[0], signal.SIGKILL)
        terminal.wait_for_prompt()

        assert wait_alone(jobs)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_terminal_is_as_it_was_after_a_signal_to_the_client(
    jobs: Supervised, number: signal.Signals
) -> None:
    with terminal_beside(jobs, DASH) as terminal:
        start(terminal, mocker_sh("echo up; exec sleep 1000"))
        terminal.wait_for("up\r\n")
        os.kill(find_descendants(terminal.shell.pid)[0], number)
        answer = terminal.wait_for_prompt()

        assert answer.status == 128 + number
        assert terminal.is_as_found


def test_shell_does_not_hold_up_the_stop_of_the_job(own_jobs: Supervised) -> None:
    with terminal_beside(own_jobs, DASH) as terminal:
        start(terminal, "mocker exec -it -e PS1='inner> ' web sh")
        terminal.wait_for("inner> ")
        began = time.monotonic()
        subprocess.run(
            [MOCKER, "stop", "web"], env=environment(own_jobs), check=True, timeout=PATIENCE
        )
        answer = terminal.wait_for_prompt()

        assert answer.status == 128 + signal.SIGHUP
        assert time.monotonic() - began < PATIENCE
        assert terminal.is_as_found


def test_terminal_is_as_it_was_when_the_supervisor_is_killed(own_jobs: Supervised) -> None:
    with terminal_beside(own_jobs, DASH) as terminal:
        start(terminal, mocker_sh("echo up; exec sleep 1000"))
        terminal.wait_for("up\r\n")
        own_jobs.send(signal.SIGKILL)
        answer = terminal.wait_for_prompt()

        assert "the supervisor is gone" in answer.text
        assert terminal.is_as_found
