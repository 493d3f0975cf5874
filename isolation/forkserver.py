"""Small processes to clone containers from, for programs that are big or have threads.

A process with several threads can't go on in Python after a raw clone, and a big one forks slowly.
So such a program forks this server as its first act, before it imports much and before its first
thread. It is a planner, which is asked, the `cloner`, and the `applet_server`; and more planners,
where one is held up. Each container is cloned with CLONE_PARENT: it is a child of the program,
which waits for it and reaps it, and dies with the program and not with the server.

    program                          planner                         cloner
      │  ─── spec, 3 descriptors ───▶  │                               │
      │                                │  ─── flags, descriptors ────▶ │  clone3(CLONE_PARENT)
      │                                │  ◀────────────── pid, pidfd ─ │
      │  ◀─── pid, 3 descriptors ────  │  tape, ID maps, GO
      │  ◀──────────────────── report, control ──────── the container's init

The descriptors of a container with a fresh root have a tree with applets among them, see `applets`.
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
from _collections_abc import Callable, Sequence
from _thread import allocate_lock
from errno import EMFILE, ETOOMANYREFS

from .cloner import Cloner
from .cloning import run_cloner
from .container import Container
from .errors import ForkServerError, SetupError
from .hints import explain
from .launch import Launch, above_stdio, check_handed_on, check_one_thread, open_pair
from .limits import Limits
from .planner import run_planner
from .spec import ContainerSpec
from .syscalls import P_PIDFD, pidfd_open, pidfd_send_signal
from .transport import receive_message, render_spec, send_message

TYPE_CHECKING = False  # known to type checkers; only who wants limits loads it
if TYPE_CHECKING:
    from .cgroups import Cgroup

_HELD_FDS = 3  # of an answer
_PATIENCE_MS = 1000  # for a process to end by itself, and for a killed one to be gone


class Planner:
    """One of a fork server's processes that are asked for containers.

    Attributes:
        pid: Of the process.
    """

    __slots__ = ("_lock", "_pidfd", "_socket", "pid")

    def __init__(self, cloner: Cloner, applet_trees: int) -> None:
        """Start one that is asked by this process.

        Args:
            cloner: Makes it.
            applet_trees: The descriptor from which it takes trees with applets.
        """
        self._ask_for_it(cloner, applet_trees)
        self._take_it(cloner)

    def _ask_for_it(self, cloner: Cloner, applet_trees: int) -> None:
        self._lock = allocate_lock()  # answers come in the order of the requests
        self.pid, self._pidfd = 0, -1
        self._socket, peer = open_pair(socket.SOCK_STREAM)
        try:
            cloner.ask_for_planner(peer.fileno(), applet_trees)
        except BaseException:
            self._socket.close()
            raise
        finally:
            peer.close()

    def _take_it(self, cloner: Cloner) -> None:
        try:
            self.pid, self._pidfd = cloner.take()
        except BaseException:
            self._socket.close()
            raise

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
        cgroup = None if spec.limits is None else self._make_cgroup(spec.limits)
        try:
            with self._lock:
                self.request(spec, [stdin, stdout, stderr], cgroup=cgroup)
                return self.receive(spec, cgroup)
        except BaseException:
            if cgroup is not None:
                cgroup.remove()
            raise

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when `receive` does not wait."""
        return self._socket.fileno()

    def request(
        self,
        spec: ContainerSpec,
        stdio: Sequence[int],
        namespaces: Sequence[int] = (),
        cgroup: "Cgroup | None" = None,
    ) -> None:
        """Ask for a container without waiting for it: for a program with an event loop.

        Args:
            spec: What to make.
            stdio: Three descriptors for the command, and a fourth with `ContainerSpec.ready_fd`.
            namespaces: With the network "shared", what `Container.request_namespaces` of the
                container that has the network has brought.
            cgroup: With `ContainerSpec.limits`, what `Delegation.make_cgroup` has made of them;
                who asks removes it if there is no container in the end.

        Raises:
            ForkServerError: The server is gone.
            SetupError: A descriptor is not open, or there are too few or too many.
        """
        cgroups = [] if cgroup is None else [cgroup.fd]
        check_handed_on(spec, stdio, namespaces, *cgroups)
        text = render_spec(spec)  # before anything is sent: what can't be rendered harms nobody
        try:
            send_message(self._socket, text, [*stdio, *namespaces, *cgroups])
        except OSError as error:
            if error.errno == ETOOMANYREFS:  # too many of the user's descriptors are on their way
                raise SetupError("ask the fork server", ETOOMANYREFS) from error
            raise self._gone() from error
        except BaseException:
            self._socket.close()  # interrupted half-way: what follows would not be understood
            raise

    def receive(self, spec: ContainerSpec, cgroup: "Cgroup | None" = None) -> Container:
        """Return the container of the oldest request that was not answered yet, once it is begun.

        Args:
            spec: What was asked for.
            cgroup: Likewise; from now on the container's.

        Raises:
            ForkServerError: The server is gone.
            SetupError: It was refused before the init could begin.
        """
        try:
            text, fds = receive_message(self._socket)
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
        pidfd, control, report = map(above_stdio, fds)
        launched = Launch(pid, pidfd, socket.socket(fileno=control), report, notes)
        launched.helper = helper
        return Container(spec, launched, cgroup)

    def list_pids(self) -> list[int]:
        """Return the processes that have to be where its containers' cgroups are."""
        return [self.pid]

    def _make_cgroup(self, limits: Limits) -> "Cgroup":
        from .delegation import make_cgroup

        return make_cgroup(limits, self.list_pids())

    def _gone(self) -> ForkServerError:
        return ForkServerError(f"cannot ask fork server {self.pid}: it is gone")

    def close(self) -> None:
        """End the process and reap it, once; one that hangs is killed."""
        self._hang_up()
        pidfd, self._pidfd = self._pidfd, -1
        if pidfd >= 0:
            _wait_for(pidfd)

    def give_up(self) -> None:
        """Kill the process and ask it nothing any more; it is left to the caller to reap it."""
        pidfd, self._pidfd = self._pidfd, -1
        pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
        self._hang_up()

    def _hang_up(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)  # a fork of the program may have it open too
        except OSError:
            pass  # the other side is gone already
        self._socket.close()


class ForkServer(Planner):
    """A fork server, from its start to its end; a context manager.

    It is asked as its first planner. Containers that it made live on when it ends.

    Attributes:
        pid: Of the first planner.
        pids: Of that and of the cloner. Without one of them, there are no more containers.
        applets_pid: Of the `applet_server`, which may end at any time: containers take longer then.
            0 if the kernel refused it.

    Raises:
        SetupError: The calling process already has several threads.

    Source: clone(2) CLONE_PARENT, unix(7) SCM_RIGHTS.
    """

    __slots__ = (
        "_applet_trees",
        "_applets_pidfd",
        "_cloner",
        "_cloner_pidfd",
        "_others",
        "applets_pid",
        "pids",
    )

    def __init__(self, meanwhile: Callable[[], None] | None = None) -> None:
        """Start it.

        Args:
            meanwhile: Called while it starts, which takes some ten milliseconds; it may import what
                is big, and start threads. What it raises ends the server, and is raised again.
        """
        check_one_thread()
        requests, theirs = open_pair(socket.SOCK_SEQPACKET)
        try:
            cloner_pid = _fork_cloner(theirs.fileno())
        except OSError as error:
            requests.close()
            raise SetupError("start the fork server", error.errno or 0) from error
        finally:
            theirs.close()
        self._cloner_pidfd = above_stdio(pidfd_open(cloner_pid))
        self._others = list[Planner]()
        self.applets_pid, self._applets_pidfd = 0, -1
        try:
            self._cloner = Cloner(requests, above_stdio(os.dup(self._cloner_pidfd)))
            self._applet_trees, applets_end = open_pair(socket.SOCK_SEQPACKET)
            self._ask_for_it(self._cloner, self._applet_trees.fileno())
        except BaseException as error:
            requests.close()
            _wait_for(self._cloner_pidfd)
            if isinstance(error, OSError):
                raise SetupError("start the fork server", error.errno or 0) from error
            raise
        try:
            self._start_rest(applets_end, meanwhile)
        except BaseException:
            self.close()
            raise
        self.pids = (self.pid, cloner_pid)

    def _start_rest(self, theirs: socket.socket, meanwhile: Callable[[], None] | None) -> None:
        try:
            self._cloner.ask_for_applet_server(theirs.fileno())
        finally:
            theirs.close()
        try:
            if meanwhile is not None:
                meanwhile()
        finally:
            self._take_it(self._cloner)
            self._take_applet_server()

    def _take_applet_server(self) -> None:
        try:
            self.applets_pid, self._applets_pidfd = self._cloner.take()
        except SetupError:
            pass  # each container gets links of its own

    def open_planner(self) -> Planner:
        """Start another planner, for who asks while those that there are may be held up.

        It is a child of the program, too, and ends with the fork server.

        Raises:
            ForkServerError: The cloner is gone.
            SetupError: The kernel refused.
        """
        planner = Planner(self._cloner, self._applet_trees.fileno())
        self._others.append(planner)
        return planner

    def drop(self, planner: Planner) -> None:
        """Give a planner up, be it the first one."""
        planner.give_up()
        if planner in self._others:
            self._others.remove(planner)

    def list_pids(self) -> list[int]:
        """Return those of its processes that make containers; see `delegation.find_delegation`."""
        planners = [self, *self._others] if self._pidfd >= 0 else self._others
        return [self.pids[1], *(planner.pid for planner in planners)]

    def close(self) -> None:
        """End all of it and reap it; containers go on. What hangs is killed."""
        for planner in self._others:
            planner.close()
        self._hang_up()
        for end in (self._cloner.requests, self._applet_trees):
            try:
                end.shutdown(socket.SHUT_RDWR)  # a fork of the program may have it open too
            except OSError:
                pass  # it is gone already
        self._cloner.close()
        self._applet_trees.close()
        super().close()
        pidfds = self._cloner_pidfd, self._applets_pidfd
        self._cloner_pidfd = self._applets_pidfd = -1
        for pidfd in pidfds:
            if pidfd >= 0:
                _wait_for(pidfd)

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _fork_cloner(requests: int) -> int:
    # A signal that arrives before the cloner's own mask would run the program's handlers.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            run_cloner(requests, run_planner)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def _wait_for(pidfd: int) -> None:
    """Reap a child that is about to end, and kill it if it hangs; closes the descriptor."""
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(_PATIENCE_MS):
            pidfd_send_signal(pidfd, signal.SIGKILL)
            if not poll.poll(_PATIENCE_MS):
                return  # it hangs in the kernel, and ends when that lets it
        os.waitid(P_PIDFD, pidfd, os.WEXITED)
    except (ChildProcessError, ProcessLookupError):
        pass  # somebody who reaps everything was faster
    finally:
        os.close(pidfd)


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
