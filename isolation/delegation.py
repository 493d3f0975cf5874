"""Where cgroups may be made: the directory that was delegated to this process, or will be.

In order: the cgroup that mocker is in, if systemd has delegated it; a scope of its own, from the
service manager; and without systemd the cgroup that mocker is in, if it may write there. A cgroup
with others below it that are limited can't have processes itself, so mocker moves into one below,
with whoever else is in there, and its containers get others beside that.

    unit.service, or mocker-….scope     what is delegated
    ├── mocker                          mocker, and who was up there with it
    ├── mocker-4711-1                   a container of process 4711
    └── mocker-4711-2                   another one

Only who wants limits comes here: nothing is looked at or moved otherwise.

Source: cgroups(7), the kernel's Documentation/admin-guide/cgroup-v2.rst "Delegation" and "No
Internal Process Constraint"; systemd's CGROUP_DELEGATION.md, systemd.resource-control(5).
"""

import os
import time
from _collections_abc import Iterable
from errno import EBUSY, ESRCH

from .cgroups import Cgroup
from .errors import SetupError
from .hints import read_switch
from .limits import Limits
from .scope import find_manager, has_systemd, is_unit_delegated, start_scope

USUAL = ("cpu", "memory", "pids")  # those by which a container is accounted for, too

_ROOT = "/sys/fs/cgroup"
_STEP = "limit a container"
_LEAF = "mocker"
_PREFIX = "mocker-"
_UNITS = (".service", ".scope", ".slice")
_DELEGATED = ("user.delegate", "trusted.delegate")  # the latter before systemd 251, and for root
# At moving who forks meanwhile, or is about to end, and can be moved no more. Before each there are
# so many seconds more; half a second together.
_ATTEMPTS, _MORE_S = 10, 0.01
_BOOT = "boot with systemd.unified_cgroup_hierarchy=1, so that version 2 has them all"


class Delegation:
    """A directory in which cgroups may be made.

    Attributes:
        path: The directory.
        controllers: What can be limited there.

    Source: cgroups(7).
    """

    __slots__ = ("_made", "controllers", "path")

    def __init__(self, path: str, controllers: Iterable[str]) -> None:
        self.path, self.controllers = path, frozenset(controllers)
        self._made = 0

    def make_cgroup(self, limits: Limits) -> Cgroup:
        """Make a cgroup, which who asks for it has to remove; a `Container` does.

        Raises:
            SetupError: A controller is missing, or the kernel refuses.
        """
        missing = [name for name in limits.controllers if not self._has(name)]
        if missing:
            what = f"without the controller{'s' * (len(missing) > 1)} {', '.join(missing)}"
            have = " ".join(sorted(self.controllers)) or "none"
            raise SetupError(
                f"{_STEP} {what} in ",
                path=self.path,
                hint=f"it has {have}; what is above has to enable it in cgroup.subtree_control, "
                "by Delegate= of a unit, or of user@.service",
            )
        while True:
            self._made += 1
            try:
                return Cgroup(f"{self.path}/{_PREFIX}{os.getpid()}-{self._made}", limits)
            except FileExistsError:
                continue  # what an earlier process of this number has left

    def _has(self, name: str) -> bool:
        """Return whether a controller can be used, for which it may have to be enabled first."""
        if name not in self.controllers and _enable(self.path, name):
            self.controllers |= {name}
        return name in self.controllers


def make_cgroup(limits: Limits, pids: Iterable[int] = ()) -> Cgroup:
    """Make a cgroup where this process may, which is looked for at the first time.

    Args:
        limits: What it enforces.
        pids: As for `find_delegation`.

    Raises:
        SetupError: There is no such place, or not with what is needed.
    """
    if not _found:
        _found.append(find_delegation(pids))
    return _found[0].make_cgroup(limits)


_found: list[Delegation] = []


def find_delegation(pids: Iterable[int] = ()) -> Delegation:
    """Return where this process may make cgroups; it is moved there, and others with it.

    What ended processes have left there is removed.

    Args:
        pids: Of other processes that have to come along, such as those of a fork server: only who
            is in a delegated cgroup may clone into those beside it.

    Raises:
        SetupError: There is no such place; the hint says how to get one.
    """
    place, manager = find_place()
    if manager:
        others = (pid for pid in pids if os.path.exists(f"/proc/{pid}"))
        start_scope(manager, [os.getpid(), *others])
        place = _read_own()
    try:
        _move_processes(place)
    except OSError as error:
        raise SetupError("make cgroups in ", error.errno or 0, place) from error
    _remove_leftovers(place)
    return Delegation(place, [name for name in USUAL if _enable(place, name)])


def find_place() -> tuple[str, str]:
    """Return what `find_delegation` would take, without any effect.

    Returns:
        The directory, and nothing; or where mocker is at present, and the socket of the service
        manager that would give it a scope.

    Raises:
        SetupError: There is neither.
    """
    own = _read_own()
    manager = find_manager()
    if delegated := _find_delegated(own, manager):
        return delegated, ""
    place = os.path.dirname(own) if os.path.basename(own) == _LEAF else own
    is_limited = os.path.basename(place).startswith(_PREFIX)  # then it stays below that
    if has_systemd() and not is_limited:
        if manager:
            return own, manager
    elif _is_writable(place):
        return place, ""
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        hint = f"{_ROOT} is read-only here, as in a container; start the outer one privileged"
    else:
        how = f"start mocker with {name_scope_command()}, or from a unit that has Delegate=yes"
        hint = f"{place} is not delegated to user {os.geteuid()}; {how}"
    raise SetupError(_STEP, hint=hint)


def name_scope_command() -> str:
    """Return what starts a program in a scope that is delegated to its user."""
    return f"systemd-run {'--user ' if os.geteuid() else ''}--scope -p Delegate=yes"


def find_controllers() -> tuple[str, frozenset[str]]:
    """Return where cgroups can be made, and with which controllers; nothing is done.

    Raises:
        SetupError: Nowhere.
    """
    place, manager = find_place()
    directory = place
    if manager:
        uid = os.geteuid()
        place = "a scope of its own, from systemd"
        own = f"{_ROOT}/user.slice/user-{uid}.slice/user@{uid}.service"
        directory = own if uid and os.path.isdir(own) else _ROOT
    text = read_switch(f"{directory}/cgroup.controllers")
    return place, frozenset(text.split()) & {*USUAL, "io"}


def is_delegated() -> bool:
    """Return whether systemd has delegated a cgroup to this process, so that it needs no other."""
    try:
        return bool(_find_delegated(_read_own(), find_manager()))
    except SetupError:
        return False


def _find_delegated(own: str, manager: str) -> str:
    """Return what of the own cgroup and that above is delegated; nothing if neither is."""
    for directory in _list_candidates(own):
        if _is_writable(directory) and _is_delegated(directory, manager):
            return directory
    return ""


def _read_own() -> str:
    """Return the directory of the cgroup that this process is in.

    Raises:
        SetupError: Version 2 of cgroups has nothing to limit with here, or can't be seen.
    """
    if not os.path.exists(f"{_ROOT}/cgroup.controllers"):
        raise SetupError(_STEP, hint=_explain_version())
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            path = next(line[3:].rstrip("\n") for line in file if line.startswith("0::"))
    except OSError as error:
        raise SetupError("read ", error.errno or 0, "/proc/self/cgroup") from error
    directory = f"{_ROOT}{path}".rstrip("/")
    if path.startswith("/..") or not os.path.isdir(directory):
        hint = f"its own cgroup, {path}, is out of sight; mount cgroup2 on {_ROOT} anew"
        raise SetupError(_STEP, hint=hint)
    return directory


def _explain_version() -> str:
    if os.path.exists(f"{_ROOT}/unified/cgroup.controllers"):
        return f"version 1 of cgroups has the controllers of this host (hybrid); {_BOOT}"
    if os.path.isdir(_ROOT) and os.listdir(_ROOT):
        return f"this host has version 1 of cgroups alone; {_BOOT}"
    return f"no cgroups are mounted on {_ROOT}; mount cgroup2 there"


def _list_candidates(own: str) -> list[str]:
    """Return what may be delegated: the own cgroup, or that above if it is no unit's.

    That is so after mocker has moved, and with DelegateSubgroup= of systemd.
    """
    name = os.path.basename(own)
    if own == _ROOT or name.endswith(_UNITS) or name.startswith(_PREFIX):
        return [own]
    return [own, os.path.dirname(own)]


def _is_delegated(directory: str, manager: str) -> bool:
    for name in _DELEGATED:
        try:
            if os.getxattr(directory, name) == b"1":
                return True
        except OSError:
            continue  # there is no such attribute, or not for this user
    # A unit of the user's own manager, which may be too old to tell on the cgroup.
    is_users = bool(manager) and f"/user@{os.geteuid()}.service/" in directory
    return is_users and is_unit_delegated(manager, os.path.basename(directory))


def _is_writable(directory: str) -> bool:
    files = (f"{directory}/{name}" for name in ("cgroup.procs", "cgroup.subtree_control"))
    return all(os.access(path, os.W_OK) for path in (directory, *files))


def _move_processes(directory: str) -> None:
    """Leave no process in a cgroup, so that those below it can be limited."""
    if not os.path.exists(f"{directory}/cgroup.type"):
        return  # the root of all, where they may stay
    for attempt in range(_ATTEMPTS):
        time.sleep(attempt * _MORE_S)
        pids = _read(f"{directory}/cgroup.procs").split()
        if not pids:
            return
        os.makedirs(f"{directory}/{_LEAF}", exist_ok=True)
        for pid in pids:
            if pid == "0":
                hint = "a process of another PID namespace is in there"
                raise SetupError("make cgroups in ", EBUSY, directory, hint)
            try:
                _write(f"{directory}/{_LEAF}/cgroup.procs", pid)
            except OSError as error:
                if error.errno != ESRCH:  # it has ended
                    raise
    raise SetupError("make cgroups in ", EBUSY, directory, "processes keep coming there")


def _enable(directory: str, name: str) -> bool:
    """Return whether a controller is, or could be, enabled for the cgroups in a directory."""
    try:
        if name in _read(f"{directory}/cgroup.subtree_control").split():
            return True
        _write(f"{directory}/cgroup.subtree_control", f"+{name}")
    except OSError:
        return False
    return True


def _remove_leftovers(directory: str) -> None:
    """Remove what was left by processes that were killed before they could do so themselves."""
    for name in os.listdir(directory):
        pid = name.removeprefix(_PREFIX).partition("-")[0]
        if name.startswith(_PREFIX) and pid.isdecimal() and not os.path.exists(f"/proc/{pid}"):
            try:
                # An init without a PID namespace ends the rest, once it can run again.
                _write(f"{directory}/{name}/cgroup.freeze", "0")
                os.rmdir(f"{directory}/{name}")
            except OSError:
                continue  # it has not quite ended


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
