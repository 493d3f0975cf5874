"""A container as its parent sees it: watched, signalled, ended.

Needs no event loop: a container has a descriptor to wait on for those that have one.
"""

import _signal as signal
import os
import select
import time
from _collections_abc import Mapping, Sequence

from .errors import SetupError
from .exit_status import ExitStatus
from .handshake import (
    parse_status,
    parse_stopped,
    parse_survivors,
    receive_failure,
    receive_message,
    receive_notify,
    receive_ready,
    receive_terminal,
)
from .hints import explain
from .launch import Launch, check_open
from .privileges import own_pipes
from .requests import (
    EXEC,
    EXEC_GROUP,
    EXEC_TERMINAL,
    Process,
    Reply,
    render_process,
    request_namespaces,
    request_process,
    request_socket,
    send_kill,
)
from .spec import ContainerSpec
from .syscalls import P_PIDFD, pidfd_send_signal

TYPE_CHECKING = False  # known to type checkers; only who wants limits loads it
if TYPE_CHECKING:
    from .cgroups import Cgroup

_LONGEST_POLL = 86400  # seconds; poll(2) takes 24 days at most
_NOT_FORWARDED = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}


class Container:
    """A running container, and what its parent holds of it.

    As a context manager it ends the container on the way out: nothing in it survives the block.

    Attributes:
        pid: Of its init, as the caller sees it.
        spec: What was asked for.
        helper: The pid of a child that made it and has ended; who has a fork server and reaps
            children one by one, has to reap this too. 0 if there is none.
        notes: A sentence for each thing that is not quite as it was asked for.
        survivors: What the command left and had to be killed after the grace period: process IDs,
            as the container saw them, and command lines. Complete once the container is gone.
        notify_fd: What its sd_notify(3) writes to, a datagram socket, see `ContainerSpec.notify`;
            -1 without one.
        terminal_fd: The other side of its terminal, see `ContainerSpec.terminal`; -1 without one.
        cgroup: What it was born in, see `ContainerSpec.limits`; removed once the container is gone,
            and knows then what it has used. None without one.

    Source: pidfd_open(2), waitid(2), pid_namespaces(7).
    """

    __slots__ = (
        "_control",
        "_gone",
        "_pidfd",
        "_report",
        "_status",
        "cgroup",
        "helper",
        "notes",
        "notify_fd",
        "pid",
        "spec",
        "survivors",
        "terminal_fd",
    )

    def __init__(
        self, spec: ContainerSpec, launched: Launch, cgroup: "Cgroup | None" = None
    ) -> None:
        self.spec, self.cgroup = spec, cgroup
        self.pid, self.notes = launched.pid, launched.notes
        self._pidfd, self._control = launched.pidfd, launched.control
        self._report = launched.report
        self._status: ExitStatus | None = None
        self._gone = False
        self.survivors = list[tuple[int, str]]()
        self.helper = launched.helper
        self.terminal_fd = self.notify_fd = -1

    def wait_started(self) -> None:
        """Wait until the command is executed.

        Raises:
            SetupError: A step was refused.
            CommandError: The command could not be executed.
        """
        if self._report < 0:
            return
        error = receive_failure(self._report)
        os.close(self._report)
        self._report = -1
        try:
            if error is None and self.spec.terminal:
                self.terminal_fd = receive_terminal(self._control)
            if error is None and self.spec.notify is not None:
                self.notify_fd = receive_notify(self._control)
        except SetupError as refusal:
            error = refusal
        if error is None and not receive_ready(self._control):
            error = SetupError("build the container", hint="its init was killed on the way")
        if error is not None:
            self.close()
            raise explain(error) from None

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when the container is gone (a pidfd)."""
        return self._pidfd

    @property
    def report_fd(self) -> int:
        """A descriptor that becomes readable when `wait_started` does not wait; -1 after it."""
        return self._report

    @property
    def control_fd(self) -> int:
        """A descriptor that becomes readable when `take_stop` may have something to say."""
        return self._control.fileno()

    def take_stop(self) -> int:
        """Return the signal that stopped the command since this was last asked.

        0 for none, and if the command has ended since.
        """
        stopped = 0
        while message := receive_message(self._control):
            self._status = self._status or parse_status(message)
            stopped = parse_stopped(message) or stopped
            self.survivors += parse_survivors(message)
        return 0 if self._status else stopped

    def has_ended(self) -> bool:
        """Return whether the command has ended, though something of the container may be left.

        What `take_stop` would have said until now is forgotten.
        """
        self.take_stop()
        return self._status is not None

    def start_process(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        workdir: str | None = None,
        stdio: Sequence[int] = (0, 1, 2),
        kill_group: bool = False,
    ) -> Process:
        """Start a process beside the command: in all of its namespaces, with no more rights.

        Args:
            argv: The program and its arguments.
            env: Variables on top of the command's.
            user: As in `ContainerSpec`; None for the command's.
            workdir: As in `ContainerSpec`; None for the command's.
            stdio: Three descriptors of the caller's, which the process gets itself.
            kill_group: Whether what is in its process group is killed when it has ended.

        Raises:
            SpecError: A value that no container could carry out.
            SetupError: The container is gone, a descriptor is not open, or there is too much text.
        """
        verb = EXEC_GROUP if kill_group else EXEC
        return self._start(render_process(verb, argv, env or {}, user=user, workdir=workdir), stdio)

    def start_on_terminal(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        workdir: str | None = None,
        stdio: Sequence[int] = (0, 1, 2),
    ) -> Process:
        """Start a process beside the command, on a terminal of its own, which ends with either.

        Args:
            argv: As `start_process`.
            env: As `start_process`.
            user: As `start_process`.
            workdir: As `start_process`.
            stdio: Three descriptors of the caller's; the terminal takes the place of the first
                that is a terminal, and of all that are the same one.

        Raises:
            SpecError, SetupError: As `start_process`.
        """
        request = render_process(EXEC_TERMINAL, argv, env or {}, user=user, workdir=workdir)
        return self._start(request, stdio)

    def request_socket(self, family: int) -> Reply:
        """Ask for a stream socket of the container's network; `receive_descriptors` takes it.

        Args:
            family: AF_INET, AF_INET6 or AF_UNIX.

        Raises:
            SetupError: The container is gone.
        """
        return request_socket(self._control, family)

    def request_namespaces(self) -> Reply:
        """Ask for what another container needs to share this one's network, as with a socket."""
        return request_namespaces(self._control)

    def send_signal(self, number: int) -> None:
        """Send a signal to the command; nothing happens if the container is gone.

        SIGINT, SIGQUIT, SIGTSTP and SIGCONT go to its process group, as a terminal sends them.

        Raises:
            ValueError: SIGKILL, SIGSTOP and SIGCHLD can't be handed on; see `kill`.
        """
        if number in _NOT_FORWARDED:
            raise ValueError(f"signal {number} can't be handed on to the command")
        self._signal_init(number)

    def kill(self) -> None:
        """Kill everything in the container at once; nothing happens if it is gone."""
        if self.cgroup is not None:
            self.cgroup.kill()
        if not self.spec.isolate:
            send_kill(self._control)
            self._signal_init(signal.SIGCONT)  # somebody may have stopped it, and it must act
            return
        self._signal_init(signal.SIGKILL)

    def stop(self, grace: float | None = None) -> ExitStatus:
        """Send the stop signal, wait, and kill what is left.

        Args:
            grace: Seconds to wait; None for those of the spec.
        """
        self.send_signal(self.spec.stop_signal)
        try:
            return self.wait(self.spec.grace if grace is None else grace)
        except TimeoutError:
            self.kill()
            return self.wait()

    def poll(self) -> ExitStatus | None:
        """Return how the command ended, or None while anything of the container is left."""
        try:
            return self.wait(0)
        except TimeoutError:
            return None

    def wait(self, timeout: float | None = None) -> ExitStatus:
        """Wait until nothing of the container is left, and return how its command ended.

        Args:
            timeout: Seconds to wait at most; None for as long as it takes.

        Raises:
            TimeoutError: The container is still there.
        """
        if self._gone and self._status is not None:
            return self._status
        if not _wait_readable(self._pidfd, timeout):
            raise TimeoutError(f"container {self.pid} is still there after {timeout} s")
        self.take_stop()
        try:
            result = os.waitid(P_PIDFD, self._pidfd, os.WEXITED)
        except ChildProcessError:
            result = None  # somebody else reaped it, such as a caller that ignores SIGCHLD
        if self._status is None:
            # The init died before it could tell: killed from outside, and the command with it.
            self._status = ExitStatus(signal=signal.SIGKILL)
            if result is not None and result.si_code == os.CLD_EXITED:
                self._status = ExitStatus(code=result.si_status)
        self._gone = True
        if self.cgroup is not None:
            self.cgroup.remove()
        return self._status

    def close(self) -> None:
        """Kill what is left, wait for it, and let go of every descriptor."""
        if self._pidfd >= 0:
            if not self._gone:
                self.kill()
                self.wait()
            os.close(self._pidfd)
            self._pidfd = -1
        self._control.close()
        for name in ("_report", "terminal_fd", "notify_fd"):
            fd = getattr(self, name)
            if fd >= 0:
                os.close(fd)
                setattr(self, name, -1)

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, request: bytes, stdio: Sequence[int]) -> Process:
        check_open(stdio)
        self._own_pipes(stdio)
        return request_process(self._control, request, stdio)

    def _own_pipes(self, stdio: Sequence[int]) -> None:
        """Let the container's root open them by name, as `launch` does for the command."""
        if os.geteuid() != 0:
            return
        try:
            with open(f"/proc/{self.pid}/uid_map", "rb") as uids:
                uid = int(uids.read().split()[1])
            with open(f"/proc/{self.pid}/gid_map", "rb") as gids:
                gid = int(gids.read().split()[1])
        except (OSError, IndexError):
            return  # it is gone, which the request will find out
        if uid:
            own_pipes(stdio, uid, gid)

    def _signal_init(self, number: int) -> None:
        if self._pidfd < 0:
            return
        try:
            pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            pass  # it is gone, which is what a signal can at most achieve


def _wait_readable(fd: int, timeout: float | None) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if timeout is None:
        return bool(poll.poll())
    deadline = time.monotonic() + timeout
    while (remaining := deadline - time.monotonic()) > _LONGEST_POLL:
        if poll.poll(_LONGEST_POLL * 1000):
            return True
    return bool(poll.poll(max(0, remaining) * 1000))
