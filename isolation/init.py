"""PID 1 of a container: builds it, starts the command, forwards signals, reaps, and ends it all.

It is a fork of the Python process that made the container and never executes anything, so all that
it may need was imported before pivot_root took the standard library away. It is not dumpable: root
in the container can neither trace it nor read its memory, environment or descriptors through /proc.
It has a death signal, so that a parent that is killed takes the container with it; the kernel then
kills whatever is in the PID namespace.

All signals stay blocked in it, and are taken one at a time with sigwaitinfo(2): a blocked signal
reaches even PID 1, no handler runs in the middle of anything, and none is lost between two waits.

Source: pid_namespaces(7), prctl(2) PR_SET_PDEATHSIG and PR_SET_DUMPABLE, signal(7).
"""

import gc
import os
import signal
import socket
import time
from collections.abc import Sequence
from errno import ENOMEM

from .command import change_directory, execute, place_stdio
from .errors import IsolationError, SetupError
from .exit_status import ExitStatus
from .handshake import (
    is_closed,
    receive_go,
    send_exit,
    send_failure,
    send_ready,
    send_stopped,
    send_terminal,
)
from .plan import Plan
from .privileges import (
    drop_capabilities,
    enter_inner_namespaces,
    map_inner_namespaces,
    own_pipes,
    reset_signals,
    set_rlimits,
)
from .process_title import overwrite_strings
from .spec import DEFAULT_PATH, ContainerSpec
from .steps import Setup
from .syscalls import (
    PR_SET_DUMPABLE,
    PR_SET_PDEATHSIG,
    clone3,
    close_all_but,
    join_session_keyring,
    prctl,
    set_default_action,
    set_process_name,
)
from .terminal import copy_size, find_terminal, make_controlling_terminal, take_foreground
from .users import User, become, look_up_user

_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
_TO_THE_GROUP = {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGCONT}
_SETUP_FAILED = 125
_UMASK = 0o022
_LAST_STANDARD_FD = 2
_ROOT = User(0, 0, (), "/")
_TITLE = "mocker-init"


def run_init(plan: Plan, control: socket.socket, report: int, stdio: Sequence[int]) -> None:
    """Be the init of a container, from the first instruction after clone; does not return.

    Args:
        plan: What to do.
        control: To the parent, see `handshake`.
        report: Where a failure is written to.
        stdio: The command's standard input, output and error.
    """
    gc.disable()  # a collection would touch, and so copy, every object that the parent made
    code = _SETUP_FAILED
    try:
        _occupy_standard_descriptors()
        code = _run(plan, control, report, stdio).shell_code
    except EOFError:
        pass  # the parent is gone: nobody is left to tell
    except IsolationError as error:
        send_failure(report, error)
    except OSError as error:
        send_failure(report, SetupError("start the command", error.errno or 0))
    except MemoryError:
        send_failure(report, SetupError("start the command", ENOMEM))
    except BaseException as error:  # noqa: BLE001
        send_failure(report, SetupError(f"go on after {error!r}"))
    finally:
        os._exit(code)


def _run(plan: Plan, control: socket.socket, report: int, stdio: Sequence[int]) -> ExitStatus:
    spec, mapping = plan.spec, plan.mapping
    set_default_action(signal.SIGCHLD)  # ignored, as some callers have it, nobody is waited for
    setup = Setup(mapping, plan.sources, receive_go(control))
    if mapping is not None:
        become(_ROOT, mapping)
    _die_with_parent(control)
    os.umask(0)
    _perform(plan, setup)
    os.umask(_UMASK)
    user = look_up_user(spec.user, plan.home_uid)
    env = _make_env(spec, user)
    stdio = _lead_session(setup, control, stdio, user)
    set_process_name(_TITLE)
    overwrite_strings(plan.strings, _TITLE)
    ours, theirs = socket.socketpair()
    prctl(PR_SET_DUMPABLE, 0)
    command, _ = clone3(0, signal.SIGCHLD)
    if command == 0:
        _become_command(plan, user, env, stdio, report, theirs)
    theirs.close()
    if mapping is not None:
        map_inner_namespaces(ours, command, mapping)
    ours.close()
    send_ready(control)
    close_all_but(control.fileno(), setup.slave_fd)
    status = _wait_for_command(command, control)
    send_exit(control, status)
    _end_what_is_left(spec.grace)
    return status


def _occupy_standard_descriptors() -> None:
    """Let nothing of the init's have a number that the command's own will get."""
    while (fd := os.open("/", os.O_PATH | os.O_CLOEXEC)) <= _LAST_STANDARD_FD:
        pass
    os.close(fd)


def _become_command(
    plan: Plan,
    user: User,
    env: dict[str, str],
    stdio: Sequence[int],
    report: int,
    sync: socket.socket,
) -> None:
    """Turn the fork of the init into the command; does not return."""
    spec, mapping = plan.spec, plan.mapping
    try:
        os.setpgid(0, 0)
        place_stdio(stdio)
        if mapping is not None:
            enter_inner_namespaces(sync)
        else:
            drop_capabilities()
        if spec.terminal:
            take_foreground()
        become(user, mapping)
        join_session_keyring()
        change_directory(plan.workdir, needed=spec.workdir is not None)
        set_rlimits(plan.rlimits)
        reset_signals(plan.changed_signals)
        execute(spec.argv, env)
    except EOFError:
        pass  # the init has failed, and says why itself
    except IsolationError as error:
        send_failure(report, error)
    except OSError as error:
        send_failure(report, SetupError("start the command", error.errno or 0))
    except BaseException as error:  # noqa: BLE001
        send_failure(report, SetupError(f"start the command after {error!r}"))
    finally:
        os._exit(_SETUP_FAILED)


def _die_with_parent(control: socket.socket) -> None:
    """Arm the death signal after the last change of credentials, which would clear it."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # getppid() says 0 in a new PID namespace, so a parent that died before is seen by its socket.
    if is_closed(control):
        raise EOFError


def _perform(plan: Plan, setup: Setup) -> None:
    for step in plan.steps:
        try:
            step.perform(setup)
        except OSError as error:
            raise SetupError(step.action, error.errno or 0, step.path) from error


def _lead_session(
    setup: Setup, control: socket.socket, stdio: Sequence[int], user: User
) -> Sequence[int]:
    """Leave the caller's session, so that nothing can be typed into its terminal from here.

    With a terminal of the container's, it controls the new session, its other side goes to the
    parent, and it replaces the caller's on the standard descriptors.
    """
    os.setsid()
    if user.uid:
        own_pipes(stdio, user.uid, user.gid)
    if setup.slave_fd < 0:
        return stdio
    callers = find_terminal(stdio)
    if callers:
        copy_size(callers[0], setup.slave_fd)  # before anybody is told of a change
    make_controlling_terminal(setup.slave_fd)
    os.fchown(setup.slave_fd, user.uid, -1)
    send_terminal(control, setup.master_fd)
    return [setup.slave_fd if fd in callers else fd for fd in stdio]


def _make_env(spec: ContainerSpec, user: User) -> dict[str, str]:
    return {
        "PATH": DEFAULT_PATH,
        "HOME": user.home,
        "TERM": "xterm" if spec.terminal else "dumb",
        "HOSTNAME": spec.hostname,
        **spec.env,
    }


def _wait_for_command(command: int, control: socket.socket) -> ExitStatus:
    """Forward signals and reap, until the command has ended."""
    while True:
        number = signal.sigwaitinfo(_SIGNALS).si_signo
        if number == signal.SIGCHLD:
            status = _reap(command, control)
            if status is not None:
                return status
        else:
            _forward(number, command)


def _forward(number: int, command: int) -> None:
    """Send a signal on, as a terminal would where it is one that terminals send."""
    if number in _TO_THE_GROUP:
        try:
            os.killpg(command, number)
        except ProcessLookupError:
            pass  # the command went into another group; it is told by itself
        else:
            return
    os.kill(command, number)  # not reaped yet, so it is there, if only as a zombie


def _reap(command: int, control: socket.socket) -> ExitStatus | None:
    """Collect whoever ended; return the command's status if it was among them."""
    status = None
    while True:
        try:
            result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WSTOPPED | os.WNOHANG)
        except ChildProcessError:
            return status
        if result is None:
            return status
        if result.si_pid != command:
            continue
        if result.si_code == os.CLD_STOPPED:
            send_stopped(control, result.si_status)
        elif result.si_code == os.CLD_EXITED:
            status = ExitStatus(code=result.si_status)
        else:
            status = ExitStatus(signal=result.si_status)


def _end_what_is_left(grace: float) -> None:
    """Ask the rest to end, and wait; what is still there when the init ends, the kernel kills."""
    try:
        os.kill(-1, signal.SIGTERM)
        os.kill(-1, signal.SIGCONT)  # what is stopped could not end otherwise
    except ProcessLookupError:
        return
    deadline = time.monotonic() + grace
    while (remaining := deadline - time.monotonic()) > 0:
        try:
            while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is not None:
                pass
        except ChildProcessError:
            return
        signal.sigtimedwait({signal.SIGCHLD}, remaining)
