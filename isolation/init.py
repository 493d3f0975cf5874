"""PID 1 of a container: builds it, starts the command, forwards signals, reaps, and ends it all.

It is a fork of the Python process that made the container, or of a fork server's `cloner`, and
never executes anything, so all that it may need was imported before pivot_root took the standard
library away. It is not dumpable: root in the container can neither trace it nor read its memory,
environment or descriptors through /proc. It has a death signal, so that a parent that is killed
takes the container with it; the kernel then kills whatever is in the PID namespace.

All signals stay blocked in it, and are taken one at a time with sigwaitinfo(2): a blocked signal
reaches even PID 1, no handler runs in the middle of anything, and none is lost between two waits.

Source: pid_namespaces(7), prctl(2) PR_SET_PDEATHSIG and PR_SET_DUMPABLE, signal(7).
"""

import _signal as signal
import _socket as socket
import gc
import os
import time
from _collections_abc import Callable, Sequence
from errno import ENOMEM
from struct import Struct

from .command import execute, make_env
from .errors import IsolationError, SetupError
from .exit_status import ExitStatus, read_status
from .forwarding import forward
from .handshake import (
    render_failure,
    send_exit,
    send_failure,
    send_notify,
    send_stopped,
    send_survivors,
    send_terminal,
)
from .memory import FAILED, leads_to, read_head, walk
from .namespaces import NOTIFY
from .privileges import inner_namespace_flags
from .program import (
    ASKED,
    BECOME,
    BUILD,
    COMMAND,
    EXECUTE,
    ISOLATED,
    RELEASE,
    ROOT,
    SIGNAL,
    WAIT,
    Program,
    become_command,
    execute_command,
    explain_clone,
    explain_start,
    place_command,
    release,
    settle,
)
from .requests import NEWS
from .steps import Setup
from .survivors import list_container, list_descendants, read_title
from .syscalls import leave_perf
from .tape import extend, perform
from .terminal import copy_size, find_terminal, make_controlling_terminal
from .users import User, look_up_user

# As bare numbers: each named one is an object, and would be copied.
_SIGNALS = tuple(map(int, signal.valid_signals()))
_NEWS, _ENDS = (NEWS,), (int(signal.SIGCHLD),)
_TOLD = NEWS, int(signal.SIGIO)
_INFO = Struct("3i")  # what a siginfo_t begins with: number, error, code
_SETUP_FAILED = 125
# Rendered while there is some.
_NO_MEMORY = render_failure(SetupError("start the command", ENOMEM))


def run_init(program: Program, walk_first: Callable[[], None] | None = None) -> None:
    """Be the init of a container; does not return.

    Args:
        program: What it is to do.
        walk_first: Raises what has come of the first walk, if that has been done.
    """
    gc.disable()  # a collection would touch, and so copy, every object that the parent made
    leave_perf()
    report, code = program.report, _SETUP_FAILED
    try:
        code = _run(program, walk_first or _walk_first).shell_code
    except EOFError:
        pass  # the parent is gone: nobody is left to tell
    except IsolationError as error:
        send_failure(report, error)
    except OSError as error:
        send_failure(report, SetupError("start the command", error.errno or 0))
    except MemoryError:
        os.write(report, _NO_MEMORY)
    except BaseException as error:  # noqa: BLE001 - the process ends right after it
        send_failure(report, SetupError(f"go on after {error!r}"))
    finally:
        if not read_head(ISOLATED):
            _signal_descendants(signal.SIGKILL)  # one that waits to be let go on, above all
        os._exit(code)


def _run(program: Program, walk_first: Callable[[], None]) -> ExitStatus:
    try:
        is_whole = _build(program, walk_first)
    except BaseException as error:
        if COMMAND.value == 0:
            _end_command(program, error)
        raise
    if COMMAND.value == 0:
        _end_command(program)
    if NOTIFY.value >= 0:
        send_notify(program.control, NOTIFY.value)
    if NOTIFY.value >= 0 or not is_whole:
        walk(read_head(RELEASE))
    if ASKED.value:
        _serve(program)
    status, alone = _wait_for_command(COMMAND.value, program)
    send_exit(program.control, status)
    if not alone:
        _end_what_is_left(program)
    return status


def _build(program: Program, walk_first: Callable[[], None]) -> bool:
    """Do all up to the clone of the command, and in that, its own part.

    That returns only if nothing could be executed.

    Returns:
        Whether all was known before: then the walk goes on, up to what wakes the init first.
    """
    is_whole = read_head(EXECUTE) != 0
    try:
        walk_first()
    except OSError as error:
        if COMMAND.value < 0:
            raise program.explain(error) from error
        raise
    if not is_whole:
        _look_inside(program)
    return is_whole


def _walk_first() -> None:
    walk(read_head(BUILD))


def _look_inside(program: Program) -> None:
    """Prepare and do what depends on the container's own files, or on its terminal."""
    plan, setup, stdio = program.plan, program.setup, program.prepared.stdio
    control = program.control.fileno()
    user = plan.user = plan.user or look_up_user(plan.spec.user, plan.home_uid)
    *calls, clone = settle(plan.strings, inner_namespace_flags(plan.mapping), plan.spec.umask)
    perform(calls)
    if setup.slave_fd >= 0:
        stdio = _hand_out_terminal(setup, program.control, stdio, user)
    placed = place_command(stdio, plan.spec.ready_fd)
    extend(BECOME, [call for calls in become_command(plan, user, placed) for call in calls])
    extend(EXECUTE, execute_command(plan, user))
    extend(RELEASE, release(plan.mapping, control, setup.slave_fd), at_zero=WAIT)
    try:
        perform([clone])
    except OSError as error:
        raise explain_clone(error, plan.mapping) from error
    if COMMAND.value == 0:
        walk(read_head(BECOME))
        walk(read_head(EXECUTE))


def _end_command(program: Program, failure: BaseException | None = None) -> None:
    """Say why the fork of the init did not become the command; does not return."""
    report = program.report
    try:
        _execute_again(program, failure)
    except IsolationError as error:
        send_failure(report, error)
    except OSError as error:
        send_failure(report, explain_start(error, program.plan))
    except MemoryError:
        os.write(report, _NO_MEMORY)
    except BaseException as error:  # noqa: BLE001 - the process ends right after it
        send_failure(report, SetupError(f"start the command after {error!r}"))
    finally:
        os._exit(_SETUP_FAILED)


def _execute_again(program: Program, failure: BaseException | None) -> None:
    """Execute the command with a look at what is in the way, if it came to that at all."""
    if failure is not None and not leads_to(read_head(EXECUTE), FAILED.value):
        raise failure
    plan = program.plan
    execute(plan.spec.argv, make_env(plan.spec, plan.user or ROOT), guarded=plan.guarded)


def _hand_out_terminal(
    setup: Setup, control: socket.socket, stdio: Sequence[int], user: User
) -> tuple[int, ...]:
    """Let the terminal control the session, and put it in the place of the caller's."""
    callers = find_terminal(stdio)
    if callers:
        copy_size(callers[0], setup.slave_fd)  # before anybody is told of a change
    make_controlling_terminal(setup.slave_fd)
    os.fchown(setup.slave_fd, user.uid, -1)
    send_terminal(control, setup.master_fd)
    return tuple(setup.slave_fd if fd in callers else fd for fd in stdio)


def _wait_for_command(command: int, program: Program) -> tuple[ExitStatus, bool]:
    """Forward signals, reap, and do what is asked for, until the command has ended.

    Returns:
        How, and whether nothing is left.
    """
    number, _, code = _INFO.unpack_from(SIGNAL.raw)  # what the tape has waited for, if it has
    while True:
        if not number:
            info = signal.sigwaitinfo(_SIGNALS)
            number, code = info.si_signo, info.si_code
        # The lowest number comes first: whoever inside sends many must not keep these waiting.
        if number not in _NEWS and signal.sigtimedwait(_NEWS, 0) is not None:
            _serve(program)
        is_end = number == signal.SIGCHLD
        if is_end or signal.sigtimedwait(_ENDS, 0) is not None:
            status, alone = _reap(command, program)
            if status is not None:
                return status, alone
        if number in _TOLD:
            # Somebody's SIGIO that was pending has swallowed the kernel's, which tells of requests.
            _serve(program)
        if not is_end and not (number in _TOLD and code > 0):
            forward(number, command)
        number = 0


def _serve(program: Program) -> None:
    """Carry out what the parent has asked for; end it all if the parent is gone, or asks for it.

    Raises:
        EOFError: Nobody holds the container any more, such as where who made it was killed before
            it could hand it over. As the init ends, the kernel kills the rest.
    """
    if program.desk.serve():
        return
    if read_head(ISOLATED):
        raise EOFError
    _signal_descendants(signal.SIGKILL)  # what the kernel does for a container


def _reap(command: int, program: Program) -> tuple[ExitStatus | None, bool]:
    """Collect whoever ended.

    Returns:
        The command's status if it was among them, and whether the init is alone now: whoever loses
        its parent becomes a child of it.
    """
    status = None
    while True:
        try:
            result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WSTOPPED | os.WNOHANG)
        except ChildProcessError:
            return status, True
        if result is None:
            return status, False
        ours = result.si_pid == command
        if result.si_code == os.CLD_STOPPED:
            if ours:
                send_stopped(program.control, result.si_status)
            else:
                program.tell_stop(result.si_pid, result.si_status)
            continue
        if ours:
            status = read_status(result)
        else:
            program.tell_end(result.si_pid, read_status(result))


def _end_what_is_left(program: Program) -> None:
    """Ask the rest to end, and wait; what is still there when the init ends, the kernel kills."""
    program.desk.close()
    _serve(program)  # what was asked before: what it stops has to go on, too
    isolate = program.plan.spec.isolate
    if not program.desk.killing:
        send = _signal_container if isolate else _signal_descendants
        send(signal.SIGTERM)
        send(signal.SIGCONT)  # what is stopped could not end otherwise
    deadline = time.monotonic() + program.plan.spec.grace
    while not program.desk.killing and (remaining := deadline - time.monotonic()) > 0:
        try:
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)) is not None:
                program.tell_end(ended.si_pid, read_status(ended))
        except ChildProcessError:
            return
        _serve(program)
        signal.sigtimedwait({signal.SIGCHLD, signal.SIGIO, NEWS}, remaining)
    if not program.desk.killing:
        pids = list_container() if isolate else list_descendants(os.getpid())
        titles = ((pid, read_title(pid)) for pid in pids)
        send_survivors(program.control, ((pid, title) for pid, title in titles if title))
    # Again and again: what is just being forked was not among them the first time.
    while not isolate and _signal_descendants(signal.SIGKILL):
        os.waitid(os.P_ALL, 0, os.WEXITED)


def _signal_container(number: int) -> None:
    try:
        os.kill(-1, number)
    except ProcessLookupError:
        pass  # the init is alone


def _signal_descendants(number: int) -> int:
    """Send a signal to whatever the init started, and return how many processes got it."""
    told = 0
    for pid in list_descendants(os.getpid()):
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue  # reaped by its parent, or somebody else's by now, whom only root can end
        told += 1
    return told
