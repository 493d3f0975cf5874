"""What a container's init and its command do besides the plan's steps, as a tape of calls.

The init, in order: `begin`, the steps of the plan, `settle`, the clone of the command, `release`,
and a wait for the first signal.
The command: `become_command`. Who the command is may depend on a file of the container's, and on
its terminal; then `settle` and what follows, but for the wait, are prepared by the init, which has
both.

Source: prctl(2) PR_SET_PDEATHSIG and PR_SET_DUMPABLE, credentials(7).
"""

import _socket as socket
from _collections_abc import Callable, Sequence
from _signal import SIGCHLD, SIGKILL
from errno import EAGAIN, EDQUOT, EMFILE, ENFILE, ENOMEM

from .calls import (
    check_message,
    close,
    close_range,
    eventfd,
    has_failed,
    poll,
    read,
    recv,
    request_signal,
    send,
    then,
    write,
)
from .command import Program as Guarded
from .command import make_env, place_stdio, try_execute
from .confinement import (
    becomes_user,
    confine,
    find_doubt,
    needs_own_host_name,
    needs_own_pipes,
)
from .desk import Desk
from .errors import SetupError
from .exit_status import ExitStatus
from .handshake import GO, MAX_FAILURE, READY, check_go, receive_go
from .hints import KEYRING_STEP
from .memory import FAILED, Buffer, Cell
from .plan import Plan
from .privileges import (
    inner_namespace_flags,
    map_inner_namespace,
    own_host_name,
    own_pipes,
)
from .process_calls import (
    clone3,
    default_action,
    join_session_keyring,
    prctl,
    set_process_name,
    setpgid,
    setsid,
    umask,
    wait_for_signal,
)
from .process_title import overwrite_strings
from .requests import NEWS
from .steps import Setup
from .syscalls import PR_SET_CHILD_SUBREAPER, PR_SET_DUMPABLE, PR_SET_PDEATHSIG
from .tape import Call, Segment, Tape, keep, keep_own, make_tape
from .terminal import take_foreground
from .user_mapping import UserMapping
from .users import User, become

# The groups of calls on the tape.
BUILD, BECOME, EXECUTE, RELEASE, WAIT = range(5)
# What else its head has: whether there is a container at all.
ISOLATED = 5

ROOT = User(0, 0, (), "/")
_TITLE = "mocker-init"
COMMAND = Cell(shared=True)  # the pid of the command's process in the init, 0 in that itself
_FIRST = Buffer(MAX_FAILURE, shared=True)  # what the parent says first
_FIRST_SIZE = Cell(0, shared=True)
ASKED = Cell(0, shared=True)  # whether the parent asked for something before it could be heard
# What the init has waited for: the number of a signal, an error and a code come first.
SIGNAL = Buffer(128, shared=True)
_GATE = Cell(shared=True)  # what the command waits at until the init has given it its IDs
_BEGUN, _STEPS_FROM = 1, 2  # which segments of BUILD
_SHORTAGES = {EAGAIN, EMFILE, ENFILE, ENOMEM}
_ONE = (1).to_bytes(8, "little")  # as eventfd(2) counts; never zero in either byte order


class Program:
    """What an init is to do, from the side of the init.

    Attributes:
        control: To the parent, see `handshake`.
        report: Where a failure is written to.
    """

    __slots__ = ("_desk", "_prepared", "_receive", "_setup", "control", "report")

    def __init__(
        self, control: socket.socket, report: int, receive: "Callable[[], Prepared]"
    ) -> None:
        """Describe it.

        Args:
            control: To the parent.
            report: Where a failure is written to.
            receive: Returns what is known besides the tape; called once, where it is needed.
        """
        self.control, self.report, self._receive = control, report, receive
        self._prepared: Prepared | None = None
        self._setup: Setup | None = None
        self._desk: Desk | None = None

    @property
    def prepared(self) -> "Prepared":
        """What is known besides the tape."""
        if self._prepared is None:
            self._prepared = self._receive()
        return self._prepared

    @property
    def plan(self) -> Plan:
        """The plan of the container."""
        return self.prepared.plan

    @property
    def setup(self) -> Setup:
        """What the steps hand on to one another."""
        if self._setup is None:
            self._setup = Setup(self.plan.mapping, self.plan.sources, self.control)
        return self._setup

    @property
    def desk(self) -> Desk:
        """Where requests of the parent are taken."""
        if self._desk is None:
            self._desk = Desk(self.plan, self.control, COMMAND)
        return self._desk

    def tell_end(self, pid: int, status: ExitStatus) -> None:
        """Answer whoever asked for a process that it has ended."""
        if self._desk is not None:
            self._desk.tell_end(pid, status)

    def tell_stop(self, pid: int, number: int) -> None:
        """Tell whoever asked for a process that a signal has stopped it."""
        if self._desk is not None:
            self._desk.tell_stop(pid, number)

    def explain(self, error: OSError) -> SetupError:
        """Return which part of BUILD has failed.

        Raises:
            EOFError: The parent was gone before it said "go".
            IsolationError: It said that it could not do its part.
        """
        if not self.plan.sources:
            check_go(_FIRST.raw[: _FIRST_SIZE.value])
        part = self.prepared.find_part(FAILED.value)
        if part == _BEGUN and error.errno == EDQUOT:
            return SetupError(KEYRING_STEP, EDQUOT)
        if part == _BEGUN:
            # Who lacks the right to become root fails at the first of these calls.
            return SetupError(f"set the groups of user {ROOT.uid}", error.errno or 0)
        if part - _STEPS_FROM < len(self.plan.steps):
            step = self.plan.steps[part - _STEPS_FROM]
            return SetupError(step.action, error.errno or 0, step.path)
        return explain_clone(error, self.plan.mapping)


class Prepared:
    """What is known of a program besides its tape.

    Attributes:
        plan: Of the container.
        stdio: Three descriptors for the command, and a fourth with `ContainerSpec.ready_fd`.
        parts: Where the records of each part of BUILD begin and end: two parts, the steps of the
            plan, and one more where all is known up to the clone of the command.
    """

    __slots__ = ("parts", "plan", "stdio")

    def __init__(self, plan: Plan, stdio: Sequence[int], parts: Sequence[Sequence[int]]) -> None:
        self.plan, self.stdio, self.parts = plan, tuple(stdio), parts

    def find_part(self, place: int) -> int:
        """Return the number of the part that a record belongs to."""
        return next(n for n, (begin, end) in enumerate(self.parts) if begin <= place < end)


def make_program(
    plan: Plan,
    control: int,
    stdio: Sequence[int],
    not_its: tuple[int, ...] = (),
    *,
    lasting: bool = False,
) -> Tape:
    """Lay out what the init of a container does, and its command.

    Args:
        plan: Of the container.
        control: The descriptor to the parent.
        stdio: Those for the command.
        not_its: Open ones that the init closes at once.
        lasting: Whether all of them have these numbers in each container.
    """
    hold = keep if lasting else keep_own
    build: list[Segment] = [
        hold(_wait_for_trees, not_its) if plan.sources else hold(_wait_for_go, control, not_its),
        keep(_begin, plan.mapping, plan.spec.isolate),
        *(step.calls for step in plan.steps),
    ]
    groups: list[list[Segment]] = [build, [], [], [], [keep(_wait)]]
    if plan.user is not None and not plan.spec.terminal:
        build.append(
            keep(settle, plan.strings, inner_namespace_flags(plan.mapping), plan.spec.umask)
        )
        placed = hold(place_command, tuple(stdio), plan.spec.ready_fd)
        groups[BECOME] = become_command(plan, plan.user, placed)
        groups[EXECUTE] = [execute_command(plan, plan.user)]
        groups[RELEASE] = [hold(release, plan.mapping, control)]
    tape = make_tape(groups)
    if groups[EXECUTE]:
        # Who is to be told of the command has something to send before it goes on.
        tape.join(BUILD, RELEASE if plan.spec.notify is None else None, at_zero=BECOME)
        tape.join(BECOME, EXECUTE)
        tape.join(RELEASE, at_zero=WAIT)
    tape.set_head(ISOLATED, plan.spec.isolate)
    return tape


def explain_clone(error: OSError, mapping: UserMapping | None) -> SetupError:
    """Return what it means that the command could not be cloned."""
    # What has run out is not the namespaces' own; a limit on those is ENOSPC or EUSERS.
    namespaces = mapping is not None and error.errno not in _SHORTAGES
    step = "create namespaces" if namespaces else "start the command"
    return SetupError(step, error.errno or 0)


def explain_start(error: OSError, plan: Plan) -> SetupError:
    """Return what it means that the clone did not become the command."""
    if has_failed("clone"):  # for a namespace more
        return explain_clone(error, plan.mapping)
    return SetupError("start the command", error.errno or 0, hint=find_doubt(plan))


def _wait_for_go(control: int, not_its: tuple[int, ...]) -> list[Call]:
    return [
        *map(close, not_its),
        recv(control, _FIRST, to=_FIRST_SIZE),
        # Anything else is a refusal, or nothing: then what is not mapped must not go on.
        *check_message(_FIRST, GO),
    ]


def _wait_for_trees(not_its: tuple[int, ...]) -> list[Call]:
    return [*map(close, not_its), then(_receive_trees, ...)]


def _begin(mapping: UserMapping | None, isolate: bool) -> list[Call]:
    if not isolate:
        # No PID namespace keeps together what the command starts: whatever loses its parent comes
        # to the init. That must outlive its own parent, to end them all.
        return [default_action(SIGCHLD), prctl(PR_SET_CHILD_SUBREAPER, 1)]
    return [
        # Ignored, as some callers have it, nobody is waited for.
        default_action(SIGCHLD),
        # While it is still its caller's user: that of root's containers, whom they all have in
        # common, may have as few keys as any other.
        *join_session_keyring(),
        *([] if mapping is None else become(ROOT, mapping)),
        # After the last change of credentials, which would clear it.
        prctl(PR_SET_PDEATHSIG, SIGKILL),
        umask(0),
    ]


def _receive_trees(setup: Setup) -> None:
    setup.trees = receive_go(setup.control)


def settle(strings: tuple[int, int, int], inner_flags: int, mask: int) -> list[Call]:
    """Return the init's calls between the last step and the clone of the command, and that.

    Args:
        strings: Where its command line is in memory.
        inner_flags: The namespaces of the command's own.
        mask: The permissions that new files do not get.
    """
    return [
        umask(mask),
        # So that nothing can be typed into the caller's terminal from here.
        setsid(),
        set_process_name(_TITLE),
        *overwrite_strings(strings, _TITLE),
        eventfd(to=_GATE),
        # What is not dumpable has a /proc directory of nobody's; the command's is to be written to.
        prctl(PR_SET_DUMPABLE, 1),
        clone3(inner_flags, SIGCHLD, to=COMMAND),
    ]


def release(mapping: UserMapping | None, control: int, kept: int = -1) -> list[Call]:
    """Return the init's calls after the clone of the command.

    Args:
        mapping: The IDs of the container.
        control: The socket to the parent.
        kept: One more descriptor that the init needs.
    """
    first, second = sorted((control, kept))
    closing = [close_range(0, first - 1)] if first > 0 else []
    if second - first > 1:
        closing.append(close_range(first + 1, second - 1))
    return [
        prctl(PR_SET_DUMPABLE, 0),
        *([] if mapping is None else map_inner_namespace(mapping)),
        # Each request sends a signal to this process; see `requests`.
        *request_signal(control, NEWS),
        # Fails if the parent died before the death signal was set; then nobody is let go on.
        send(control, READY),
        write(_GATE, _ONE),
        *closing,
        close_range(second + 1),
        poll(control, to=ASKED),  # is there a request already?
    ]


def _wait() -> list[Call]:
    return [wait_for_signal(SIGNAL)]


def place_command(stdio: tuple[int, ...], ready_fd: int | None) -> list[Call]:
    """Return the calls that give the command a process group and its descriptors."""
    return [setpgid(), *place_stdio(stdio, ready_fd)]


def become_command(plan: Plan, user: User, placed: Segment) -> list[Segment]:
    """Return the command's calls, from its clone up to its execution.

    Args:
        plan: Of the container.
        user: Whom to become.
        placed: What `place_command` returns.
    """
    spec = plan.spec
    segments: list[Segment] = [
        keep(_die_with_parent) if not spec.isolate else (),
        keep(_wait_for_ids),
        # Before the descriptors, of which it needs one for itself.
        keep(own_host_name) if needs_own_host_name(plan, user) else (),
        placed,
        keep(_own_pipes, user.uid, user.gid) if needs_own_pipes(plan, user) else (),
        [then(take_foreground)] if spec.terminal else (),
        *confine(
            plan,
            user if becomes_user(plan) else None,
            plan.workdir,
            needed=spec.workdir is not None,
            after_user=_die_with_parent() if not spec.isolate else (),
        ),
    ]
    return [calls for calls in segments if calls]


def execute_command(plan: Plan, user: User) -> Segment:
    """Return the command's last calls."""
    env = tuple(make_env(plan.spec, user).items())
    return keep_own(_execute, plan.spec.argv, env, plan.guarded)


def _die_with_parent() -> list[Call]:
    return [prctl(PR_SET_PDEATHSIG, SIGKILL)]


def _wait_for_ids() -> list[Call]:
    return [read(_GATE, Buffer(len(_ONE)))]


def _own_pipes(uid: int, gid: int) -> list[Call]:
    return [then(own_pipes, (0, 1, 2), uid, gid)]


def _execute(
    argv: tuple[str, ...], env: tuple[tuple[str, str], ...], guarded: Guarded | None
) -> list[Call]:
    return try_execute(argv, dict(env), guarded=guarded)
