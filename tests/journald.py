"""A systemd-journald of a test's own, as root and as an ordinary user, and what is in its journal.

It is an instance for a journal namespace, see systemd-journald.service(8), which needs no systemd
as PID 1. It has a mount namespace, with a /run of its own, and a network namespace, as it is one of
the properties of that how many datagrams a socket holds. It ends by itself 30 seconds after the
test process, should that be killed.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from tests.requirements import IS_ROOT, find_user_namespace_obstacle, requires

Entry = dict[str, Any]

PROGRAM = "/lib/systemd/systemd-journald"
PATIENCE = 10.0  # seconds
NAMESPACE = "test"
FIRST_FD = 20  # beyond those that the script uses
CONFIGURATION = """[Journal]
Storage=volatile
ForwardToSyslog=no
ForwardToWall=no
ReadKMsg=no
Audit=no
RateLimitIntervalSec=0
RateLimitBurst=0
"""

# $1 is the directory; the others are descriptors of sockets, which become 3 and up as in
# sd_listen_fds(3). It is exec all the way, so the process that is started is journald.
SCRIPT = f"""
set -e
directory=$1
shift
mount -t tmpfs tmpfs /run
mkdir -p /run/log/journal /run/systemd/journal /run/systemd/journald@{NAMESPACE}.conf.d
mount --bind "$directory/log" /run/log/journal
cp "$directory/journald.conf" /run/systemd/journald@{NAMESPACE}.conf.d
echo 512 >/proc/sys/net/unix/max_dgram_qlen || true # as systemd sets it; else 10
number=3
for fd; do
    eval "exec $number<&$fd $fd<&-"
    number=$((number + 1))
done
export LISTEN_PID=$$ LISTEN_FDS=$# RUNTIME_DIRECTORY=$directory
exec {PROGRAM} {NAMESPACE}
"""


@cache
def find_journald_obstacle() -> str:
    missing = [name for name in (PROGRAM, "journalctl", "unshare") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return "" if IS_ROOT else find_user_namespace_obstacle()


requires_journald = requires(find_journald_obstacle)


class Journald:
    """One that runs.

    Attributes:
        directory: With its sockets and its journal; the path is short, as those of sockets must be.
        socket: The path of the one that takes entries.
    """

    def __init__(self, directory: Path, *, outlived: bool) -> None:
        """Start it.

        Args:
            directory: Empty.
            outlived: Whether the socket that takes entries is there before journald and after it,
                as systemd has it; else journald makes it, and what is in it dies with journald.
        """
        self.directory = directory
        self.socket = directory / "socket"
        self._errors = directory / "errors"
        self._process: subprocess.Popen[bytes] | None = None
        (directory / "log").mkdir()
        (directory / "journald.conf").write_text(CONFIGURATION)
        # What a test asks by and what is of no interest to it always outlive journald: so nobody
        # has to look whether it is ready, an answer says so.
        self._sockets = [
            self._listen(socket.SOCK_STREAM, "io.systemd.journal"),
            self._listen(socket.SOCK_STREAM, "stdout"),
        ]
        if outlived:
            self._sockets.append(self._listen(socket.SOCK_DGRAM, "socket"))
        self.start()

    def start(self) -> None:
        """Start it again, after `kill` or `terminate`; it is ready then."""
        fds = [fcntl.fcntl(s, fcntl.F_DUPFD_CLOEXEC, FIRST_FD) for s in self._sockets]
        namespaces = ["--mount", "--net", *([] if IS_ROOT else ["--user", "--map-root-user"])]
        try:
            with self._errors.open("ab") as errors:
                self._process = subprocess.Popen(
                    [
                        "unshare",
                        *namespaces,
                        "bash",
                        "-c",
                        SCRIPT,
                        "-",
                        self.directory,
                        *map(str, fds),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    pass_fds=fds,
                )
        finally:
            for fd in fds:
                os.close(fd)
        try:
            self.synchronize()
        except OSError as error:
            self.kill()
            raise RuntimeError(self._errors.read_text()) from error

    def kill(self) -> None:
        """Kill it, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None

    def terminate(self) -> None:
        """Let it end in its own way."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._process = None

    def pause(self) -> None:
        """Let it stand still until `resume`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        for listening in self._sockets:
            listening.close()

    def synchronize(self) -> None:
        """Wait until everything that was sent before is in the journal."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(PATIENCE)
            asking.connect(str(self.directory / "io.systemd.journal"))
            asking.sendall(b'{"method":"io.systemd.Journal.Synchronize"}\0')
            with asking.makefile("rb") as answer:
                text = answer.read1()
        if b"error" in text or not text:
            raise ConnectionResetError(f"journald answers {text!r}")

    def read(self, *matches: str, transport: str = "journal", fields: str = "") -> list[Entry]:
        """Return entries in order, as journalctl tells them; a field that is no text is bytes.

        Args:
            matches: What all of them have.
            transport: How they came: "journal" by its socket, "stdout" by a stream.
            fields: The names of those that matter, with commas; all of them if there are none.
        """
        self.synchronize()
        journal = f"--directory={self.find_journal()}"
        arguments = ["--no-pager", "--quiet", "--all", "--output=json", journal]
        arguments += [f"--output-fields={fields}"] if fields else []
        found = subprocess.run(
            ["journalctl", *arguments, f"_TRANSPORT={transport}", *matches],
            check=True,
            capture_output=True,
            timeout=PATIENCE,
        )
        return [
            {name: _to_bytes(value) for name, value in json.loads(line).items()}
            for line in found.stdout.splitlines()
        ]

    def find_values(self, field: str) -> list[str]:
        """Return what a field is in the entries so far, each value once."""
        command = ["journalctl", f"--directory={self.find_journal()}", f"--field={field}"]
        found = subprocess.run(command, check=True, capture_output=True, text=True)
        return found.stdout.splitlines()

    def find_journal(self) -> Path:
        """Return the directory that journalctl can be given."""
        (journal,) = (self.directory / "log").iterdir()
        return journal

    def read_messages(self, *matches: str) -> list[str | bytes]:
        return [entry["MESSAGE"] for entry in self.read(*matches, fields="MESSAGE")]

    def _listen(self, kind: socket.SocketKind, name: str) -> socket.socket:
        listening = socket.socket(socket.AF_UNIX, kind)
        listening.bind(str(self.directory / name))
        if kind == socket.SOCK_STREAM:
            listening.listen()
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        return listening


@contextmanager
def open_journald(*, outlived: bool = False) -> Iterator[Journald]:
    """Run a journald; see `Journald`."""
    # Not pytest's own, whose paths are too long for sockets.
    directory = Path(tempfile.mkdtemp(prefix="journald-"))
    try:
        directory.chmod(0o755)
        journald = Journald(directory, outlived=outlived)
        try:
            yield journald
        finally:
            journald.close()
    finally:
        shutil.rmtree(directory)


def _to_bytes(value: object) -> object:
    if isinstance(value, list) and all(isinstance(item, int) for item in value):
        return bytes(value)
    return value
