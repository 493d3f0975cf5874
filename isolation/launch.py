"""The parent's side of making a container: clone, say who is who, hand over what is the host's.

One clone3 with all namespaces makes the child, like a fork: no second program, no new stack. It
goes on in `init`. So it is for a program that clones by itself; for a fork server its `cloner` does
the same, and shares what is done here after the clone. Everything that takes rights which only the
parent has is done here: the ID maps, and the ID-mapped clones of directories that root's containers
see.
"""

import _signal as signal
import _socket as socket
import fcntl
import os
import time
from _collections_abc import Iterable, Sequence
from errno import E2BIG, EACCES, EBUSY, EINVAL, ENODEV, ENOENT, EOPNOTSUPP

from .errors import NOT_EXECUTABLE, CommandError, SetupError
from .handshake import receive_with_fds, send_go, send_refusal, send_with_fds
from .init import run_init
from .mounts import open_source
from .namespaces import namespace_flags
from .plan import Plan
from .privileges import own_pipes
from .program import Prepared, Program, make_program
from .spec import ContainerSpec
from .syscalls import ALL_SIGNALS, CLONE_PARENT, clone3, setns, sigprocmask
from .tape import Tape, fits, load
from .user_mapping import UserMapping, write_user_mapping

_JOINED_S = 0.05  # Python lets go of a thread a little before the kernel does
_POLL_S = 0.001
_MAX_ANSWER = 100  # bytes; a number, or a step and a number
_JOIN = b"join the namespaces of another container"
CLONE_STEP = "create namespaces"
_SHARED = 2  # the user and the network namespace
_CGROUP_REFUSALS = {
    EACCES: "who clones has to be in the delegated cgroup, too",
    EBUSY: "that has others below it, whose processes are limited",
    ENODEV: "it was removed meanwhile",
    ENOENT: "it was removed meanwhile",
    EOPNOTSUPP: "a cgroup above is threaded",
}
_FIRST_FREE_FD = 3  # below are the standard descriptors, which the command gets


class Launch:
    """A container that was cloned and told to go on.

    Attributes:
        pid: Of its init.
        pidfd: Of its init; close-on-exec, as the others.
        control: To the init, see `handshake`.
        report: Where a failure arrives, or end of file once the command is executed.
        helper: A process that the caller's parent has to wait for besides; 0 if there is none.
        notes: A sentence for each thing that is not quite as it was asked for.
    """

    __slots__ = ("control", "helper", "notes", "pid", "pidfd", "report")

    def __init__(
        self, pid: int, pidfd: int, control: socket.socket, report: int, notes: Sequence[str] = ()
    ) -> None:
        self.pid, self.pidfd, self.control, self.report = pid, pidfd, control, report
        self.notes = tuple(notes)
        self.helper = 0

    def close(self) -> None:
        """Let go of every descriptor; the container goes on."""
        self.control.close()
        os.close(self.pidfd)
        os.close(self.report)


def launch(
    plan: Plan,
    stdio: Sequence[int],
    *,
    sibling: bool = False,
    join: Sequence[int] = (),
    cgroup: int = -1,
) -> Launch:
    """Start to make a container, and return while its init is still at work.

    Args:
        plan: What to do.
        stdio: Three descriptors of the caller's for the command, and a fourth with `ready_fd`.
        sibling: Make it a child of the caller's parent, as a planner does for a shared network.
        join: The user and the network namespace of the container whose network it shares.
        cgroup: The directory of its cgroup; -1 without `ContainerSpec.limits`.

    Raises:
        SetupError: The kernel refused before the init could begin, or a descriptor is missing.
    """
    check_one_thread()
    check_handed_on(plan.spec, stdio, join, cgroup)
    control, remote, report, remote_report = open_channels()
    # The control's own end, held open in the init, would never tell that the parent died.
    not_its = control.fileno(), report
    flags = sum(namespace_flags(plan.spec).values()) | (CLONE_PARENT if sibling else 0)
    # A signal that arrives between clone and the init's own mask would run the caller's handlers.
    mask = sigprocmask(signal.SIG_BLOCK, ALL_SIGNALS)
    helper = 0
    try:
        program = _load_program(plan, remote, remote_report, stdio, not_its)
        if plan.spec.network == "shared":
            pid, pidfd, helper = _clone_beside(program, flags, join, cgroup, sibling=sibling)
        else:
            pid, pidfd = clone3(flags, 0 if sibling else signal.SIGCHLD, cgroup)
            if pid == 0:
                run_init(program)
    except BaseException as error:
        control.close()
        os.close(report)
        sigprocmask(signal.SIG_SETMASK, mask)
        if isinstance(error, OSError):
            refusal = SetupError(CLONE_STEP, error.errno or 0)
            raise explain_refusal(refusal, plan.spec) from error
        raise
    finally:
        remote.close()
        os.close(remote_report)
    launched = Launch(pid, pidfd, control, report, plan.notes)
    launched.helper = helper if sibling else 0
    try:
        sigprocmask(signal.SIG_SETMASK, mask)  # here, a signal's handler may raise
        hand_over(launched, plan, stdio)
    except BaseException:
        launched.close()  # the init sees that its socket is closed, and ends
        if not sibling:
            os.waitpid(pid, 0)
        raise
    return launched


def _load_program(
    plan: Plan,
    control: socket.socket,
    report: int,
    stdio: Sequence[int],
    not_its: tuple[int, ...],
) -> Program:
    """Put into memory what the init, which has the same memory, is to do."""
    tape = make_program(plan, control.fileno(), stdio, not_its)
    program = Program(control, report, lambda: Prepared(plan, stdio, tape.segments))
    check_size(tape, plan.spec)
    load(tape, program.setup)
    return program


def check_size(tape: Tape, spec: ContainerSpec) -> None:
    """Refuse a command that takes more memory than there is for it.

    Raises:
        CommandError: E2BIG, as of execve(2).
    """
    if not fits(tape):
        raise CommandError(spec.argv[0], E2BIG, NOT_EXECUTABLE)


def explain_refusal(error: SetupError, spec: ContainerSpec) -> SetupError:
    """Return what it means that an init could not be cloned."""
    hint = _CGROUP_REFUSALS.get(error.errno, "")
    if spec.limits is None or error.step != CLONE_STEP or not hint:
        return error
    return SetupError("clone into the container's cgroup", error.errno, hint=hint)


def _clone_beside(
    program: Program, flags: int, join: Sequence[int], cgroup: int, *, sibling: bool
) -> tuple[int, int, int]:
    """Clone from a short-lived child that has joined another container's namespaces.

    Nobody comes back from a user namespace, hence the child. What it clones is its sibling.

    Returns:
        The pid and pidfd of the init, and the pid of the child; in the init this does not return.

    Raises:
        SetupError: What was given are no namespaces, or the kernel refused another step.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = CLONE_PARENT if sibling else 0
    helper, helper_fd = clone3(parent, 0 if sibling else signal.SIGCHLD)
    if helper == 0:
        _be_helper(program, flags | CLONE_PARENT, join, cgroup, theirs)
    os.close(helper_fd)
    theirs.close()
    answer, fds = receive_with_fds(ours, _MAX_ANSWER, 1)
    ours.close()
    if not sibling:
        os.waitpid(helper, 0)
    if not fds:
        step, _, errno = answer.partition(b"\0")
        refusal = SetupError((step or _JOIN).decode(), int(errno or 0))
        raise explain_refusal(refusal, program.plan.spec)
    return int(answer), fds[0], helper


def _be_helper(
    program: Program, flags: int, join: Sequence[int], cgroup: int, answers: socket.socket
) -> None:
    """Join, clone, and tell; does not return."""
    step = _JOIN
    try:
        for fd in join if program.plan.mapping is not None else join[1:]:
            setns(fd)
        step = CLONE_STEP.encode()
        pid, pidfd = clone3(flags, 0, cgroup)
        if pid == 0:
            run_init(program)
        send_with_fds(answers, b"%d" % pid, [pidfd])
    except OSError as error:
        answers.send(b"%s\0%d" % (step, error.errno or 0))
    finally:
        os._exit(0)


def check_one_thread() -> None:
    """Refuse to clone from a process with several threads.

    Raises:
        SetupError: A lock that another thread holds would never be released in the child.
    """
    threads = _count_threads()
    if threads > 1:
        deadline = time.monotonic() + _JOINED_S
        while threads > 1 and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            threads = _count_threads()
    if threads > 1:
        raise SetupError(
            f"clone from a process with {threads} threads",
            hint="start a ForkServer before the first thread, and spawn through it",
        )


def _count_threads() -> int:
    try:
        return os.stat("/proc/self/task").st_nlink - 2  # a directory for each
    except OSError as error:
        hint = "mount proc on /proc"
        raise SetupError("count threads in ", error.errno or 0, "/proc/self/task", hint) from error


def hand_over(launched: Launch, plan: Plan, stdio: Sequence[int]) -> None:
    """Do what the init can't, and tell it to go on, or why it can't."""
    mapping, trees = plan.mapping, list[int]()
    try:
        if plan.spec.is_scheduled:
            from .scheduling import schedule

            schedule(launched.pid, plan.spec)
        if mapping is not None:
            if plan.spec.network != "shared":
                write_user_mapping(launched.pid, mapping)
            if os.geteuid() == 0 and mapping.root_uid != 0:
                own_pipes(stdio, mapping.root_uid, mapping.root_gid)
                trees = _open_mapped_trees(launched.pid, plan, mapping)
        send_go(launched.control, trees)
    except SetupError as error:
        send_refusal(launched.control, error)
    except BrokenPipeError:
        pass  # the init has failed already, and its report says why
    except OSError as error:
        refusal = SetupError("hand over what is the host's", error.errno or 0)
        send_refusal(launched.control, refusal)
    finally:
        for tree in trees:
            os.close(tree)


def _open_mapped_trees(pid: int, plan: Plan, mapping: UserMapping) -> list[int]:
    """Clone what the container is to see of the host, owners translated for its user namespace."""
    trees: list[int] = []
    if not plan.sources:
        return trees
    userns = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for source in plan.sources:
            try:
                trees.append(open_source(source, userns))
            except OSError as error:
                hint = "its file system, or one below, can't; --userns host does without"
                raise SetupError(
                    f"map owners to {mapping.root_uid} and up in ",
                    error.errno or 0,
                    source.path,
                    hint if error.errno == EINVAL else "",
                ) from error
    except BaseException:
        for tree in trees:
            os.close(tree)
        raise
    finally:
        os.close(userns)
    return trees


def check_handed_on(
    spec: ContainerSpec, stdio: Sequence[int], namespaces: Sequence[int], cgroup: int = -1
) -> None:
    """Refuse to make a container without what its spec takes: it would have the caller's instead.

    Raises:
        SetupError: A descriptor is not open, or there are too few or too many.
    """
    count = 3 if spec.ready_fd is None else 4
    if len(stdio) != count:
        hint = f"with{'out' if spec.ready_fd is None else ''} a ready descriptor it takes {count}"
        raise SetupError(f"hand on {len(stdio)} descriptors", hint=hint)
    if spec.network != "shared" and namespaces:
        raise SetupError("share a network", hint=f"the spec's is {spec.network!r}, not 'shared'")
    if spec.network == "shared" and len(namespaces) != _SHARED:
        raise SetupError(
            "share a network",
            hint="ForkServer.request takes the two namespaces of the container that has it",
        )
    if (spec.limits is None) != (cgroup < 0):
        hint = "a spec with limits goes with a cgroup, and one without limits without"
        raise SetupError("limit a container", hint=hint)
    check_open([*stdio, *namespaces])


def check_open(fds: Iterable[int]) -> None:
    """Refuse to hand on what is not open.

    Raises:
        SetupError: One of the descriptors is not.
    """
    for fd in fds:
        try:
            os.get_inheritable(fd)  # asks no file system, which may not answer
        except OSError as error:
            raise SetupError(f"hand on descriptor {fd}", error.errno or 0) from error


def open_channels() -> tuple[socket.socket, socket.socket, int, int]:
    """Open the two ends of the control socket, and those of the report."""
    fds: list[int] = []
    try:
        fds += os.pipe2(os.O_CLOEXEC)
        fds += (end.detach() for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        for index, fd in enumerate(fds):
            fds[index] = above_stdio(fd)
    except OSError as error:
        for fd in fds:
            os.close(fd)
        raise SetupError("open a pipe to the init", error.errno or 0) from error
    report, remote_report, control, remote = fds
    return socket.socket(fileno=control), socket.socket(fileno=remote), report, remote_report


def above_stdio(fd: int) -> int:
    """Return a descriptor out of the command's way, should the caller have closed its own."""
    if fd >= _FIRST_FREE_FD:
        return fd
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD)
    os.close(fd)
    return moved


def open_pair(kind: int) -> tuple[socket.socket, socket.socket]:
    """Open a socket pair out of the way of 0, 1 and 2, should the caller have closed those.

    Raises:
        SetupError: There is no room for it.
    """
    try:
        ends = [above_stdio(end.detach()) for end in socket.socketpair(socket.AF_UNIX, kind)]
    except OSError as error:
        raise SetupError("open a socket to the fork server", error.errno or 0) from error
    ours, theirs = (socket.socket(fileno=end) for end in ends)
    return ours, theirs
