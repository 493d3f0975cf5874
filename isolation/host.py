"""What this host grants: each thing tried out for real, each refusal with the switch to turn.

Nothing is concluded from a version or a setting alone where it can be tried: a namespace is made,
an overlay is mounted, a container is run, all in children that end at once.
"""

import os
from _collections_abc import Callable
from errno import EPERM

from .busybox import default_rootfs, find_busybox
from .checks import NICE_VALUES, OOM_SCORES
from .errors import IsolationError, SetupError
from .hints import MASKS_STEP, explain
from .launch import check_one_thread
from .layers import TMPFS_BOUNDS, try_bounds, try_overlay
from .masks import try_masks
from .namespaces import namespace_flags
from .spawning import spawn
from .spec import ContainerSpec
from .syscalls import (
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    PR_GET_NO_NEW_PRIVS,
    prctl,
)
from .trials import try_in_namespaces
from .user_mapping import (
    NO_HELP,
    find_helpers,
    find_ungranted_ids,
    plan_user_mapping,
)

_OLDEST_KERNEL = (5, 15)


class HostCheck:
    """One thing that a host grants or refuses.

    Attributes:
        name: What was tried.
        granted: Whether it works.
        needed: Whether `mocker run` can't do without it.
        detail: What was found; or what can't be had without, why, and what to do about it.
    """

    __slots__ = ("detail", "granted", "name", "needed")

    def __init__(self, name: str, detail: str, *, granted: bool, needed: bool) -> None:
        self.name, self.detail, self.granted, self.needed = name, detail, granted, needed


def check_host() -> tuple[HostCheck, ...]:
    """Try out what containers need, and return what came of it; takes some 100 ms.

    Raises:
        SetupError: The calling process has several threads.

    Source: user_namespaces(7), subuid(5), cgroups(7), seccomp(2).
    """
    from . import host_walls  # which no container needs

    check_one_thread()
    checks = [_check("kernel", _check_kernel)]
    flags = namespace_flags(ContainerSpec(["true"], rootfs="host"))
    checks += [_check(f"{name} namespace", _try_namespace, flag) for name, flag in flags.items()]
    checks.append(
        _check("subordinate IDs", _check_subordinate_ids, lost="root is the only user inside")
    )
    if os.geteuid() == 0:
        lost = "volumes and directories as roots take --userns host"
        checks.append(_check("ID-mapped mounts", _check_mapped_mounts, lost=lost))
        lost = "what takes them is refused"
        checks.append(_check("capabilities", host_walls.check_capabilities, lost=lost))
    else:
        lost = "root inside has none"
        checks.append(_check("capabilities", _check_capabilities_inside, lost=lost))
    first = ContainerSpec(["true"], nice=NICE_VALUES[0])
    last = ContainerSpec(["true"], oom_score_adj=OOM_SCORES[0])
    checks += [
        _check("overlay in a user namespace", _check_overlay, lost="nothing is copied on write"),
        _check("bounded writing", _check_bounds),
        _check("kernel files", _check_masks),
        _check(
            "cgroup v2 delegation",
            host_walls.check_limits,
            lost="no limits but --ulimit, and no mocker pause",
        ),
        _check("ulimits", host_walls.check_ulimits),
        _check("nice", host_walls.check_schedule, first, lost="none below the caller's"),
        _check("oom_score_adj", host_walls.check_schedule, last, lost="none below the caller's"),
        _check("cpu_affinity", host_walls.check_affinity, lost="none but the caller's"),
        _check("no_new_privs", host_walls.check_no_new_privs),
        _check("seccomp", host_walls.check_seccomp),
        _check("landlock", host_walls.check_landlock, lost="no job with landlock = true"),
        _check("keyrings", host_walls.check_keyring, lost="no keys inside"),
        _check("core dumps", host_walls.check_core_dumps),
        _check("own program", _check_own_program, lost="who is inside may win a race for it"),
        _check("busybox", lambda: find_busybox().path, lost="no fresh roots"),
        _check("a container", _try_container),
    ]
    return tuple(checks)


def _check(name: str, probe: Callable[..., str], *arguments: object, lost: str = "") -> HostCheck:
    """Return what came of a probe.

    Args:
        name: What is tried.
        probe: Tries it.
        arguments: For the probe.
        lost: What can't be had without; nothing if it is `mocker run` itself.
    """
    needed = not lost
    try:
        return HostCheck(name, probe(*arguments), granted=True, needed=needed)
    except IsolationError as error:
        detail = f"{lost}: {explain(error)}" if lost else str(explain(error))
        return HostCheck(name, detail, granted=False, needed=needed)


def _check_kernel() -> str:
    release = os.uname().release
    numbers = tuple(int(n) for n in release.split("-")[0].split(".")[:2] if n.isdecimal())
    if numbers < _OLDEST_KERNEL:
        raise SetupError("do with Linux " + release, hint="5.15 or later is needed")
    return f"Linux {release}"


def _try_namespace(flag: int) -> str:
    try_in_namespaces(CLONE_NEWUSER | flag, lambda: None, "create namespaces")
    return "can be made"


def _check_subordinate_ids() -> str:
    mapping = plan_user_mapping()
    if mapping.is_single:
        if prctl(PR_GET_NO_NEW_PRIVS):
            raise SetupError("map more than the caller's own ID", hint=NO_HELP)
        missing = "" if find_helpers() else "install newuidmap (package uidmap), and "
        first = find_ungranted_ids()
        ids = f"{first}-{first + 65535}"
        raise SetupError(
            "map more than the caller's own ID",
            hint=f"{missing}grant a range: usermod --add-subuids {ids} --add-subgids {ids} USER",
        )
    count = sum(r.count for r in mapping.uids)
    return f"{count} user IDs, root is {mapping.root_uid} outside"


def _check_overlay() -> str:
    try_in_namespaces(CLONE_NEWUSER | CLONE_NEWNS, try_overlay, "mount overlay")
    return "can be mounted"


def _check_bounds() -> str:
    try_in_namespaces(CLONE_NEWUSER | CLONE_NEWNS, try_bounds, "bound a file system in memory")
    size, files = (bound for _, bound in TMPFS_BOUNDS)
    return f"takes {size} of the memory and {files} files at most"


def _check_masks() -> str:
    flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID
    try_in_namespaces(flags, try_masks, MASKS_STEP, path="/proc")
    return "what tells of the host is covered, what steers it is read-only"


def _check_capabilities_inside() -> str:
    from .host_walls import check_capabilities

    def look() -> None:
        try:
            check_capabilities()
        except SetupError:
            raise PermissionError(EPERM, os.strerror(EPERM)) from None

    try_in_namespaces(CLONE_NEWUSER, look, "have all capabilities in a user namespace")
    return "all can be had, within the user namespace alone"


def _check_own_program() -> str:
    from .host_walls import check_own_program

    return check_own_program(plan_user_mapping())


def _check_mapped_mounts() -> str:
    from .host_walls import check_mapped_mounts

    found = list[str]()

    def map_mount(pid: int) -> None:
        userns = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            found.append(check_mapped_mounts(userns))
        finally:
            os.close(userns)

    try_in_namespaces(CLONE_NEWUSER, lambda: None, "create namespaces", map_mount)
    return found[0]


def _try_container() -> str:
    from .host_walls import FAULTS, LOOK, LOOKED_AT

    rootfs, note = default_rootfs()
    null = os.open("/dev/null", os.O_RDWR)
    try:
        spec = ContainerSpec(["sh", "-c", LOOK], rootfs=rootfs)
        with spawn(spec, stdin=null, stdout=null, stderr=null) as container:
            status = container.wait()
    finally:
        os.close(null)
    if status.code in FAULTS:
        raise SetupError("keep a command in a container", hint=FAULTS[status.code])
    if not status.success:
        raise SetupError("run a container", hint=f"its command ended with {status}")
    return f"runs, {LOOKED_AT}{'; ' if note else ''}{note}"
