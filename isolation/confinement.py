"""What is taken from a process before it executes anything, for the command and beside it alike.

It is one list for both, so that nobody gets in beside the command with more rights than that has.

The order is the kernel's. The bounding set shrinks while there is CAP_SETPCAP; groups come before
the user, and what root may not do after that; the working directory is looked for as the user;
signals late, so that none arrives before its default action is in place. The filter of system calls
comes last, and so need not let through what comes before it; where programs may grant privileges,
it has to come first.

Source: credentials(7), capabilities(7) "Transformation of capabilities during execve()".
"""

from .calls import chdir, then
from .capabilities import NUMBERS
from .command import change_directory
from .plan import Plan
from .privileges import (
    COMMAND_PID,
    bound_capabilities,
    forbid_new_privileges,
    keep_capabilities,
    reset_signals,
    set_rlimits,
)
from .process_calls import join_session_keyring, load_filter
from .tape import Call, Segment, keep, keep_own
from .users import User, become


def confine(
    plan: Plan, user: User | None, workdir: str, *, needed: bool, after_user: Segment = ()
) -> list[Segment]:
    """Return the calls that leave a process no more than its container's command has.

    Args:
        plan: Of the container.
        user: Whom to become; None to stay who it is.
        workdir: Where to go.
        needed: Whether that has to be there; else "/" does as well.
        after_user: What a change of user would undo.
    """
    mask = plan.capabilities
    # In a container, the init has one for all.
    keyring = () if plan.spec.isolate else keep(join_session_keyring)
    filtering = keep(load_filter, plan.filter)
    is_late = plan.forbids_new_privileges
    segments: list[Segment] = [
        # Else the filter takes CAP_SYS_ADMIN, which is soon gone; and it denies keyctl(2).
        *((keyring, filtering) if not is_late else ()),
        () if mask is None else keep(bound_capabilities, mask),
        () if user is None else keep(become, user, plan.mapping),
        after_user,
        () if mask is None else keep(keep_capabilities, 0 if user and user.uid else mask),
        keep(set_rlimits, tuple((r.name, r.soft, r.hard) for r in plan.rlimits)),
        keep_own(_enter_workdir, workdir, needed),
        keyring if is_late else (),
        keep(forbid_new_privileges) if is_late else (),
        keep(reset_signals, plan.changed_signals),
        filtering if is_late else (),
    ]
    return [calls for calls in segments if calls]


def needs_own_pipes(plan: Plan, user: User) -> bool:
    """Return whether a user can open pipes by name only if they are his.

    Root that lacks CAP_DAC_OVERRIDE over them is as any other user.
    """
    return user.uid != 0 or (plan.mapping is None and plan.spec.isolate)


def needs_own_host_name(plan: Plan, user: User) -> bool:
    """Return whether the command can name its host only if the name belongs to nobody else.

    Root that keeps CAP_SYS_ADMIN can do so anyway, and a user never. It takes a third process for a
    moment: where none may be, no program could be started to name it, either.
    """
    limits, capabilities = plan.spec.limits, plan.capabilities or 0
    has_room = limits is None or limits.pids is None or limits.pids > COMMAND_PID
    is_admin = capabilities >> NUMBERS["SYS_ADMIN"] & 1 == 1
    return user.uid == 0 and plan.mapping is not None and not is_admin and has_room


def becomes_user(plan: Plan) -> bool:
    """Return whether the command changes its user at all."""
    return plan.spec.isolate or plan.spec.user is not None


def find_doubt(plan: Plan) -> str:
    """Return what may have refused one of these calls, besides the kernel; nothing for nothing."""
    if plan.filter and not plan.forbids_new_privileges:
        return "with --allow-new-privs the seccomp filter is loaded first, and may forbid it"
    return ""


def _enter_workdir(path: str, needed: bool) -> list[Call]:
    return [chdir("/") if path == "/" else then(_change_directory, path, needed)]


def _change_directory(path: str, needed: bool) -> None:
    change_directory(path, needed=needed)
