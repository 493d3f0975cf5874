"""What the command says to a service manager and takes from it; `tests/vm` has the real one."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.job_texts import SLEEP, job
from tests.end_to_end.processes import PATIENCE
from tests.end_to_end.supervised import MOCKER_SUPERVISE, open_supervisor
from tests.requirements import requires_busybox, requires_commands, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

MOCKER = MOCKER_SUPERVISE.with_name("mocker")


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """Be a service manager at this path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(PATIENCE)
        yield manager


def read_until(manager: socket.socket, word: str) -> list[str]:
    """Return the messages up to the one that begins with a word."""
    messages = list[str]()
    while not messages or not messages[-1].startswith(word):
        messages.append(manager.recv(4096).decode())
    return messages


def test_manager_hears_of_the_start_of_a_reload_and_of_the_end(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    wrapper = ["env", f"NOTIFY_SOCKET={path}"]
    text = job("web", SLEEP) + job("db", f"echo up; {SLEEP}", "ready = { log = 'up' }")

    with listening(path) as manager, open_supervisor(tmp_path, text, wrapper) as run:
        start = read_until(manager, "READY")
        run.rewrite(text + job("new", SLEEP))
        reload = [message.partition("\n")[0] for message in read_until(manager, "READY")]
        run.send(signal.SIGTERM)
        end = read_until(manager, "STOPPING")
        status = run.wait_exit()

    assert start[-2:] == ["STATUS=2 RUNNING", "READY=1"]
    assert [message for message in reload if "STATUS" not in message] == ["RELOADING=1", "READY=1"]
    assert end[-1] == "STOPPING=1\nSTATUS=stopping: SIGTERM was received"
    assert status == 0


def test_jobs_do_not_speak_to_the_manager_of_the_supervisor(tmp_path: Path) -> None:
    wrapper = ["env", f"NOTIFY_SOCKET={tmp_path}/notify", "LISTEN_FDS=1", "WATCHDOG_USEC=60000000"]
    text = job("web", "env; echo end", "isolate = false\n") + job("db", "env; echo end")

    with open_supervisor(tmp_path, text, wrapper) as run:
        run.wait_line("web | end")
        run.wait_line("db | end")

    assert not [line for line in run.lines if "NOTIFY" in line or "LISTEN" in line or "DOG" in line]


@requires_commands("systemd-socket-activate")
def test_who_asks_starts_the_supervisor(tmp_path: Path) -> None:
    file, path = tmp_path / "jobs.toml", tmp_path / "mocker" / "jobs.sock"
    path.parent.mkdir(mode=0o700)
    file.write_text(job("web", SLEEP))
    activate = ["systemd-socket-activate", "-E", f"XDG_RUNTIME_DIR={tmp_path}", "-l", str(path)]
    with subprocess.Popen(
        [*activate, MOCKER_SUPERVISE, file],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stderr is not None
            assert b"Listening on" in process.stderr.readline()

            outcome = subprocess.run(
                [MOCKER, "wait", "web", "--for", "ready"],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
                check=False,
            )
            process.terminate()
            said = process.communicate(timeout=PATIENCE)[1]
        finally:
            process.kill()

    assert (outcome.stdout, outcome.stderr) == ("web: ready\n", "")
    assert process.returncode == 0, said
    assert path.is_socket()  # whose it is has not been removed


def test_descriptor_that_is_no_such_socket_is_refused(tmp_path: Path) -> None:
    wrapper = ["sh", "-c", 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" 3</dev/null', "sh"]

    with open_supervisor(tmp_path, job("web", SLEEP), wrapper) as run:
        status = run.wait_exit()

    (remark,) = run.remarks
    assert status == 1
    assert remark.startswith(
        "mocker-supervise: cannot use descriptor 3 of LISTEN_FDS: it has to be"
    )
