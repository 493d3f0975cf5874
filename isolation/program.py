"""What a container's init and its command do besides the plan's steps, as prepared calls.

The init, in order: `begin`, the steps of the plan, `settle`, the clone of the command, `release`.
The command: `become_command`. Who the command is may depend on a file of the container's, and on
its terminal; then the last three are prepared by the init, which has both.

Lists that are the same for container after container are kept, so that a process that makes many
does not write to much of its memory for each: its children would have to copy that.

Source: prctl(2) PR_SET_PDEATHSIG and PR_SET_DUMPABLE, credentials(7).
"""

import _socket as socket
from _collections_abc import Callable, Hashable, Sequence
from _signal import SIGCHLD, SIGKILL
from errno import EAGAIN, EMFILE, ENFILE, ENOMEM

from .calls import (
    Call,
    chdir,
    check_message,
    clone3,
    close,
    close_range,
    default_action,
    eventfd,
    join_session_keyring,
    peek,
    prctl,
    read,
    recv,
    request_sigio,
    send,
    set_process_name,
    setpgid,
    setsid,
    then,
    umask,
    write,
)
from .command import change_directory, execute, make_env, place_stdio, try_execute
from .desk import Desk
from .errors import SetupError
from .handshake import GO, MAX_FAILURE, READY, check_go, receive_go
from .plan import Plan
from .privileges import (
    drop_capabilities,
    inner_namespace_flags,
    map_inner_namespace,
    own_pipes,
    reset_signals,
    set_rlimits,
)
from .process_title import overwrite_strings
from .steps import Setup
from .syscalls import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_PDEATHSIG,
    Cell,
    make_buffer,
)
from .terminal import take_foreground
from .user_mapping import UserMapping
from .users import User, become

_UMASK = 0o022
_ROOT = User(0, 0, (), "/")
_TITLE = "mocker-init"
COMMAND = Cell(-1)  # the pid of the command's process in the init, 0 in that itself
_FIRST = make_buffer(MAX_FAILURE)  # what the parent says first
_FIRST_SIZE = Cell(0)
ASKED = Cell(-1)  # whether the parent has asked for something before the init could hear it
_GATE = Cell(-1)  # what the command waits at until the init has given it its IDs
_BEGUN, _STEPS_FROM = 1, 2  # where in `build` is what
_SHORTAGES = {EAGAIN, EMFILE, ENFILE, ENOMEM}
_MOST_KEPT = 100  # lists of some ten calls each
_kept: dict[tuple[object, ...], list[Call]] = {}
_ONE = (1).to_bytes(8, "little")  # as eventfd(2) counts; never zero in either byte order


class Program:
    """What an init is to do, prepared before it is cloned.

    Attributes:
        plan: Of the container.
        control: To the parent, see `handshake`.
        report: Where a failure is written to.
        stdio: The command's standard input, output and error.
        setup: What the steps hand on to one another.
        desk: For what the parent asks of the init later.
        build: The init's calls, a list for each step of the plan, with two before them, and one
            behind them where all is known up to the clone of the command.
        become: The command's calls; empty where they can't be known.
        release: The init's calls after the clone of the command; likewise.
    """

    __slots__ = (
        "become",
        "build",
        "control",
        "desk",
        "plan",
        "release",
        "report",
        "setup",
        "stdio",
    )

    def __init__(
        self,
        plan: Plan,
        control: socket.socket,
        report: int,
        stdio: Sequence[int],
        not_its: tuple[int, ...] = (),
    ) -> None:
        self.plan, self.control, self.report = plan, control, report
        self.stdio = tuple(stdio)
        self.setup = Setup(plan.mapping, plan.sources)
        self.desk = Desk(plan, control, COMMAND)
        if plan.sources:
            wait = [*map(close, not_its), then(_receive_trees, self.setup, control)]
        else:
            wait = _keep(_wait_for_go, control.fileno(), not_its)
        self.build: list[Sequence[Call]] = [wait, _keep(_begin, plan.mapping, plan.spec.isolate)]
        self.build += [step.prepare(self.setup) for step in plan.steps]
        self.become, self.release = list[Call](), list[Call]()
        if plan.user is not None and not plan.spec.terminal:
            self.build.append(_keep(settle, plan.strings, inner_namespace_flags(plan.mapping)))
            self.become = become_command(plan, plan.user, self.stdio)
            self.release = _keep(release, plan.mapping, control.fileno())

    def explain(self, done: int, error: OSError) -> SetupError:
        """Return which step has failed.

        Args:
            done: How many lists of `build` were done with.
            error: What the kernel said.

        Raises:
            EOFError: The parent was gone before it said "go".
            IsolationError: It said that it could not do its part.
        """
        if not self.plan.sources:
            check_go(_FIRST.raw[: _FIRST_SIZE.value])
        if done == _BEGUN:
            # Who lacks the right to become root fails at the first of these calls.
            return SetupError(f"set the groups of user {_ROOT.uid}", error.errno or 0)
        if done - _STEPS_FROM < len(self.plan.steps):
            step = self.plan.steps[done - _STEPS_FROM]
            return SetupError(step.action, error.errno or 0, step.path)
        return explain_clone(error, self.plan.mapping)


def explain_clone(error: OSError, mapping: UserMapping | None) -> SetupError:
    """Return what it means that the command could not be cloned."""
    # What has run out is not the namespaces' own; a limit on those is ENOSPC or EUSERS.
    namespaces = mapping is not None and error.errno not in _SHORTAGES
    step = "create namespaces" if namespaces else "start the command"
    return SetupError(step, error.errno or 0)


def _wait_for_go(control: int, not_its: tuple[int, ...]) -> list[Call]:
    return [
        *map(close, not_its),
        recv(control, _FIRST, to=_FIRST_SIZE),
        # Anything else is a refusal, or nothing: then what is not mapped must not go on.
        *check_message(_FIRST, GO),
    ]


def _begin(mapping: UserMapping | None, isolate: bool) -> list[Call]:
    if not isolate:
        # No PID namespace keeps together what the command starts: whatever loses its parent comes
        # to the init. That must outlive its own parent, to end them all.
        return [default_action(SIGCHLD), prctl(PR_SET_CHILD_SUBREAPER, 1)]
    return [
        # Ignored, as some callers have it, nobody is waited for.
        default_action(SIGCHLD),
        *([] if mapping is None else become(_ROOT, mapping)),
        # After the last change of credentials, which would clear it.
        prctl(PR_SET_PDEATHSIG, SIGKILL),
        umask(0),
    ]


def _receive_trees(setup: Setup, control: socket.socket) -> None:
    setup.trees = receive_go(control)


def settle(strings: tuple[int, int, int], inner_flags: int) -> list[Call]:
    """Return the init's calls between the last step and the clone of the command, and that."""
    return [
        umask(_UMASK),
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
        # Each request sends SIGIO to this process; see `requests`. Is there one already?
        *request_sigio(control),
        peek(control, to=ASKED),
        # Fails if the parent died before the death signal was set; then nobody is let go on.
        send(control, READY),
        write(_GATE, _ONE),
        *closing,
        close_range(second + 1),
    ]


def become_command(plan: Plan, user: User, stdio: Sequence[int]) -> list[Call]:
    """Return the command's calls, from its clone to its execution."""
    spec, mapping, env = plan.spec, plan.mapping, make_env(plan.spec, user)
    if plan.workdir == "/":
        go = chdir("/")
    else:
        go = then(_change_directory, plan.workdir, spec.workdir is not None)
    return [
        *([] if spec.isolate else [prctl(PR_SET_PDEATHSIG, SIGKILL)]),
        *_keep(_place_command, tuple(stdio), spec.ready_fd),
        *([then(own_pipes, (0, 1, 2), user.uid, user.gid)] if user.uid else []),
        *([then(drop_capabilities)] if mapping is None and spec.isolate else []),
        *([then(take_foreground)] if spec.terminal else []),
        *(_keep(become, user, mapping) if spec.isolate or spec.user is not None else []),
        # Again, as the change of user has cleared it.
        *([] if spec.isolate else [prctl(PR_SET_PDEATHSIG, SIGKILL)]),
        *_keep(join_session_keyring),
        go,
        *([then(set_rlimits, plan.rlimits)] if plan.rlimits else []),
        *_keep(reset_signals, plan.changed_signals),
        then(execute, try_execute(spec.argv, env), spec.argv, env),
    ]


def _place_command(stdio: tuple[int, ...], ready_fd: int | None) -> list[Call]:
    return [read(_GATE, make_buffer(len(_ONE))), setpgid(), *place_stdio(stdio, ready_fd)]


def _change_directory(path: str, needed: bool) -> None:
    change_directory(path, needed=needed)


def _keep(prepare: Callable[..., list[Call]], *arguments: Hashable) -> list[Call]:
    """Return what a function prepares from these arguments, now or before."""
    key = prepare, *arguments
    if key not in _kept:
        if len(_kept) == _MOST_KEPT:
            _kept.clear()
        _kept[key] = prepare(*arguments)
    return _kept[key]
