"""How a run says by itself that it is ready: in what it prints, by sd_notify(3), on a descriptor.

Nobody asks; a notice waits for the word and remembers that it came. There is one for each run, made
before its container, for some of them have a share in making that.

What a job may send is not trusted: it is read in small portions, with a pause when there is more,
and whatever is not understood is passed over.

Source: sd_notify(3); https://skarnet.org/software/s6/notifywhenup.html.
"""

import os
import socket
import struct
from collections.abc import Callable
from time import thread_time

import structlog
import trio

from mocker.isolation import Container, SetupError

from .config import JobConfig, Probe

_CHUNK = 4096  # bytes
_MAX_MESSAGE = 4096  # bytes of a datagram; what is longer is passed over, as systemd does
_AT_A_TIME = 32  # datagrams
_PAUSE_S = 0.1  # for a job that sends more than that
_MAX_STATUS = 200  # characters
_MAX_SEARCHED = 1024  # bytes of a line
# All of CPU time, so that a job is not to blame for a host that is busy. In 50 ms most lines could
# be searched ten thousand times, and nobody notices that the supervisor does nothing else.
_SEARCH_S = 0.05  # for a line
_SEARCHES_S = 0.5  # for all lines of a run, not counting what each of them may take in any case:
_EASY_S = 0.0001  # fifty times as long as most
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: unix(7)
_MAX_ANCESTORS = 100  # between a process and its init
# Of a job that closes the descriptor because it ends: that it has ended is the better reason.
_LAST_MOMENT_S = 1.0


class Notice:
    """What a run has said; this one waits for nothing, as most jobs have no such probe.

    Attributes:
        said: Set once it has said that it is ready, or can't say it any more.
        refusal: Why it can't; empty unless it can't.
        status: What it says about itself.
        see: Takes whole lines of its output; None if they are of no interest.
    """

    def __init__(self) -> None:
        self.said = trio.Event()
        self.refusal = ""
        self.status = ""
        self.see: Callable[[bytes], None] | None = None

    @property
    def good(self) -> bool:
        """Whether it has said that it is ready."""
        return self.said.is_set() and not self.refusal

    def hand_out(self) -> list[int]:
        """Return descriptors for the command beside its standard ones; the caller closes them."""
        return []

    async def follow(self, _: Container) -> None:
        """Listen as long as the run lasts; what was said at the last moment counts."""

    def close(self) -> None:
        """Let go of every descriptor that is not handed out."""


def make_notice(job: JobConfig) -> Notice:
    """Return what waits for the word of the next run of a job.

    Raises:
        SetupError: There are no descriptors left.
    """
    match job.ready:
        case Probe(kind="log", target=str(pattern)):
            return LogNotice(pattern, job.name)
        case Probe(kind="fd", target=int(number)):
            return DescriptorNotice(number)
        case Probe(kind="notify"):
            return SocketNotice(job.name)
        case _:
            return Notice()


class LogNotice(Notice):
    """Waits for a line in which a regular expression is found.

    Nothing else is done during a search, and one by `re` for `(x+)+y` takes twice as long for each
    further x, can't be interrupted, and holds the GIL, so that a thread would be no way out. What
    `regex` does can be interrupted. RE2 is never slow, but knows neither lookaheads nor references
    to a group, which files may have.

    A line that takes too long counts as one in which nothing is found. A run whose lines have taken
    too long together is not searched any more, and is not ready in time.
    """

    def __init__(self, pattern: str, job_name: str) -> None:
        super().__init__()
        import regex  # few jobs have such a probe

        self._pattern = regex.compile(pattern)
        self._log = structlog.get_logger("mocker.jobs", job=job_name, pattern=pattern)
        self._left_s = _SEARCHES_S
        self._has_timed_out = False
        self.see = self._look

    def _look(self, lines: bytes) -> None:
        if self.said.is_set():
            return
        for line in lines.split(b"\n"):
            if self._left_s <= 0:
                return
            if self._search(line[:_MAX_SEARCHED].decode(errors="replace")):
                self.said.set()
                return

    def _search(self, line: str) -> bool:
        """Tell whether it is found, and keep account of the time that it takes to find out."""
        began = thread_time()
        found = None
        try:
            found = self._pattern.search(line, timeout=_SEARCH_S)
        except TimeoutError:
            if not self._has_timed_out:
                self._has_timed_out = True
                self._log.warning("search.timed_out", limit_s=_SEARCH_S)
        self._left_s -= max(0.0, thread_time() - began - _EASY_S)
        if self._left_s <= 0 and found is None:
            self._log.error("search.given_up", limit_s=_SEARCHES_S)
        return found is not None


class DescriptorNotice(Notice):
    """Waits for a newline on a pipe, as s6 has it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number
        try:
            self._read_end, self._write_end = os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            raise SetupError("make a pipe for its readiness", error.errno or 0) from error
        os.set_blocking(self._read_end, False)

    def hand_out(self) -> list[int]:
        """See `Notice.hand_out`."""
        write_end, self._write_end = self._write_end, -1
        return [write_end]

    async def follow(self, _: Container) -> None:
        """See `Notice.follow`; after the newline, whatever comes is taken and forgotten."""
        try:
            goes_on = True
            while goes_on:
                await trio.lowlevel.wait_readable(self._read_end)
                goes_on = self._take()
            if not self.said.is_set():
                await trio.sleep(_LAST_MOMENT_S)
                self.refusal = f"closed descriptor {self._number} without saying that it is ready"
                self.said.set()
        finally:
            self._take()

    def close(self) -> None:
        """See `Notice.close`."""
        os.close(self._read_end)
        if self._write_end >= 0:
            os.close(self._write_end)

    def _take(self) -> bool:
        """Read what is there; return whether there can be more."""
        try:
            chunk = os.read(self._read_end, _CHUNK)
        except BlockingIOError:
            return True
        if b"\n" in chunk:
            self.said.set()
        return bool(chunk)


class SocketNotice(Notice):
    """Waits for READY=1 on the socket of the container, as systemd has it."""

    def __init__(self, job_name: str) -> None:
        super().__init__()
        self._log = structlog.get_logger("mocker.jobs", job=job_name)

    async def follow(self, container: Container) -> None:
        """See `Notice.follow`."""
        messages = socket.socket(fileno=container.notify_fd)
        try:
            while True:
                await trio.lowlevel.wait_readable(messages)
                if self._take(messages, container):
                    await trio.sleep(_PAUSE_S)
        finally:
            self._take(messages, container)
            messages.detach()  # it is the container's

    def _take(self, messages: socket.socket, container: Container) -> bool:
        """Read a portion of the messages that are there; return whether there can be more."""
        for _ in range(_AT_A_TIME):
            try:
                # No room for descriptors, which the kernel therefore closes.
                message, ancillary, flags, _ = messages.recvmsg(
                    _MAX_MESSAGE, socket.CMSG_SPACE(_CREDENTIALS.size), socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                return False
            sender = next((data for *_, data in ancillary), b"")
            if not flags & socket.MSG_TRUNC and _is_inside(sender, container):
                self._understand(message)
        return True

    def _understand(self, message: bytes) -> None:
        for line in message.decode(errors="replace").split("\n"):
            key, _, value = line.partition("=")
            if (key, value) == ("READY", "1"):
                self.said.set()
            elif key == "STATUS":
                self.status = value[:_MAX_STATUS]
                self._log.debug("job.status_changed", status=self.status)


def _is_inside(credentials: bytes, container: Container) -> bool:
    """Tell whether a message may come from the container; others may share its network.

    Who is gone already can't be looked up, and is believed: many a script has a helper send the
    message that does not wait for anything.
    """
    if len(credentials) != _CREDENTIALS.size:
        return False
    pid, _, _ = _CREDENTIALS.unpack(credentials)
    for _ in range(_MAX_ANCESTORS):
        if pid == container.pid:
            return True
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                # The name, in parentheses, may contain anything.
                pid = int(file.read().rpartition(b")")[2].split()[1])
        except OSError:
            return True
        if pid <= 1:
            return False
    return False
