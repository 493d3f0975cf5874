"""The process that clones containers, from one request to the next.

Its loop is a few calls beside the tape, and so are the first ones of an init: it takes its tape
and goes on with that, and Python sees none of it. See `cloner` for who asks, and for the numbers of
descriptors.

Source: clone(2), unix(7) SCM_RIGHTS, cmsg(3).
"""

import _signal as signal
import _socket as socket
import gc
import os
from _collections_abc import Callable, Sequence
from struct import Struct

from .applet_server import run_applet_server
from .applets import AppletTrees
from .calls import ANY_RESULT, close, close_range, prepare
from .cloner import (
    APPLET_SERVER,
    APPLET_TREES,
    BEGIN,
    CHUNK,
    CLONER_PIDFD,
    CONTROL,
    ENTRY,
    FLAGS,
    HAS_ACTIONS,
    HELPER,
    INT,
    KNOWN,
    KNOWN_SIZE,
    MOST_FDS,
    REPLY,
    REPORT,
    REQUESTS,
    Cloner,
)
from .errors import SetupError
from .handshake import send_failure
from .init import run_init
from .library import get_function
from .machine import find_machine
from .memory import (
    FAILED,
    HEAD,
    NUMBER,
    TAPE,
    WORD,
    Action,
    Buffer,
    Cell,
    add_function,
    address_of,
    adopt,
    read_head,
    read_memory,
    walk,
)
from .program import Prepared, Program
from .snapshot import LAST, lay_out_move
from .syscalls import (
    ALL_NAMESPACES,
    CLONE,
    CLONE3,
    CLONE_INTO_CGROUP,
    CLONE_PARENT_SETTID,
    CLOSE_RANGE,
    PR_SET_PDEATHSIG,
    close_all_but,
    has_clone3,
    prctl,
    set_process_name,
)
from .tape import Call, go_on, lay_out_beside
from .transport import parse_prepared

_LOOP = Buffer(2**10, shared=True)  # its calls
_MOVE = Buffer(2**15, shared=True)  # the calls before the first of them
_WHAT = Cell(0, shared=True)  # the clone is to be
_HELPER = Cell(0, shared=True)  # and which one
_CLONE = Cell(shared=True)  # the pid of the clone, 0 in that itself
_RECEIVED = Cell(0, shared=True)  # bytes of the tape
_ARGS_STRUCT = Struct("11Q")  # clone_args: flags, pidfd, child_tid, parent_tid, … and cgroup
_CGROUP = 10 * FLAGS.size  # where the last of them is
_HEADER, _CONTROL_HEAD = Struct("PIPNPNi"), Struct("Nii")  # struct msghdr and struct cmsghdr
_CONTROLLEN = 5  # which word of the first
_ARGS, _PID = Buffer(_ARGS_STRUCT.size, shared=True), Buffer(INT.size, shared=True)
_recv, _sendmsg, _syscall = map(get_function, ("recv", "sendmsg", "syscall"))
_FAILED = 125
_TITLE = "mocker-clone"


def run_cloner(
    requests: int, run_planner: Callable[[socket.socket, Cloner, AppletTrees], None]
) -> None:
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
        failure = _clone_each()
        if _WHAT.value == HELPER:
            if _HELPER.value == APPLET_SERVER:
                run_applet_server(_open_socket(CONTROL, socket.SOCK_SEQPACKET))
            _be_planner(run_planner)
        _try_to_receive_tape(program)
        is_walked = read_head(ENTRY) != 0
        run_init(program, (lambda: _tell(failure)) if is_walked else None)
    finally:
        os._exit(_FAILED)


def _prepare(requests: int) -> None:
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    set_process_name(_TITLE)
    os.dup2(requests, REQUESTS)
    os.dup2(requests, CONTROL)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    close_all_but(REQUESTS, CONTROL, first=REQUESTS)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _clone_each() -> OSError | None:
    """Clone for each request; return in the clone, with what an init has failed at."""
    request = _Message(
        # The flags of the clone are read to where they belong.
        [
            (_ARGS.address, FLAGS.size),
            (_ARGS.address + _CGROUP, FLAGS.size),
            (address_of(_WHAT.place), WORD),
            (address_of(_HELPER.place), WORD),
        ],
        MOST_FDS,
    )
    reply, refusal = (_Message([(_PID.address, _PID.size)], count) for count in (1, 0))
    pidfd = reply.address_of_fds
    _ARGS.raw = _ARGS_STRUCT.pack(0, pidfd, 0, _PID.address, *[0] * 7)
    if has_clone3():
        clone = prepare("syscall", CLONE3, _ARGS.address, _ARGS.size, to=_CLONE)
    else:
        clone = _CLONE_PLAINLY, (pidfd,), 0, 0, _CLONE
    first, _, cloning, answering, last = lay_out_beside(
        _LOOP,
        [
            request.make_room(),
            prepare("recvmsg", REQUESTS, request.address, socket.MSG_CMSG_CLOEXEC, least=1),
            clone,
            prepare("sendmsg", REPLY, reply.address, socket.MSG_NOSIGNAL, least=-1),
            # The pidfd, too, which lies behind what came with the request.
            close_range(REPLY),
        ],
    )
    go_on(cloning, answering, _WHAT.place)
    go_on(last, first)
    receive = prepare("recv", CONTROL, address_of(TAPE), CHUNK, least=HEAD * WORD, to=_RECEIVED)
    *_, last = lay_out_beside(BEGIN, [receive, close(REPLY)])
    go_on(last, 0, TAPE + ENTRY)
    gc.collect()
    gc.freeze()
    gc.disable()
    moving = _lay_out_move(first)
    begin = moving[0] if moving else first
    while True:
        try:
            walk(begin)
        except OSError as error:
            # What is written from now on, each clone gets a copy of; it is not worth moving again.
            begin = first
            if FAILED.value in moving[:-LAST]:
                begin = moving[-LAST]
                continue
            if FAILED.value in moving:
                _syscall(CLOSE_RANGE, REPLY, -1, 0, 0, 0)
                continue
            if _CLONE.value == 0:
                return error
            if FAILED.value != cloning:
                os._exit(0)  # nobody can ask any more
            _PID.raw = INT.pack(-(error.errno or 0))
            _sendmsg(REPLY, refusal.address, socket.MSG_NOSIGNAL, 0, 0, 0)
            _syscall(CLOSE_RANGE, REPLY, -1, 0, 0, 0)
        else:
            return None


def _lay_out_move(following: int) -> list[int]:
    """Lay out what comes before the loop, so that each clone takes less time; see `snapshot`."""
    try:
        records = lay_out_move(_MOVE)
    except OSError:
        return []  # it goes without
    if records:
        go_on(records[-1], following)
    return records


def _tell(failure: OSError | None) -> None:
    """Raise what the calls until now have failed at, if they have."""
    if failure is not None:
        raise failure


def _clone_plainly(pidfd: int, *_: int) -> int:
    """Clone as a plain fork can where there is no clone3(2)."""
    (flags,) = FLAGS.unpack_from(_ARGS.raw)
    if flags & (ALL_NAMESPACES | CLONE_INTO_CGROUP):
        return _syscall(CLONE3, _ARGS.address, _ARGS.size, 0, 0, 0)
    # Which has one place for a pid or a pidfd.
    found = _syscall(CLONE[find_machine()], flags & ~CLONE_PARENT_SETTID, 0, pidfd, 0, 0)
    if found > 0:
        _PID.raw = INT.pack(found)
    return found


_CLONE_PLAINLY = add_function(_clone_plainly)


class _Message:
    """A struct msghdr of sendmsg(2) and recvmsg(2), with room for descriptors.

    Attributes:
        address: Of the structure.
        address_of_fds: Of the first descriptor.
    """

    __slots__ = ("_size", "address", "address_of_fds")

    def __init__(self, parts: Sequence[tuple[int, int]], fds: int) -> None:
        """Describe a message.

        Args:
            parts: The address and the size, in bytes, of each part of its text.
            fds: How many descriptors it has, or has at most.
        """
        words = b"".join(NUMBER.pack(word) for part in parts for word in part)
        vector = Buffer(len(words), words, shared=True)
        head = _CONTROL_HEAD.pack(
            _CONTROL_HEAD.size + fds * INT.size, socket.SOL_SOCKET, socket.SCM_RIGHTS
        )
        self._size = socket.CMSG_SPACE(fds * INT.size) if fds else 0
        room = Buffer(socket.CMSG_SPACE(fds * INT.size), head, shared=True)
        fields = (0, 0, vector.address, len(parts), room.address if fds else 0, self._size, 0)
        self.address = Buffer(_HEADER.size, _HEADER.pack(*fields), shared=True).address
        self.address_of_fds = room.address + len(head)

    def make_room(self) -> Call:
        """Give back the room for descriptors: recvmsg(2) leaves there how much it has used."""
        room = self.address + _CONTROLLEN * WORD
        return prepare("memmove", room, NUMBER.pack(self._size), WORD, least=ANY_RESULT)


def _try_to_receive_tape(program: Program) -> None:
    try:
        _receive_tape(program)
    except BaseException as error:  # noqa: BLE001 - the process ends right after it
        send_failure(REPORT, SetupError(f"go on after {error!r}"))
        os._exit(_FAILED)


def _receive_tape(program: Program) -> None:
    """Take what is left of what the init is to do."""
    place, least = address_of(TAPE) + _RECEIVED.value, address_of(TAPE + HEAD)
    end = least  # at least; then the head says where
    while True:
        if place >= least:
            end = address_of(read_head(KNOWN)) + read_head(KNOWN_SIZE)
        if place >= end:
            break
        received = _recv(CONTROL, place, CHUNK, 0, 0, 0)
        if received <= 0:
            os._exit(_FAILED)  # who asked is gone, or could not say what to do
        place += received
    if read_head(HAS_ACTIONS):
        adopt(place, _read_known()[1], program.setup)
    else:
        adopt(place, [], None)


def _read_known() -> tuple[Prepared, list[Action]]:
    return parse_prepared(read_memory(address_of(read_head(KNOWN)), read_head(KNOWN_SIZE)))


def _be_planner(run_planner: Callable[[socket.socket, Cloner, AppletTrees], None]) -> None:
    """Plan containers for who listens at the other end; does not return."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a clone has none
    os.close(REQUESTS)
    os.close(REPLY)
    cloner = Cloner(_open_socket(REPORT, socket.SOCK_SEQPACKET), CLONER_PIDFD)
    applet_trees = AppletTrees(_open_socket(APPLET_TREES, socket.SOCK_SEQPACKET))
    run_planner(_open_socket(CONTROL, socket.SOCK_STREAM), cloner, applet_trees)


def _open_socket(fd: int, kind: int) -> socket.socket:
    return socket.socket(socket.AF_UNIX, kind, 0, fd)
