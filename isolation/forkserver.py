"""Small processes to clone containers from, for programs that are big or have threads.

A process with several threads can't go on in Python after a raw clone, and a big one forks slowly.
So such a program forks this server as its first act, before it imports much and before its first
thread. It is two processes: a planner, which is asked, and the `cloner`. Each container is cloned
with CLONE_PARENT: it is a child of the program, which waits for it and reaps it, and dies with the
program and not with the server.

    program                          planner                         cloner
      │  ─── spec, 3 descriptors ───▶  │                               │
      │                                │  ─── flags, descriptors ────▶ │  clone3(CLONE_PARENT)
      │                                │  ◀────────────── pid, pidfd ─ │
      │  ◀─── pid, 3 descriptors ────  │  tape, ID maps, GO
      │  ◀──────────────────── report, control ──────── the container's init

Requests are served one at a time and in order; none waits for a command to be executed. A message
is its length in eight bytes and that much of marshal's format, which both sides, forks of one
program, have at hand; the descriptors travel with the length.

Source: clone(2) CLONE_PARENT, unix(7) SCM_RIGHTS.
"""

import _signal as signal
import _socket as socket
import marshal
import os
import select
import time
from _collections_abc import Sequence
from _thread import allocate_lock
from errno import EMFILE

from .busybox import find_busybox
from .cloner import Cloner, run_cloner
from .container import Container
from .errors import ForkServerError, IsolationError, SetupError
from .handshake import receive_with_fds, send_with_fds
from .hints import explain
from .launch import Launch, above_stdio, check_handed_on, check_one_thread, launch
from .plan import Plan, make_plan
from .spec import ContainerSpec
from .syscalls import set_process_name
from .transport import parse_spec, render_spec, split_spec
from .user_mapping import plan_user_mapping

_LENGTH = 8  # bytes, big endian
_MAX_FDS = 6
_HELD_FDS = 3  # of an answer
_KEPT_S = 1.0  # how long the host is believed to be as it was
_PATIENCE_MS = 1000  # for a server to end by itself
_MOST_KEPT = 100  # kinds of containers
_CHUNK = 2**20  # bytes
_TITLE = "mocker-fork"


class ForkServer:
    """A fork server, from its start to its end; a context manager.

    Containers that it made live on when it ends.

    Attributes:
        pid: Of the planner.
        pids: Of both.

    Raises:
        SetupError: The calling process already has several threads.

    Source: clone(2) CLONE_PARENT, unix(7) SCM_RIGHTS.
    """

    __slots__ = ("_cloner", "_lock", "_socket", "pid", "pids")

    def __init__(self) -> None:
        check_one_thread()
        requests, theirs = _open_pair(socket.SOCK_SEQPACKET)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        cloner_pid = os.fork()
        if cloner_pid == 0:
            run_cloner(theirs.fileno(), _run_planner)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        self._cloner = Cloner(requests)
        self._socket, peer = _open_pair(socket.SOCK_STREAM)
        self._lock = allocate_lock()  # answers come in the order of the requests
        self.pid = self._cloner.start_planner(peer.fileno())
        self.pids = (self.pid, cloner_pid)
        peer.close()

    def spawn(
        self, spec: ContainerSpec, *, stdin: int = 0, stdout: int = 1, stderr: int = 2
    ) -> Container:
        """Make a container, and return when its command is executed: as `isolation.spawn`.

        Raises:
            ForkServerError: The server is gone.
            SetupError, CommandError: As `isolation.spawn`; the server is unharmed.
        """
        container = self.start(spec, stdin=stdin, stdout=stdout, stderr=stderr)
        try:
            container.wait_started()
        except BaseException:
            container.close()
            raise
        return container

    def start(
        self, spec: ContainerSpec, *, stdin: int = 0, stdout: int = 1, stderr: int = 2
    ) -> Container:
        """Start to make a container; `Container.wait_started` tells what became of it.

        Raises:
            ForkServerError: The server is gone.
            SetupError: A descriptor is not open, or it was refused before the init could begin.
        """
        with self._lock:
            self.request(spec, [stdin, stdout, stderr])
            return self.receive(spec)

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when `receive` does not wait."""
        return self._socket.fileno()

    def request(
        self, spec: ContainerSpec, stdio: Sequence[int], namespaces: Sequence[int] = ()
    ) -> None:
        """Ask for a container without waiting for it: for a program with an event loop.

        Args:
            spec: What to make.
            stdio: Three descriptors for the command, and a fourth with `ContainerSpec.ready_fd`.
            namespaces: With the network "shared", what `Container.request_namespaces` of the
                container that has the network has brought.

        Raises:
            ForkServerError: The server is gone.
            SetupError: A descriptor is not open, or there are too few or too many.
        """
        check_handed_on(spec, stdio, namespaces)
        try:
            _send(self._socket, render_spec(spec), [*stdio, *namespaces])
        except OSError as error:
            raise self._gone() from error
        except BaseException:
            self._socket.close()  # interrupted half-way: what follows would not be understood
            raise

    def receive(self, spec: ContainerSpec) -> Container:
        """Return the container of the oldest request that was not answered yet, once it is begun.

        Raises:
            ForkServerError: The server is gone.
            SetupError: It was refused before the init could begin.
        """
        try:
            text, fds = _receive(self._socket)
        except (OSError, EOFError) as error:
            raise self._gone() from error
        except BaseException:
            self._socket.close()  # interrupted half-way: the next answer would be this one's
            raise
        answer = marshal.loads(text)
        if isinstance(answer[0], str):
            raise explain(SetupError(*answer))
        pid, helper, notes = answer
        if len(fds) < _HELD_FDS:
            _end_unheld([pid, helper], fds)
            raise SetupError("hold a container", EMFILE)
        pidfd, control, report = fds
        launched = Launch(pid, pidfd, socket.socket(fileno=control), report, notes)
        launched.helper = helper
        return Container(spec, launched)

    def _gone(self) -> ForkServerError:
        return ForkServerError(f"cannot ask fork server {self.pid}: it is gone")

    def close(self) -> None:
        """End the server and reap it; containers go on. What hangs of it is killed."""
        for end in (self._socket, self._cloner.requests):
            try:
                end.shutdown(socket.SHUT_RDWR)  # a fork of the program may have it open too
            except OSError:
                pass  # the other side is gone already
        self._socket.close()
        self._cloner.close()
        for pid in self.pids:
            _wait_for(pid)

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _wait_for(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(_PATIENCE_MS):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.waitpid(pid, 0)
        finally:
            os.close(pidfd)
    except (ChildProcessError, ProcessLookupError):
        pass  # somebody who reaps everything was faster


def _open_pair(kind: int) -> tuple[socket.socket, socket.socket]:
    """Open a socket pair out of the way of 0, 1 and 2, should the program have closed those."""
    ends = [above_stdio(end.detach()) for end in socket.socketpair(socket.AF_UNIX, kind)]
    ours, theirs = (socket.socket(fileno=end) for end in ends)
    return ours, theirs


def _end_unheld(pids: list[int], fds: list[int]) -> None:
    """End a container of which not all descriptors could be received, as there was no room."""
    for fd in fds:
        os.close(fd)
    for pid in filter(None, pids):
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # somebody who reaps everything was faster


def _run_planner(requests: socket.socket, cloner: Cloner) -> None:
    """Answer requests until the program closes its end; does not return."""
    try:
        set_process_name(_TITLE)
        plans = _Plans()
        while True:
            text, fds = _receive(requests)
            _answer(requests, cloner, plans, text, fds)
    except EOFError:
        os._exit(0)
    finally:
        os._exit(1)


class _Plans:
    """Plans that were made, kept for other commands in the same kind of container.

    What makes a plan costs is not its time but the memory that it writes to: each container is a
    fork of the server, and keeps what the server has written to since as its own.
    """

    __slots__ = ("_looked_at", "_plans", "_sources")

    def __init__(self) -> None:
        self._plans: dict[bytes, Plan] = {}
        self._sources: tuple[object, ...] = ()
        self._looked_at = -_KEPT_S

    def make(self, spec: bytes) -> Plan:
        """Return the plan for a spec; raises as `make_plan`."""
        self._look_again()
        kind, *_ = command = split_spec(spec)
        plan = self._plans.get(kind)
        if plan is not None:
            return plan.with_command(*command[1:])
        plan = make_plan(parse_spec(spec))
        # Nothing else of what a plan depends on is the host's, or could have changed here.
        if not plan.sources and plan.spec.network != "host" and plan.spec.isolate:
            if len(self._plans) == _MOST_KEPT:
                self._plans.clear()
            self._plans[kind] = plan
        return plan

    def _look_again(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < _KEPT_S:
            return
        self._looked_at = now
        try:
            sources: tuple[object, ...] = (plan_user_mapping(), find_busybox())
        except SetupError:
            sources = ()  # then each plan says so itself
        if sources != self._sources or not sources:
            self._plans.clear()
        self._sources = sources


def _answer(
    requests: socket.socket, cloner: Cloner, plans: _Plans, spec: bytes, fds: list[int]
) -> None:
    try:
        launched = _launch(cloner, plans.make(spec), spec, fds)
    except ForkServerError:
        os._exit(1)  # without the cloner nothing can be done
    except SetupError as error:
        fields = (error.step, error.errno, error.path, error.hint)
        _send(requests, marshal.dumps(fields))
    except (IsolationError, OSError) as error:
        _send(requests, marshal.dumps((f"use the spec: {error}",)))
    else:
        held = [launched.pidfd, launched.control.fileno(), launched.report]
        _send(requests, marshal.dumps((launched.pid, launched.helper, launched.notes)), held)
        launched.close()
    finally:
        for fd in fds:
            os.close(fd)


def _launch(cloner: Cloner, plan: Plan, spec: bytes, fds: list[int]) -> Launch:
    count = 3 if plan.spec.ready_fd is None else 4
    # Some are missing where there was no room for them.
    check_handed_on(plan.spec, fds[:count], fds[count:])
    if plan.spec.network == "shared":
        # Who has joined another container's namespaces has to clone by itself.
        return launch(plan, fds[:count], sibling=True, join=fds[count:])
    return cloner.launch(plan, spec, fds[:count])


def _send(peer: socket.socket, text: bytes, fds: Sequence[int] = ()) -> None:
    head = len(text).to_bytes(_LENGTH, "big")
    if fds:
        send_with_fds(peer, head, fds)
    else:
        peer.sendall(head)
    peer.sendall(text)


def _receive(peer: socket.socket) -> tuple[bytes, list[int]]:
    head, fds = receive_with_fds(peer, _LENGTH, _MAX_FDS)
    size = int.from_bytes(_receive_rest(peer, head, _LENGTH), "big")
    return _receive_rest(peer, b"", size), fds


def _receive_rest(peer: socket.socket, start: bytes, size: int) -> bytes:
    chunks, missing = [start], size - len(start)
    while missing:
        chunk = peer.recv(min(missing, _CHUNK))
        if not chunk:
            raise EOFError
        chunks.append(chunk)
        missing -= len(chunk)
    return b"".join(chunks)
