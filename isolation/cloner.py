"""A process that clones containers and does nothing else, so that they share its memory.

A page that a process writes to after a fork is copied, and the fork keeps the page as it was. So
who makes many containers, and wants each of them to be small, plans them in one process, a planner,
and clones them from another, whose loop is four calls and touches a few pages, see `cloning`.

    planner                              cloner                        init
      │ ─ flags, cgroup, first call ─────▶ │                             │
      │ ─ control: the tape, and what is known besides ────────────────▶ │
      │                                    │ ─ clone3(CLONE_PARENT) ───▶ │
      │ ◀──────────────── pid, pidfd ───── │                             │
      │ ─ ID maps, then as in `handshake` ─────────────────────────────▶ │

The descriptors of a request have the same numbers each time, so that a tape can name them. Without
a first call the clone is no init but another planner, or the `applet_server`.

Source: clone(2) CLONE_PARENT and CLONE_PIDFD, unix(7) SCM_RIGHTS.
"""

import _signal as signal
import _socket as socket
import os
import select
from _collections_abc import Sequence
from errno import EMFILE, ETOOMANYREFS
from struct import Struct

from .applets import APPLET_TREE
from .errors import ForkServerError, IsolationError, SetupError
from .handshake import receive_with_fds, send_failure, send_with_fds
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
from .memory import NUMBER, TAPE, WORD, Buffer, place_of
from .namespaces import namespace_flags
from .plan import Plan
from .program import BUILD, make_program
from .syscalls import CLONE_INTO_CGROUP, CLONE_PARENT, CLONE_PARENT_SETTID, CLONE_PIDFD
from .transport import render_prepared

# What a clone of the cloner finds open, other than /dev/null as 0, 1 and 2.
REQUESTS, REPLY, CONTROL, REPORT = 3, 4, 5, 6
STDIO = APPLET_TREE  # from here on where there is no such tree, else from the next one on
CLONER_PIDFD, APPLET_TREES = 7, 8  # what a planner has there
MOST_FDS = 9
# Words of the head of a tape: what is known besides it, whether that has actions for it, and where
# the init can go on at once, 0 if not all of it came with the first message.
KNOWN, KNOWN_SIZE, HAS_ACTIONS, ENTRY = 6, 7, 8, 9
BEGIN = Buffer(2**9, shared=True)  # the calls by which an init takes its tape
HELPER, _INIT = 0, place_of(BEGIN.address)  # the first call of a clone; a helper has none
PLANNER, APPLET_SERVER = 0, 1  # which helper it is; 0 for an init, too
FLAGS, INT = Struct("Q"), Struct("i")
CHUNK = 60 * 2**10  # bytes of a message; a socket takes three times as much, or 64 KiB at least


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

    def ask_for_planner(self, peer: int, applet_trees: int) -> None:
        """Ask for a process that plans containers; `take` has it.

        Args:
            peer: The descriptor by which it is asked.
            applet_trees: By which it gets trees with applets.

        Raises:
            ForkServerError: The cloner is gone.
        """
        fds = [peer, self.requests.fileno(), self.pidfd, applet_trees]
        self._ask(CLONE_PARENT, HELPER, fds)

    def ask_for_applet_server(self, peer: int) -> None:
        """Ask for a process that hands out trees with applets; `take` has it.

        Args:
            peer: The descriptor by which it does.

        Raises:
            ForkServerError: The cloner is gone.
        """
        self._ask(CLONE_PARENT, HELPER, [peer], helper=APPLET_SERVER)

    def launch(
        self, plan: Plan, spec: bytes, stdio: Sequence[int], cgroup: int = -1, tree: int = -1
    ) -> Launch:
        """Start to make a container, and return while its init is still at work.

        Args:
            plan: What to do.
            spec: Its spec, as `transport.render_spec` has it.
            stdio: Three descriptors of the caller's for the command, and a fourth with `ready_fd`.
            cgroup: The directory of its cgroup; -1 without `ContainerSpec.limits`.
            tree: What `AppletTrees.take` has returned; -1 without `Plan.shares_applets`.

        Raises:
            ForkServerError: The cloner is gone.
            SetupError: The kernel refused before the init could begin.
        """
        control, remote, report, remote_report = open_channels()
        try:
            flags = sum(namespace_flags(plan.spec).values()) | CLONE_PARENT
            fds = [*([tree] if tree >= 0 else []), *stdio]
            first = STDIO + len(fds) - len(stdio)
            numbers = range(first, first + len(stdio))
            if cgroup >= 0:
                flags |= CLONE_INTO_CGROUP
                fds.append(cgroup)
            self._ask(flags, _INIT, [remote.fileno(), remote_report, *fds], numbers.stop)
            # While the clone is made, on another processor.
            content = _lay_out(plan, spec, numbers, remote_report)
            sent = _send_first(control, content)
            try:
                pid, pidfd = self.take()
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
            _send_rest(control, content, sent)
        except OSError:
            control.shutdown(socket.SHUT_WR)  # or it would wait for the rest
            return launched  # it was killed, which its silent report says
        hand_over(launched, plan, stdio)
        return launched

    def _ask(
        self, flags: int, what: int, fds: Sequence[int], cgroup: int = 0, helper: int = 0
    ) -> None:
        request = FLAGS.pack(flags | CLONE_PIDFD | CLONE_PARENT_SETTID)
        # The kernel looks at the number of the cgroup's descriptor if the flags say so.
        request += FLAGS.pack(cgroup) + NUMBER.pack(what) + NUMBER.pack(helper)
        try:
            send_with_fds(self.requests, request, [self._reply_end.fileno(), *fds])
        except OSError as error:
            if error.errno == ETOOMANYREFS:  # too many of the user's descriptors are on their way
                raise SetupError("ask for a clone", ETOOMANYREFS) from error
            raise ForkServerError("cannot ask the cloner: it is gone") from error

    def take(self) -> tuple[int, int]:
        """Return the pid and a pidfd of the oldest that was asked for and not taken yet.

        Raises:
            ForkServerError: The cloner is gone.
            SetupError: The kernel refused.
        """
        poll = select.poll()
        poll.register(self._reply, select.POLLIN)
        poll.register(self.pidfd, select.POLLIN)  # a clone may have all else open
        if self._reply.fileno() not in dict(poll.poll()):
            raise ForkServerError("cannot ask the cloner: it is gone")
        message, fds = receive_with_fds(self._reply, INT.size, 1)
        (pid,) = INT.unpack(message)
        if pid < 0:
            raise SetupError(CLONE_STEP, -pid)
        if not fds:
            os.kill(pid, signal.SIGKILL)
            raise SetupError("hold a container", EMFILE)
        return pid, above_stdio(fds[0])


def _lay_out(plan: Plan, spec: bytes, stdio: Sequence[int], report: int) -> bytearray:
    """Return what the init is sent; nothing, after a report, if it can't be told what to do."""
    try:
        tape = make_program(plan, CONTROL, stdio, (REQUESTS,), lasting=True)
        known = render_prepared(plan, spec, stdio, tape)
        tape.set_head(KNOWN, TAPE + tape.size)
        tape.set_head(KNOWN_SIZE, len(known))
        tape.set_head(HAS_ACTIONS, bool(tape.actions))
        tape.tail += known + bytes(-len(known) % WORD)
        check_size(tape, plan.spec)
        if not tape.actions and tape.size * WORD <= CHUNK:
            tape.set_head(ENTRY, tape.numbers[BUILD])
        return tape.render()
    except IsolationError as error:
        send_failure(report, error)
    except OSError as error:
        send_failure(report, SetupError("lay out what the init is to do", error.errno or 0))
    return bytearray()


def _send_first(control: socket.socket, content: bytearray) -> int:
    """Send what fits at once, for the init to find as soon as it looks; return how much that is."""
    try:
        return control.send(memoryview(content)[:CHUNK], socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
    except OSError:
        return 0


def _send_rest(control: socket.socket, content: bytearray, sent: int) -> None:
    rest = memoryview(content)[sent:]
    while rest:
        rest = rest[control.send(rest[:CHUNK], socket.MSG_NOSIGNAL) :]
