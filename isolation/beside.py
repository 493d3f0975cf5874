"""What turns a fork of a container's init into a process beside the command.

It joins the command's own namespaces, goes through the same steps as the command did, and executes.

On a terminal there is one more process, which leads the session: the kernel lets a program stop
(Ctrl-Z) only if its parent is in the same session, and the init has one of its own. The leader
stays in the init's namespaces, and like that it executes nothing, and nobody can look into it.

Source: setns(2), credentials(7), setpgid(2) on orphaned process groups.
"""

import _signal as signal
import _socket as socket
import os
from _collections_abc import Sequence

from .calls import then
from .command import execute, make_env, place_stdio
from .confinement import becomes_user, confine, find_doubt, needs_own_pipes
from .errors import IsolationError, SetupError
from .exit_status import read_status
from .forwarding import forward
from .handshake import render_failure, render_status, render_stopped
from .plan import Plan
from .privileges import own_pipes
from .syscalls import PR_SET_PDEATHSIG, clone3, close_all_but, prctl, setns
from .tape import perform
from .terminal import copy_size, find_terminal, make_controlling_terminal
from .users import User, look_up_user

_FAILED = 125
_SIGNALS = tuple(map(int, signal.valid_signals()))


def become_process(
    plan: Plan,
    words: Sequence[bytes],
    stdio: Sequence[int],
    reply: socket.socket,
    namespaces: Sequence[int],
    terminal: int = -1,
) -> None:
    """Turn the calling process into what was asked for; does not return.

    Args:
        plan: Of the container.
        words: See `requests.render_process`.
        stdio: Three descriptors for the process.
        reply: For whoever asked.
        namespaces: The command's own.
        terminal: Is to control it, and takes the place of the terminal among `stdio`; -1 for none.
    """
    try:
        name, workdir, count, *texts = map(os.fsdecode, words)
        argv, variables = texts[: int(count)], texts[int(count) :]
        user = _choose_user(plan, name)
        changes_user = becomes_user(plan) or bool(name)
        env = make_env(plan.spec, user) | dict(v.split("=", 1) for v in variables)
        os.setsid()
        leader = 0
        if terminal >= 0:
            leader = os.getpid()
            stdio = _lead_session(terminal, stdio, reply, user if changes_user else None)
        for fd in namespaces:
            setns(fd)
        perform(place_stdio(stdio))
        if needs_own_pipes(plan, user):
            own_pipes((0, 1, 2), user.uid, user.gid)
        for segment in confine(
            plan,
            user if changes_user else None,
            workdir or plan.workdir,
            needed=bool(workdir),
            after_user=[then(_die_with, leader)] if leader else (),
        ):
            perform(segment)
        execute(tuple(argv), env, guarded=plan.guarded)
    except IsolationError as error:
        answer(reply, render_failure(error))
    except OSError as error:
        doubt = find_doubt(plan)
        answer(reply, render_failure(SetupError("start the process", error.errno or 0, hint=doubt)))
    except BaseException as error:  # noqa: BLE001 - the process ends right after it
        answer(reply, render_failure(SetupError(f"start the process after {error!r}")))
    finally:
        os._exit(_FAILED)


def _choose_user(plan: Plan, name: str) -> User:
    """Return who the process is: as the command, or another user if the command is root.

    Raises:
        SetupError: It would have rights that the command has not.
    """
    own = plan.user or look_up_user(plan.spec.user, plan.home_uid)
    if not name:
        return own
    user = look_up_user(name, plan.home_uid)
    has_less = user.uid == own.uid and {user.gid, *user.groups} <= {own.gid, *own.groups}
    if own.uid and not has_less:
        whose = f"the command is user {own.uid}:{own.gid}"
        hint = f"{whose}, and nothing beside it gets other rights than that"
        raise SetupError(f"start a process as user {name!r}", hint=hint)
    return user


def answer(reply: socket.socket, message: bytes) -> bool:
    """Send an answer, and return whether somebody listens."""
    try:
        reply.send(message, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        return False
    return True


def _lead_session(
    terminal: int, stdio: Sequence[int], reply: socket.socket, user: User | None
) -> tuple[int, ...]:
    """Return in a child that is in the foreground of the terminal; the caller waits for it.

    Args:
        terminal: Controls the session from now on.
        stdio: The descriptors of who asked.
        reply: Is told of the child's stops and of its end.
        user: Who is to own the terminal; None for who opened it.

    Returns:
        The descriptors for the process, with this terminal in the place of the other.
    """
    callers = find_terminal(stdio)
    if callers:
        copy_size(callers[0], terminal)
    make_controlling_terminal(terminal)
    if user is not None:
        os.fchown(terminal, user.uid, -1)
    pid, _ = clone3(0, signal.SIGCHLD)
    if pid:
        # Only so do pipes come to their end, and does the parent see that of the init.
        close_all_but(terminal, reply.fileno())
        _follow(pid, reply)
    os.setpgid(0, 0)
    os.tcsetpgrp(terminal, os.getpid())  # SIGTTOU is blocked, as all are
    return tuple(terminal if fd in callers else fd for fd in stdio)


def _follow(pid: int, reply: socket.socket) -> None:
    """Hand signals on to the child, tell how it stops and ends, and end as well."""
    while True:
        number = signal.sigwaitinfo(_SIGNALS).si_signo
        if number != signal.SIGCHLD:
            forward(number, pid)
            continue
        flags = os.WEXITED | os.WSTOPPED | os.WNOHANG
        while (result := os.waitid(os.P_PID, pid, flags)) is not None:
            if result.si_code == os.CLD_STOPPED:
                answer(reply, render_stopped(result.si_status))
                continue
            status = read_status(result)
            answer(reply, render_status(status))
            # The kernel hangs up on who is in the foreground now.
            os._exit(status.shell_code)


def _die_with(leader: int) -> None:
    """Let the kernel kill this process when the leader of its session is killed."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != leader:
        os.kill(os.getpid(), signal.SIGKILL)
