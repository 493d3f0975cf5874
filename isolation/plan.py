"""The steps that turn empty namespaces into a container, in order, as data.

The same table is walked twice: `describe` renders it for `--dry-run`, the init performs it. A step
that fails says its own name, so an error message, the dry run and the code cannot drift apart.

The order is the kernel's. Sources are cloned while the host is still in view; mount points are made
before the root becomes read-only; pivot_root comes last, because nothing of the host can be reached
afterwards, the standard library included.

Source: pivot_root(2), mount_namespaces(7), the OCI runtime specification.
"""

import os
from _collections_abc import Sequence
from stat import S_ISBLK, S_ISCHR, S_ISDIR

from .applets import AppletTrees
from .busybox import find_busybox
from .calls import sethostname
from .capabilities import names_of
from .devices import KERNEL_PATHS, mount_cgroups, plan_kernel_filesystems
from .errors import SetupError
from .etc_files import ROOT_HOME
from .hints import PIVOT_STEP
from .layers import TMPFS_BOUNDS
from .mounts import TreeSource, make_directory, make_file, source_attributes
from .namespaces import (
    hide_cgroups,
    namespace_flags,
    open_notify,
    pivot_to_root,
    set_mounts_slave,
    set_up_network,
)
from .own_program import find_own_program
from .privileges import find_changed_signals, plan_capabilities, plan_rlimits
from .process_title import find_strings
from .rootfs import plan_rootfs, write_network_files
from .seccomp import DEFAULT
from .seccomp.filters import find_filter
from .spec import ContainerSpec, Tmpfs, Volume
from .steps import Setup, Step
from .syscalls import MOUNT_ATTR_RDONLY, mount_setattr
from .tape import Call, keep_own
from .terminal import open_terminal
from .user_mapping import IdRange, UserMapping, plan_user_mapping
from .users import User

_FRESH_ROOT = User(0, 0, (), ROOT_HOME)  # one object: what is made of it is kept by it


class Plan:
    """What is needed to make one container.

    Attributes:
        spec: What was asked for.
        mapping: The IDs of its user namespace; None if it shares the caller's.
        sources: What of the host appears in it; `Setup.open_tree` counts by this order.
        steps: What the init does, in order.
        capabilities: What root has inside, as a bit mask; None where there is no container.
        rlimits: Limits for the command, those that the caller can give.
        shares_applets: Whether its init gets a tree with them, see `applets`.
        notes: A sentence for each thing that is not quite as asked for.
        workdir: Where the command starts, if that is there: see `ContainerSpec.workdir`.
        filter: The program that decides about the command's system calls; none without.
        changed_signals: What the caller ignores or handles, and the command must not.
        guarded: What the command must not lead to, see `own_program`.
        user: Who the command runs as, where that is known without a look into the container.
        home_uid: Whose entry of the container's /etc/passwd names root's home directory.
        strings: Where the process's command line is in memory, for `process_title`.
    """

    __slots__ = (
        "capabilities",
        "changed_signals",
        "filter",
        "guarded",
        "home_uid",
        "mapping",
        "notes",
        "rlimits",
        "shares_applets",
        "sources",
        "spec",
        "steps",
        "strings",
        "user",
        "workdir",
    )

    def __init__(
        self,
        spec: ContainerSpec,
        mapping: UserMapping | None,
        sources: Sequence[TreeSource],
        steps: Sequence[Step],
        *,
        shares_applets: bool = False,
    ) -> None:
        self.spec, self.mapping = spec, mapping
        self.sources, self.steps = tuple(sources), tuple(steps)
        self.rlimits, self.notes = plan_rlimits(spec)
        self.capabilities = plan_capabilities(spec)
        self.workdir = choose_workdir(spec.rootfs, spec.workdir)
        # With the host's files in view, the container's root is at home where the caller is.
        self.user = _foresee_user(spec)
        self.home_uid = os.geteuid() if spec.rootfs == "host" else 0
        self.strings = find_strings()
        self.changed_signals = find_changed_signals()
        self.filter = find_filter(spec.seccomp, spec.capabilities)
        self.guarded = find_own_program(mapping) if spec.isolate else None
        self.shares_applets = shares_applets

    @property
    def forbids_new_privileges(self) -> bool:
        """Whether execve(2) is to grant nothing."""
        if not self.spec.isolate:
            return bool(self.filter)  # without, the kernel takes none from an ordinary user
        return not self.spec.allow_new_privs


class _Mount:
    """A volume or a tmpfs: where it goes, and the step that puts it there."""

    __slots__ = ("directory", "path", "step")

    def __init__(self, path: str, step: Step, *, directory: bool) -> None:
        self.path, self.step, self.directory = path, step, directory


def make_plan(spec: ContainerSpec, applet_trees: AppletTrees | None = None) -> Plan:
    """Look at the host, and decide what has to be done for a container; change nothing.

    Args:
        spec: What is asked for.
        applet_trees: Where one can be had, if the init can be given one.

    Raises:
        SetupError: Something that the container needs is not there.
    """
    try:
        return _make_plan(spec, applet_trees)
    except OSError as error:
        path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
        raise SetupError(
            "look at " if path else "look at the host", error.errno or 0, path
        ) from error


def _make_plan(spec: ContainerSpec, applet_trees: AppletTrees | None) -> Plan:
    if not spec.isolate:
        return Plan(spec, None, [], [*_plan_landlock(spec), *_plan_notify(spec)])
    if spec.userns == "host" and os.geteuid() != 0:
        raise SetupError("share the host's user namespace", hint="only root may do that")
    mapping = plan_user_mapping() if spec.userns == "private" else None
    busybox = find_busybox() if spec.rootfs == "busybox" else None
    sources: list[TreeSource] = []
    shares_applets = (
        applet_trees is not None
        and busybox is not None
        and mapping is not None
        and applet_trees.fetch_for(busybox, mapping)
    )
    root_steps = plan_rootfs(spec, sources, busybox, shares_applets=shares_applets)
    mounts = _plan_mounts(spec, sources)
    steps = [_name_host(spec), *_hide_cgroups(spec)]
    if mapping is None:
        steps.append(Step("make the host's mounts slaves", "/", set_mounts_slave))
    steps += root_steps
    if busybox is not None:
        steps.append(write_network_files(spec))
    workdir = [] if spec.workdir is None else [_point_step(spec.workdir, directory=True)]
    if spec.rootfs != "busybox":  # which has them
        steps += [_point_step(path, directory=True) for path in KERNEL_PATHS]
    if spec.read_only:
        steps += workdir
        steps += [_point_step(m.path, directory=m.directory) for m in mounts]
        steps.append(Step("forbid writing to ", "/", _set_read_only))
    within = _show_cgroup(spec)
    if spec.network == "none":
        action = "bring lo up, open low ports and ping"
        within.append(Step(action, "", calls=set_up_network(mapping)))
    steps += plan_kernel_filesystems(spec, mapping, within)
    steps += [m.step for m in mounts]
    steps += workdir
    if spec.terminal:
        steps.append(Step("open a terminal", "/dev/pts/0", open_terminal))
    steps += _plan_notify(spec)
    pivot = pivot_to_root(layers=spec.rootfs != "busybox")
    steps.append(Step(PIVOT_STEP, "/", calls=pivot))
    return Plan(spec, mapping, sources, steps, shares_applets=shares_applets)


def _plan_landlock(spec: ContainerSpec) -> list[Step]:
    if not spec.landlock:
        return []
    from .landlock import plan_landlock  # which few containers need

    return [plan_landlock(spec)]


def _plan_notify(spec: ContainerSpec) -> list[Step]:
    if spec.notify is None:
        return []
    return [Step(f"open the socket @{spec.notify} for sd_notify", "", open_notify, spec.notify)]


def _name_host(spec: ContainerSpec) -> Step:
    action = f"set the host name to {spec.hostname}"
    return Step(action, "", calls=keep_own(_set_name, spec.hostname))


def _set_name(name: str) -> list[Call]:
    return [sethostname(name)]


def _hide_cgroups(spec: ContainerSpec) -> list[Step]:
    if spec.limits is None:
        return []
    return [Step("hide all cgroups but its own", "", calls=hide_cgroups())]


def _show_cgroup(spec: ContainerSpec) -> list[Step]:
    return [] if spec.limits is None else [mount_cgroups()]


def describe(spec: ContainerSpec) -> tuple[str, ...]:
    """Return what would be done to make a container, a step a line; nothing is done.

    Raises:
        SetupError: Something that the container needs is not there.
    """
    plan = make_plan(spec)
    lines = [] if spec.limits is None else [f"make a cgroup with {spec.limits}"]
    if namespaces := sorted(namespace_flags(spec)):
        lines.append(f"create namespaces: {', '.join(namespaces)}")
    if plan.mapping is not None:
        for what, ranges in (("users", plan.mapping.uids), ("groups", plan.mapping.gids)):
            text = ", ".join(_render_range(r) for r in ranges)
            lines.append(f"map {what}: {text} outside")
    lines += map(str, plan.steps)
    if spec.is_scheduled:
        from .scheduling import describe_schedule

        lines += describe_schedule(spec)
    number = " as PID 1" if spec.isolate else ""
    lines.append(f"start the init{number}: it forwards signals and reaps")
    if plan.mapping is not None:
        lines.append("give the command a user, mount and host name namespace, all mounts locked")
    if plan.capabilities is not None:
        names = ", ".join(names_of(plan.capabilities)) or "none"
        lines.append(f"bound capabilities: {names}")
    lines += (f"set the limit {r.name} to {r.soft}:{r.hard}" for r in plan.rlimits)
    user = spec.user or ("root" if spec.isolate else "")
    lines.append(f"become user {user} in {plan.workdir}" if user else f"start in {plan.workdir}")
    if plan.forbids_new_privileges:
        lines.append("let programs grant no privileges: no_new_privs")
    if plan.filter:
        what = "the default" if spec.seccomp == DEFAULT else "a profile"
        lines.append(f"filter system calls: {what}")
    lines.append(f"execute {' '.join(map(repr, spec.argv))}")
    return tuple(lines)


def choose_workdir(rootfs: str, workdir: str | None) -> str:
    """Return where a command starts: see `ContainerSpec.workdir`."""
    if workdir is not None:
        return workdir
    if rootfs != "host":
        return "/"
    try:
        return os.getcwd()
    except OSError:
        return "/"  # the caller's directory was removed


def _foresee_user(spec: ContainerSpec) -> User | None:
    """Return the container's root, if its /etc/passwd is the one of a fresh root."""
    if spec.user is not None or spec.rootfs != "busybox":
        return None
    covered = [v.destination for v in spec.volumes] + [t.destination for t in spec.tmpfs]
    return None if any(f"{path}/".startswith("/etc/") for path in covered) else _FRESH_ROOT


def _plan_mounts(spec: ContainerSpec, sources: list[TreeSource]) -> list[_Mount]:
    mounts = [_plan_volume(volume, sources) for volume in spec.volumes]
    mounts += [_plan_tmpfs(tmpfs) for tmpfs in spec.tmpfs]
    return sorted(mounts, key=lambda m: m.path.count("/"))  # parents before children


def _plan_volume(volume: Volume, sources: list[TreeSource]) -> _Mount:
    try:
        mode = os.stat(volume.source).st_mode
    except OSError as error:
        raise SetupError("open the volume source ", error.errno or 0, volume.source) from error
    if S_ISCHR(mode) or S_ISBLK(mode):
        raise SetupError(
            "show the device ", 0, volume.source, "a container has no device of the host"
        )
    directory = S_ISDIR(mode)
    attributes = source_attributes(read_only=volume.read_only)
    action = f"bind {volume.source}{' read-only' if volume.read_only else ''}"
    step = Step(action, volume.destination, Setup.attach_volume, len(sources), volume.destination)
    sources.append(TreeSource(volume.source, recursive=directory, attributes=attributes))
    return _Mount(volume.destination, step, directory=directory)


def _plan_tmpfs(tmpfs: Tmpfs) -> _Mount:
    options = {"mode": f"{tmpfs.mode:o}", **dict(TMPFS_BOUNDS)}
    if tmpfs.size is not None:
        options["size"] = str(tmpfs.size)
    path = tmpfs.destination
    step = Step("mount tmpfs", path, Setup.attach_tmpfs, path, tuple(options.items()))
    return _Mount(path, step, directory=True)


def _point_step(path: str, *, directory: bool) -> Step:
    what = "directory" if directory else "file"
    return Step(f"make the {what} ", path, _make_point, path, directory)


def _make_point(setup: Setup, path: str, directory: bool) -> None:
    make = make_directory if directory else make_file
    os.close(make(setup.root_fd, path))


def _set_read_only(setup: Setup) -> None:
    mount_setattr(setup.root_fd, MOUNT_ATTR_RDONLY, recursive=True)


def _render_range(r: IdRange) -> str:
    if r.count == 1:
        return f"{r.inside} is {r.outside}"
    return f"{r.inside}-{r.inside + r.count - 1} is {r.outside}-{r.outside + r.count - 1}"
