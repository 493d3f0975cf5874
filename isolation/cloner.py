"""A process that clones containers and does nothing else, so that they share its memory.

A page that a process writes to after a fork is copied, and the fork keeps the page as it was. So
who makes many containers, and wants each of them to be small, plans them in one process, a planner,
and clones them from another, whose loop is four calls and touches some fifty pages.

    planner                            cloner                          init
      │ ─ flags, size, descriptors ────▶ │                               │
      │                                  │ ─ clone3(CLONE_PARENT) ─────▶ │
      │ ◀──────────────── pid, pidfd ─── │                               │
      │ ─ control: the tape, and what is known besides ────────────────▶ │
      │ ─ ID maps, then as in `handshake` ─────────────────────────────▶ │

The descriptors of a request have the same numbers each time, so that a tape can name them. With a
size of zero the clone is another planner.

Source: clone(2) CLONE_PARENT and CLONE_PIDFD, unix(7) SCM_RIGHTS.
"""

import _signal as signal
import _socket as socket
import gc
import os
import select
from _collections_abc import Callable, Sequence
from errno import EMFILE, ETOOMANYREFS
from struct import Struct

from .errors import ForkServerError, IsolationError, SetupError
from .handshake import receive_with_fds, send_failure, send_with_fds
from .init import run_init
from .launch import (
    CLONE_STEP,
    Launch,
    above_stdio,
    check_size,
    explain_refusal,
    hand_over,
    open_channels,
    open_pair,
)
from .machine import find_machine
from .memory import (
    HEAD,
    NUMBER,
    TAPE,
    WORD,
    Action,
    Buffer,
    Cell,
    address_of,
    adopt,
    read_head,
    read_memory,
)
from .namespaces import namespace_flags
from .plan import Plan
from .program import Prepared, Program, make_program
from .syscalls import (
    ALL_NAMESPACES,
    CLONE,
    CLONE3,
    CLONE_INTO_CGROUP,
    CLONE_PARENT,
    CLONE_PARENT_SETTID,
    CLONE_PIDFD,
    CLOSE_RANGE,
    PR_SET_PDEATHSIG,
    close_all_but,
    get_errno,
    get_function,
    has_clone3,
    prctl,
    set_process_name,
)
from .transport import parse_prepared, render_prepared

# What a clone of the cloner finds open, other than /dev/null as 0, 1 and 2.
_REQUESTS, _REPLY, CONTROL, REPORT, _STDIO = 3, 4, 5, 6, 7
_MOST_FDS = 8
# Words of the head of a tape: what is known besides it, and whether that has actions for it.
_KNOWN, _KNOWN_SIZE, _HAS_ACTIONS = 5, 6, 7
_PLANNER, _INIT = 0, 1
_WHAT = Cell(0, shared=True)  # the clone is to be
# Looked up before the loop: in a clone, that would take much memory.
_recv, _recvmsg, _sendmsg, _syscall = map(get_function, ("recv", "recvmsg", "sendmsg", "syscall"))
_FLAGS, _PID, _FD = Struct("Q"), Struct("i"), Struct("i")
_ARGS = Struct("11Q")  # struct clone_args: flags, pidfd, child_tid, parent_tid, … and cgroup
_CGROUP = 10 * _FLAGS.size  # where the last of them is
_HEADER, _CONTROL_HEAD = Struct("PIPNPNi"), Struct("Nii")  # struct msghdr and struct cmsghdr
_CHUNK = 2**16  # bytes of a message; a socket takes about three times as much at once
_FAILED = 125
_TITLE = "mocker-clone"


class Cloner:
    """The cloner, for who asks it.

    Attributes:
        requests: The socket that it listens to.
        pidfd: Of its process.
    """

    __slots__ = ("_reply", "_reply_end", "pidfd", "requests")

    def __init__(self, requests: socket.socket, pidfd: int) -> None:
        self.requests, self.pidfd = requests, pidfd
        self._reply, self._reply_end = open_pair(socket.SOCK_SEQPACKET)

    def close(self) -> None:
        """Let go of it; it ends when nobody can ask it any more."""
        for end in (self.requests, self._reply, self._reply_end):
            end.close()
        pidfd, self.pidfd = self.pidfd, -1
        if pidfd >= 0:
            os.close(pidfd)

    def start_planner(self, peer: int) -> tuple[int, int]:
        """Clone a process that plans containers, and return its pid and a pidfd.

        Args:
            peer: The descriptor by which it is asked.

        Raises:
            ForkServerError: The cloner is gone.
            SetupError: The kernel refused.
        """
        self._ask(CLONE_PARENT, _PLANNER, [peer, self.requests.fileno(), self.pidfd])
        return self._take()

    def launch(self, plan: Plan, spec: bytes, stdio: Sequence[int], cgroup: int = -1) -> Launch:
        """Start to make a container, and return while its init is still at work.

        Args:
            plan: What to do.
            spec: Its spec, as `transport.render_spec` has it.
            stdio: Three descriptors of the caller's for the command, and a fourth with `ready_fd`.
            cgroup: The directory of its cgroup; -1 without `ContainerSpec.limits`.

        Raises:
            ForkServerError: The cloner is gone.
            SetupError: The kernel refused before the init could begin.
        """
        control, remote, report, remote_report = open_channels()
        try:
            flags, fds = sum(namespace_flags(plan.spec).values()) | CLONE_PARENT, [*stdio]
            if cgroup >= 0:
                flags |= CLONE_INTO_CGROUP
                fds.append(cgroup)
            self._ask(flags, _INIT, [remote.fileno(), remote_report, *fds], _STDIO + len(stdio))
            # While the clone is made, on another processor.
            content = _lay_out(plan, spec, len(stdio), remote_report)
            try:
                pid, pidfd = self._take()
            except SetupError as error:
                raise explain_refusal(error, plan.spec) from None
        except BaseException:
            control.close()
            os.close(report)
            raise
        finally:
            remote.close()
            os.close(remote_report)
        launched = Launch(pid, pidfd, control, report, plan.notes)
        if not content:
            control.shutdown(socket.SHUT_WR)  # the init ends
            return launched
        try:
            _send_whole(control, content)
        except OSError:
            return launched  # it was killed, which its silent report says
        hand_over(launched, plan, stdio)
        return launched

    def _ask(self, flags: int, what: int, fds: Sequence[int], cgroup: int = 0) -> None:
        request = _FLAGS.pack(flags | CLONE_PIDFD | CLONE_PARENT_SETTID)
        # The kernel looks at the number of the cgroup's descriptor if the flags say so.
        request += _FLAGS.pack(cgroup) + NUMBER.pack(what)
        try:
            send_with_fds(self.requests, request, [self._reply_end.fileno(), *fds])
        except OSError as error:
            if error.errno == ETOOMANYREFS:  # too many of the user's descriptors are on their way
                raise SetupError("ask for a clone", ETOOMANYREFS) from error
            raise ForkServerError("cannot ask the cloner: it is gone") from error

    def _take(self) -> tuple[int, int]:
        """Return the pid and the pidfd of what was asked for."""
        poll = select.poll()
        poll.register(self._reply, select.POLLIN)
        poll.register(self.pidfd, select.POLLIN)  # a clone may have all else open
        if self._reply.fileno() not in dict(poll.poll()):
            raise ForkServerError("cannot ask the cloner: it is gone")
        message, fds = receive_with_fds(self._reply, _PID.size, 1)
        (pid,) = _PID.unpack(message)
        if pid < 0:
            raise SetupError(CLONE_STEP, -pid)
        if not fds:
            os.kill(pid, signal.SIGKILL)
            raise SetupError("hold a container", EMFILE)
        return pid, above_stdio(fds[0])


def _lay_out(plan: Plan, spec: bytes, count: int, report: int) -> bytearray:
    """Return what the init is sent; nothing, after a report, if it can't be told what to do."""
    stdio = range(_STDIO, _STDIO + count)
    try:
        tape = make_program(plan, CONTROL, stdio, (_REQUESTS, _REPLY))
        known = render_prepared(plan, spec, stdio, tape)
        tape.set_head(_KNOWN, TAPE + tape.size)
        tape.set_head(_KNOWN_SIZE, len(known))
        tape.set_head(_HAS_ACTIONS, bool(tape.actions))
        tape.tail += known + bytes(-len(known) % WORD)
        check_size(tape, plan.spec)
        return tape.render()
    except IsolationError as error:
        send_failure(report, error)
    except OSError as error:
        send_failure(report, SetupError("lay out what the init is to do", error.errno or 0))
    return bytearray()


def _send_whole(control: socket.socket, content: bytearray) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[control.send(rest[:_CHUNK], socket.MSG_NOSIGNAL) :]


def run_cloner(requests: int, run_planner: Callable[[socket.socket, Cloner], None]) -> None:
    """Clone what is asked for until nobody can ask any more; does not return.

    Args:
        requests: The socket to listen to.
        run_planner: What a clone does that is a planner.
    """
    try:
        _prepare(requests)
        # Made here and not in the clone, for which it would be a page more.
        control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, CONTROL)
        program = Program(control, REPORT, lambda: _read_known()[0])
        os.close(CONTROL)
        _clone_each()
        if _WHAT.value == _INIT:
            _try_to_receive_tape(program)
            run_init(program)
        _be_planner(run_planner)
    finally:
        os._exit(_FAILED)


def _prepare(requests: int) -> None:
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    set_process_name(_TITLE)
    os.dup2(requests, _REQUESTS)
    os.dup2(requests, CONTROL)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    close_all_but(_REQUESTS, CONTROL, first=_REQUESTS)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _clone_each() -> None:
    """Clone for each request; return in the clone."""
    pid, args = Buffer(_PID.size, shared=True), Buffer(_ARGS.size, shared=True)
    # The flags of the clone are read to where they belong.
    request = _Message(
        [
            (args.address, _FLAGS.size),
            (args.address + _CGROUP, _FLAGS.size),
            (address_of(_WHAT.place), WORD),
        ],
        _MOST_FDS,
    )
    reply, refusal = (
        _Message([(pid.address, _PID.size)], 1),
        _Message([(pid.address, _PID.size)], 0),
    )
    args.raw = _ARGS.pack(0, reply.address_of_fds, 0, pid.address, *[0] * 7)
    knows_clone3, plain_clone = has_clone3(), CLONE.get(find_machine(), 0)
    gc.collect()
    gc.freeze()
    gc.disable()
    while True:
        request.make_room()
        if _recvmsg(_REQUESTS, request.address, socket.MSG_CMSG_CLOEXEC, 0, 0, 0) <= 0:
            os._exit(0)  # nobody can ask any more
        flags = 0 if knows_clone3 else _FLAGS.unpack_from(args.raw)[0]
        if knows_clone3 or flags & (ALL_NAMESPACES | CLONE_INTO_CGROUP):
            found = _syscall(CLONE3, args.address, _ARGS.size, 0, 0, 0)
        else:
            # Which has one place for a pid or a pidfd.
            flags &= ~CLONE_PARENT_SETTID
            found = _syscall(plain_clone, flags, 0, reply.address_of_fds, 0, 0)
        if found == 0:
            return
        if not knows_clone3:
            pid.raw = _PID.pack(found)
        if found > 0:
            _sendmsg(_REPLY, reply.address, socket.MSG_NOSIGNAL, 0, 0, 0)
        else:
            pid.raw = _PID.pack(-get_errno())
            _sendmsg(_REPLY, refusal.address, socket.MSG_NOSIGNAL, 0, 0, 0)
        # The pidfd, too, which lies behind what came with the request.
        _syscall(CLOSE_RANGE, _REPLY, -1, 0, 0, 0)


class _Message:
    """A struct msghdr of sendmsg(2) and recvmsg(2), with room for descriptors.

    Attributes:
        address: Of the structure.
        address_of_fds: Of the first descriptor.
    """

    __slots__ = ("_header", "_room", "_size", "address", "address_of_fds")

    def __init__(self, parts: Sequence[tuple[int, int]], fds: int) -> None:
        """Describe a message.

        Args:
            parts: The address and the size, in bytes, of each part of its text.
            fds: How many descriptors it has, or has at most.
        """
        words = b"".join(NUMBER.pack(word) for part in parts for word in part)
        vector = Buffer(len(words), words, shared=True)
        head = _CONTROL_HEAD.pack(
            _CONTROL_HEAD.size + fds * _FD.size, socket.SOL_SOCKET, socket.SCM_RIGHTS
        )
        self._size = socket.CMSG_SPACE(fds * _FD.size) if fds else 0
        room = Buffer(socket.CMSG_SPACE(fds * _FD.size), head, shared=True)
        self._room = (0, 0, vector.address, len(parts), room.address if fds else 0, self._size, 0)
        self._header = Buffer(_HEADER.size, _HEADER.pack(*self._room), shared=True)
        self.address, self.address_of_fds = self._header.address, room.address + len(head)

    def make_room(self) -> None:
        """Give back the room for descriptors: recvmsg(2) leaves there how much it has used."""
        self._header.raw = _HEADER.pack(*self._room)


def _try_to_receive_tape(program: Program) -> None:
    try:
        _receive_tape(program)
    except BaseException as error:  # noqa: BLE001 - the process ends right after it
        send_failure(REPORT, SetupError(f"go on after {error!r}"))
        os._exit(_FAILED)


def _receive_tape(program: Program) -> None:
    """Take what the init is to do."""
    place, end = address_of(TAPE), address_of(TAPE + HEAD)  # at least; then the head says where
    while place < end:
        received = _recv(CONTROL, place, _CHUNK, 0, 0, 0)
        if received <= 0:
            os._exit(_FAILED)  # who asked is gone, or could not say what to do
        place += received
        end = address_of(read_head(_KNOWN)) + read_head(_KNOWN_SIZE)
    if read_head(_HAS_ACTIONS):
        adopt(place, _read_known()[1], program.setup)
    else:
        adopt(place, [], None)


def _read_known() -> tuple[Prepared, list[Action]]:
    return parse_prepared(read_memory(address_of(read_head(_KNOWN)), read_head(_KNOWN_SIZE)))


def _be_planner(run_planner: Callable[[socket.socket, Cloner], None]) -> None:
    """Plan containers for who listens at the other end; does not return."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a clone has none
    os.close(_REQUESTS)
    os.close(_REPLY)
    peer, requests = (
        socket.socket(socket.AF_UNIX, kind, 0, fd)
        for fd, kind in ((CONTROL, socket.SOCK_STREAM), (REPORT, socket.SOCK_SEQPACKET))
    )
    run_planner(peer, Cloner(requests, _STDIO))
