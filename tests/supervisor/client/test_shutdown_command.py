"""What `mocker shutdown` does with the process that answers; `end_to_end` has the supervisor."""

import subprocess
import sys
from pathlib import Path

import pytest

from mocker.supervisor.client.shutdown_command import shutdown
from tests.supervisor.client.fake_supervisor import answering, make_answer

# Python that answers twice at the socket it is given, and ends when something comes on its stdin.
SERVER = """
import socket, sys
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[1])
    listener.listen()
    print("ready", flush=True)
    for _ in range(2):
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 202 \\r\\nContent-Length: 15\\r\\n\\r\\n")
            connection.sendall(b'{"name":"demo"}')
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _ask_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCKER_SOCKET", str(tmp_path / "mocker/demo.sock"))


def test_it_is_waited_for_until_the_process_is_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "demo.sock"
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        # The end comes after the answer, from who is not this process.
        with subprocess.Popen(["sleep", "0.2"], stdout=process.stdin):
            process.stdin.close()
            status = shutdown(["-s", str(path)])
            was_gone = process.poll() is not None

    assert (status, capsys.readouterr().out) == (0, "demo: stopped\n")
    assert was_gone


def test_it_need_not_be_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(tmp_path, make_answer({"name": "demo"}, 202)) as asked:
        status = shutdown(["--no-wait"])

    assert (status, capsys.readouterr().out) == (0, "demo: stopping\n")
    assert asked[0].startswith(b"POST /v1/shutdown HTTP/1.1\r\n")


def test_no_supervisor_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert shutdown([]) == 1
    assert "mocker shutdown: cannot connect to " in capfd.readouterr().err
