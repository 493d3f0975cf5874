import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mocker.isolation import ContainerSpec, ExitStatus, SetupError, Volume
from mocker.isolation.spec import DEFAULT_PATH
from tests.containers import open_container, run_captured, script, wait_readable
from tests.requirements import requires_busybox, requires_subordinate_ids, requires_user_namespaces

pytestmark = [requires_busybox, requires_user_namespaces]

LOOP = "while :; do sleep 0.01; done"


@pytest.mark.parametrize("code", [0, 1, 2, 42, 124, 125, 126, 127, 128, 255])
def test_exit_code_of_the_command_is_the_containers(code: int) -> None:
    assert run_captured(script(f"exit {code}")).status == ExitStatus(code=code)


@pytest.mark.parametrize("name", ["HUP", "KILL", "TERM", "SEGV", "ABRT", "PIPE", "USR1"])
def test_signal_that_ends_the_command_is_the_containers(name: str) -> None:
    status = run_captured(script(f"kill -{name} $$")).status

    assert status == ExitStatus(signal=signal.Signals[f"SIG{name}"])


def test_end_of_the_command_is_noticed_however_many_signals_there_are() -> None:
    flood = "(while :; do kill -HUP 1; done) & (while :; do kill -HUP 1; done) & sleep 0.2; exit 3"

    with open_container(script(f"trap '' HUP; {flood}", grace=0.1)) as (container, _):
        assert container.wait(20) == ExitStatus(code=3)


def test_command_is_not_the_init_but_its_child_in_a_session_of_its_own() -> None:
    outcome = run_captured(script("echo $$ $PPID; cut -d ' ' -f 5,6 /proc/$$/stat"))

    assert outcome.stdout == "2 1\n2 1\n"


def test_environment_is_what_was_asked_for_and_nothing_of_the_callers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "x")
    spec = ContainerSpec(["env"], env={"A": "1", "B": "two words\nand lines"}, hostname="inside")

    outcome = run_captured(spec)

    assert sorted(outcome.stdout.splitlines()) == sorted(
        [
            "A=1",
            "B=two words",
            "and lines",
            "HOME=/root",
            "HOSTNAME=inside",
            f"PATH={DEFAULT_PATH}",
            "TERM=dumb",
        ]
    )


def test_variable_that_was_asked_for_replaces_mockers_own() -> None:
    env = {"HOME": "/", "TERM": "vt52", "HOSTNAME": "other", "PATH": "/bin"}

    outcome = run_captured(ContainerSpec(["env"], env=env))

    assert dict(line.split("=", 1) for line in outcome.stdout.splitlines()) == env


def test_command_has_the_three_descriptors_and_no_other() -> None:
    leak = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        # The shell's own glob has the directory itself open meanwhile.
        outcome = run_captured(script("cd /proc/self/fd; echo *"))
    finally:
        os.close(leak)

    assert outcome.stdout == "0 1 2 3\n"


def test_umask_is_the_usual_one(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        outcome = run_captured(script("umask; touch /x; stat -c %a /x"))
    finally:
        os.umask(old)

    assert outcome.stdout == "0022\n644\n"


@requires_subordinate_ids
def test_command_runs_as_the_user_that_was_asked_for() -> None:
    outcome = run_captured(script("id -u; id -g; echo $HOME; pwd", user="www-data", workdir="/srv"))

    assert outcome.stdout.split() == ["33", "33", "/var/www", "/srv"]


@requires_subordinate_ids
def test_pipe_of_the_caller_can_be_opened_by_name_by_any_user() -> None:
    spec = script("echo through its name >/dev/stdout", user="nobody")

    with open_container(spec) as (_, output):
        assert output.read() == "through its name\n"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"user": "nosuch"}, "cannot find user 'nosuch' in /etc/passwd"),
        ({"user": "root:nosuch"}, "cannot find group 'nosuch' in /etc/group"),
        ({"user": "4000000000"}, "cannot become user 4000000000:0; the container has"),
    ],
)
def test_user_that_cannot_be_had_is_told_by_a_sentence(
    fields: dict[str, str], message: str
) -> None:
    with pytest.raises(SetupError, match=message):
        run_captured(script("true", **fields))


def test_entry_of_passwd_that_no_variable_can_hold_is_told_by_a_sentence(tmp_path: Path) -> None:
    passwd = tmp_path / "passwd"
    passwd.write_bytes(b"root:x:0:0:root:/ro\0ot:/bin/sh\n")

    with pytest.raises(SetupError, match="cannot start the command"):
        run_captured(script("true", volumes=[Volume(str(passwd), "/etc/passwd")]))


@pytest.mark.parametrize(
    "name", ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "WINCH", "CONT"]
)
def test_signal_is_handed_on_to_the_command(name: str) -> None:
    text = f"trap 'echo got; exit 7' {name}; echo ready; {LOOP}"

    with open_container(script(text)) as (container, output):
        assert output.readline() == "ready\n"
        container.send_signal(signal.Signals[f"SIG{name}"])
        status = container.wait()

        assert (output.read(), status) == ("got\n", ExitStatus(code=7))


def test_real_time_signal_is_handed_on_to_the_command() -> None:
    with open_container(script(f"echo ready; {LOOP}")) as (container, output):
        output.readline()
        container.send_signal(signal.SIGRTMIN + 3)

        assert container.wait() == ExitStatus(signal=signal.SIGRTMIN + 3)


def test_command_that_does_not_handle_a_signal_is_ended_by_it() -> None:
    with open_container(ContainerSpec(["sleep", "1000"])) as (container, _):
        container.send_signal(signal.SIGTERM)

        assert container.wait() == ExitStatus(signal=signal.SIGTERM)


def test_interrupt_reaches_the_process_group_as_from_a_terminal() -> None:
    child = f"trap 'echo child; exit' INT; echo ready; {LOOP}"
    text = 'trap true INT; sh -c "$1"; echo command'

    with open_container(script(text, child)) as (container, output):
        output.readline()
        container.send_signal(signal.SIGINT)
        container.wait()

        assert output.read() == "child\ncommand\n"


def test_termination_reaches_the_command_alone() -> None:
    child = f"trap 'echo child' TERM; echo ready; {LOOP}"
    text = "trap 'kill -KILL $!; wait; echo command; exit' TERM; sh -c \"$1\" & wait"

    with open_container(script(text, child)) as (container, output):
        output.readline()
        container.send_signal(signal.SIGTERM)
        container.wait()

        assert output.read() == "command\n"


def test_every_orphan_is_reaped() -> None:
    text = """\
    for n in 1 2 3 4 5 6 7 8 9; do (true & true & true &); done
    set -- /proc/[0-9]*
    until [ $# -eq 2 ]; do sleep 0.01; set -- /proc/[0-9]*; done
    echo "$@"
    """

    assert run_captured(script(text)).stdout == "/proc/1 /proc/2\n"


READY = "until test -e /tmp/ready; do sleep 0.01; done"


def test_what_the_command_leaves_is_asked_to_end() -> None:
    child = f"trap 'echo bye; exit' TERM; touch /tmp/ready; {LOOP}"

    outcome = run_captured(script(f'sh -c "$1" & {READY}; exit 3', child))

    assert (outcome.stdout, outcome.status) == ("bye\n", ExitStatus(code=3))


def test_what_was_left_stopped_is_woken_to_end() -> None:
    child = f"trap 'echo bye; exit' TERM; touch /tmp/ready; {LOOP}"

    outcome = run_captured(script(f'sh -c "$1" & {READY}; kill -STOP $!', child))

    assert outcome.stdout == "bye\n"


@pytest.mark.slow
def test_what_does_not_end_is_killed_after_the_grace_period() -> None:
    child = f"trap '' TERM; touch /tmp/ready; {LOOP}"
    start = time.monotonic()

    outcome = run_captured(script(f'sh -c "$1" & {READY}; exit 3', child, grace=0.3))

    assert outcome.status == ExitStatus(code=3)
    assert 0.3 <= time.monotonic() - start < 10


@pytest.mark.parametrize("ignored", ["", "trap '' TERM;"])
def test_without_a_grace_period_what_is_left_is_killed_at_once(ignored: str) -> None:
    child = f"{ignored} touch /tmp/ready; {LOOP}"

    outcome = run_captured(script(f'sh -c "$1" & {READY}; exit 3', child, grace=0))

    assert outcome.status == ExitStatus(code=3)


def test_end_does_not_wait_for_the_grace_period_if_nothing_is_left() -> None:
    start = time.monotonic()

    run_captured(script("sleep 1000 & exit 0", grace=1000))

    assert time.monotonic() - start < 15


def test_many_that_are_left_are_all_ended() -> None:
    text = "n=0; while [ $n -lt 50 ]; do sleep 1000 & n=$((n+1)); done; echo started"

    assert run_captured(script(text)).stdout == "started\n"


def test_container_ends_with_the_program_that_made_it() -> None:
    program = """\
import time
from mocker.isolation import ContainerSpec, spawn
container = spawn(ContainerSpec(["sleep", "1000"]))
print(container.pid, flush=True)
time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pidfd = os.pidfd_open(int(process.stdout.readline()))
        process.kill()

    ended = wait_readable(pidfd, 10)

    os.close(pidfd)
    assert ended


@pytest.mark.parametrize("when", ["at once", "later"])
def test_container_that_nobody_holds_ends(when: str) -> None:
    child = script("trap '' TERM; setsid sleep 1000 & echo up; sleep 1000", grace=1000)
    with open_container(child) as (container, output):
        if when == "later":
            assert output.readline() == "up\n"

        # As when its maker is killed before it could hand the container over.
        container._control.shutdown(socket.SHUT_RDWR)

        assert wait_readable(container.fileno(), 10)
