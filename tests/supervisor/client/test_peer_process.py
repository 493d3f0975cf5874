import os
import select
import socket
import subprocess
import sys
from pathlib import Path

from mocker.supervisor.client.peer_process import find_peer, open_process


def test_peer_is_who_listens(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as connection:
        listener.bind(str(tmp_path / "web.sock"))
        listener.listen()
        connection.connect(str(tmp_path / "web.sock"))

        assert find_peer(connection) == os.getpid()


def test_end_of_a_process_can_be_waited_for() -> None:
    program = [sys.executable, "-c", "input()"]
    with (
        subprocess.Popen(program, stdin=subprocess.PIPE) as process,
        open_process(process.pid) as fd,
    ):
        assert fd is not None
        before = select.select([fd], [], [], 0)[0]
        process.communicate(b"\n")

        assert (before, select.select([fd], [], [], 10)[0]) == ([], [fd])


def test_process_that_is_not_to_be_seen_is_none() -> None:
    with open_process(0) as fd:
        assert fd is None
