"""Stay in the foreground while a container runs: forward signals, keep time, return its status.

Without a terminal the command has the caller's own descriptors, so there is nothing to relay and no
event loop to load: one wait for signals is all.
"""

import _signal as signal
import fcntl
import os
import select
import time
from _collections_abc import Callable, Iterable, Sequence

from mocker.isolation import Container, ContainerSpec, ExitStatus, spawn

from .ending_signals import ENDING_SIGNALS, EndingSignals

TYPE_CHECKING = False  # known to type checkers; to load what has it takes as long as a container
if TYPE_CHECKING:
    from .attended import Attended
    from .terminal_pipes import TerminalPipes

TIMED_OUT = 124  # as timeout(1)

_STOPPING_S = 1.0  # for a command to stop; one that ignores SIGTSTP does not
_TIOCGDEV = 0x8004_5432  # ioctl_tty(2): the number of a terminal, also of one opened as /dev/tty

_SYNCHRONOUS = {
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGSYS,
    signal.SIGTRAP,
}
_OURS = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}


class Watch:
    """What has been asked of a container so far: signals that end it, and its time.

    Attributes:
        timed_out: Whether it ran into its time limit.
    """

    def __init__(self, container: "Attended", timeout: float | None) -> None:
        self.timed_out = False
        self._container = container
        self._ends = EndingSignals()
        self._deadline = None if timeout is None else time.monotonic() + timeout

    @property
    def asked_to_end(self) -> bool:
        """Whether a signal that does so has come."""
        return self._ends.count > 0

    def forward(self, number: int) -> None:
        """Hand a signal on to the command; the second that asks it to end kills everything."""
        if number in ENDING_SIGNALS:
            asked_before = self.asked_to_end
            if not self.asks_to_end(number):
                return
            if asked_before:
                self._container.kill()
                return
        self._container.send_signal(number)

    def asks_to_end(self, number: int) -> bool:
        """Whether a signal that has come asks to end, and is not the one before once more."""
        return number in ENDING_SIGNALS and self._ends.take(number, time.monotonic())

    def remaining(self) -> float | None:
        """Return the seconds until `keep_time` has something to do; None for never."""
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - time.monotonic())

    def keep_time(self) -> None:
        """Stop the command if its time is over, and kill it if it was stopped a while ago."""
        if self._deadline is None or self.remaining():
            return
        spec = self._container.spec
        if self.timed_out:
            self._deadline = None
            self._container.kill()
        else:
            self.timed_out = True
            self._deadline = time.monotonic() + spec.grace
            self._container.send_signal(spec.stop_signal)


def run_foreground(
    spec: ContainerSpec, timeout: float | None, tell: Callable[[str], None], *, silent: bool = False
) -> int:
    """Run a container on the caller's own descriptors, and return the exit status.

    In the place of a terminal among them the command has a pipe, see `terminal_pipes`.

    Args:
        spec: What to make.
        timeout: Seconds; None for as long as it takes.
        tell: Is called with what is not quite as it was asked for.
        silent: Whether what the command prints goes nowhere.

    Raises:
        IsolationError: It could not be made.
    """
    signals = block_signals()
    stdio: Sequence[int] = (0, 1, 2)
    if silent:
        stdio = (0, *[os.open(os.devnull, os.O_WRONLY)] * 2)
    pipes = replace_terminals(stdio)
    stdin, stdout, stderr = stdio if pipes is None else pipes.stdio
    with spawn(spec, stdin=stdin, stdout=stdout, stderr=stderr) as container:
        if pipes is not None:
            pipes.start()
        for note in container.notes:
            tell(note)
        let_go_of(0, 1)
        watch = Watch(container, timeout)
        status = attend(container, watch, signals)
        if pipes is not None:
            pipes.finish(signals, watch.asks_to_end)
        tell_oom_kill(container, tell)
    return TIMED_OUT if watch.timed_out else status.shell_code


def tell_oom_kill(container: Container, tell: Callable[[str], None]) -> None:
    """Tell if the kernel has killed something of a container that is gone for lack of memory."""
    usage = container.cgroup.read_usage() if container.cgroup is not None else None
    if usage is None or not usage.oom_kills:
        return
    from .client.amounts import render_size

    limit = container.spec.limits.memory if container.spec.limits is not None else None
    had = f"had {render_size(limit)}" if limit is not None else "had no limit of its own"
    tell(f"OOMKilled: the container {had}, peak {render_size(usage.memory_peak)}".replace(".0", ""))


def attend(container: "Attended", watch: Watch, signals: set[int]) -> ExitStatus:
    """Wait until a container is gone, forward signals and keep time meanwhile.

    Args:
        container: The one to wait for, or something that is like one.
        watch: What signals and time are for.
        signals: Those to forward; they are blocked, and SIGCHLD is too.
    """
    while (status := container.poll()) is None:
        number = _wait_for_signal(signals | {signal.SIGCHLD}, watch.remaining())
        watch.keep_time()
        if number == signal.SIGTSTP:
            container.take_stop()
            watch.forward(number)
            # Before it has stopped, the command could read what is typed for the shell.
            select.select([container.control_fd], [], [], _STOPPING_S)
            suspend(os.getpid())
            watch.forward(signal.SIGCONT)
        elif number not in {0, signal.SIGCHLD}:
            watch.forward(number)
    return status


def block_signals(spared: Iterable[int] = ()) -> set[int]:
    """Block the signals that are handed on, and SIGCHLD; return the former.

    Args:
        spared: Those that keep their action.
    """
    signals = forwarded_signals().difference(spared)
    # With SIGCHLD ignored, as some callers have it, nobody could be waited for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals | {signal.SIGCHLD})
    return signals


def forwarded_signals() -> set[int]:
    """Return the signals that are handed on: all that can be, but those the caller ignores.

    nohup(1) and a shell's background jobs ignore a signal for whoever they start.
    """
    return {
        number
        for number in signal.valid_signals() - _SYNCHRONOUS - _OURS
        if signal.getsignal(number) != signal.SIG_IGN or number == signal.SIGXFSZ
    }


def suspend(pid: int) -> None:
    """Stop as Ctrl-Z does, and return when it goes on; at once if the caller ignores Ctrl-Z.

    By SIGTSTP and not SIGSTOP: the kernel spares a group that no shell could ever continue.

    Args:
        pid: As for kill(2); 0 for the whole process group, this process in any case among it.
    """
    if signal.getsignal(signal.SIGTSTP) == signal.SIG_IGN:
        return
    old = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
    os.kill(pid, signal.SIGTSTP)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    signal.signal(signal.SIGTSTP, old)


def are_one_terminal(first: int, second: int) -> bool:
    """Whether two descriptors are the same terminal, by whichever of its names."""
    try:
        numbers = [fcntl.ioctl(fd, _TIOCGDEV, bytes(4)) for fd in (first, second)]
    except OSError:
        return False
    return numbers[0] == numbers[1]


def replace_terminals(stdio: Sequence[int], *, terminal: bool = False) -> "TerminalPipes | None":
    """Return pipes in the place of terminals that are not a command's own; None for none.

    Args:
        stdio: Three descriptors of the caller's.
        terminal: Whether the command has a terminal of its own, in the place of that on stdin.
    """
    lent = [
        number
        for number, fd in enumerate(stdio)
        if os.isatty(fd) and not (terminal and are_one_terminal(0, fd))
    ]
    if not lent:
        return None
    from .terminal_pipes import TerminalPipes

    return TerminalPipes(stdio, lent)


def fill_standard_descriptors() -> None:
    """Open what the caller closed of 0, 1 and 2, so that nothing else gets these numbers.

    Opened the wrong way round: reading and writing there fail with EBADF, as on a closed one.
    """
    for fd, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open("/dev/null", flags), True)


def let_go_of(*fds: int) -> None:
    """Leave descriptors to the command, so that its closing them is seen at the other end."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in fds:
        os.dup2(null, fd)
    os.close(null)


def _wait_for_signal(signals: set[int], timeout: float | None) -> int:
    if timeout is None:
        return signal.sigwaitinfo(signals).si_signo
    info = signal.sigtimedwait(signals, timeout)
    return info.si_signo if info is not None else 0
