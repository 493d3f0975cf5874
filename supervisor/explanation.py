"""What a container is walled in by, for people who ask before it runs: `mocker run --explain`.

One row a wall: whether it is on, off or not to be had, what it is like, and which option changes
that. Each comes from the plan that the container would be made by, so nothing is promised that
would not be done.
"""

import os
from collections.abc import Iterator

from mocker.isolation import ContainerSpec, IsolationError
from mocker.isolation.capabilities import NUMBERS, mask_of, names_of
from mocker.isolation.delegation import find_controllers
from mocker.isolation.devices import NODES
from mocker.isolation.host_walls import check_keyring, find_core_program
from mocker.isolation.landlock import find_landlock
from mocker.isolation.layers import TMPFS_BOUNDS
from mocker.isolation.masks import HIDDEN_FILES, READ_ONLY, list_hidden_directories
from mocker.isolation.namespaces import namespace_flags
from mocker.isolation.own_program import OWN
from mocker.isolation.plan import Plan, make_plan
from mocker.isolation.privileges import inner_namespace_flags
from mocker.isolation.process_calls import INSTRUCTION_SIZE
from mocker.isolation.seccomp import DEFAULT

ON, OFF, NOT_AVAILABLE = "on", "off", "not available"
_UNLIMITED = -1


class Row:
    """One wall.

    Attributes:
        word: ON, OFF or NOT_AVAILABLE.
        name: Of the wall.
        text: What it is like, and how that is changed.
    """

    __slots__ = ("name", "text", "word")

    def __init__(self, word: str, name: str, text: str, change: str = "") -> None:
        self.word, self.name = word, name
        self.text = f"{text} ({change})" if change else text


def explain(spec: ContainerSpec) -> list[Row]:
    """Return the walls of a container; nothing is done.

    Raises:
        SetupError: Something that the container needs is not there.
    """
    return list(_list_rows(make_plan(spec)))


def render(rows: list[Row]) -> list[str]:
    """Return rows as lines of three columns."""
    word = max(len(row.word) for row in rows)
    name = max(len(row.name) for row in rows)
    return [f"{row.word:{word}}  {row.name:{name}}  {row.text}" for row in rows]


def _list_rows(plan: Plan) -> Iterator[Row]:
    spec = plan.spec
    yield _explain_namespaces(spec)
    yield _explain_users(plan)
    yield _explain_locked_mounts(plan)
    yield _explain_capabilities(plan)
    yield _explain_new_privileges(plan)
    yield _explain_seccomp(plan)
    yield _explain_network(spec)
    yield _explain_host_files(spec)
    yield Row(ON, "mount points", "are looked for inside the root, whatever links are in it")
    yield _explain_writing(spec)
    yield _explain_devices(plan)
    yield from _explain_kernel_files(spec)
    yield _explain_memory(spec)
    yield _explain_limits(spec)
    yield from _explain_rlimits(plan)
    yield _explain_schedule(spec)
    yield Row(ON, "umask", f"{spec.umask:03o}: which permissions new files do not get (--umask)")
    yield _explain_session(spec)
    yield _explain_keyring()
    yield _explain_init(plan)
    yield _explain_own_program(plan)
    yield _explain_environment(spec)
    yield Row(ON, "descriptors", "0, 1 and 2; no other reaches the command")
    yield _explain_landlock()


def _explain_namespaces(spec: ContainerSpec) -> Row:
    names = sorted(namespace_flags(spec).keys() - {"network", "user"})
    return Row(ON, "namespaces", f"{', '.join(names)} of its own")


def _explain_users(plan: Plan) -> Row:
    if plan.mapping is None:
        return Row(OFF, "user mapping", "root inside is root outside", "on without --userns host")
    count = sum(r.count for r in plan.mapping.uids)
    users = "root is the only user inside" if count == 1 else f"{count} users inside"
    text = f"{users}; root is {plan.mapping.root_uid} outside"
    return Row(ON, "user mapping", text, "off with --userns host, for root")


def _explain_locked_mounts(plan: Plan) -> Row:
    if not inner_namespace_flags(plan.mapping):
        text = "root with sys_admin can take off what is mounted, and change how"
        return Row(OFF, "locked mounts", text, "on without --userns host")
    text = "root inside, in a second user namespace below the init's, takes none off nor changes it"
    return Row(ON, "locked mounts", text, "off with --userns host, for root")


def _explain_capabilities(plan: Plan) -> Row:
    mask = plan.capabilities or 0
    are_all = mask == mask_of(NUMBERS)
    names = "all" if are_all else ", ".join(names_of(mask)) or "none"
    text = f"root has {names}; other users have none"
    return Row(OFF if are_all else ON, "capabilities", text, "--cap-add, --cap-drop")


def _explain_new_privileges(plan: Plan) -> Row:
    if plan.forbids_new_privileges:
        text = "no setuid program and no file capability grants anything"
        return Row(ON, "no_new_privs", text, "off with --allow-new-privs")
    text = "setuid programs and file capabilities grant rights inside"
    return Row(OFF, "no_new_privs", text, "on without --allow-new-privs")


def _explain_seccomp(plan: Plan) -> Row:
    if not plan.filter:
        return Row(OFF, "seccomp", "every system call is let through", "--seccomp")
    which = "the default filter" if plan.spec.seccomp == DEFAULT else "the filter of a profile"
    text = f"{which}, {len(plan.filter) // INSTRUCTION_SIZE} instructions of BPF"
    return Row(ON, "seccomp", text, "--seccomp unconfined|FILE")


def _explain_network(spec: ContainerSpec) -> Row:
    if spec.network == "host":
        return Row(OFF, "network", "it is the host's", "on without --network host")
    return Row(ON, "network", "a loopback device alone", "off with --network host")


def _explain_host_files(spec: ContainerSpec) -> Row:
    name = "host files"
    if spec.rootfs == "host":
        changed = ", ".join(v.source for v in spec.volumes if not v.read_only) or "none"
        text = f"all are seen; changed for good can be {changed}"
        return Row(OFF, name, text, "on with another --rootfs")
    shown = [
        f"{v.source} on {v.destination}{' (read-only)' if v.read_only else ''}"
        for v in spec.volumes
    ]
    root = "busybox in memory" if spec.rootfs == "busybox" else spec.rootfs
    text = f"the root is {root}; seen are {', '.join(shown) or 'none'}"
    return Row(ON, name, text, "-v, --rootfs")


def _explain_writing(spec: ContainerSpec) -> Row:
    if spec.read_only:
        return Row(ON, "read-only root", "nothing is written to it", "off without --read-only")
    lost = "what is written is gone at the end"
    if spec.rootfs_mode == "rw":
        lost = f"what is written stays in {spec.rootfs}"
    return Row(OFF, "read-only root", lost, "on with --read-only")


def _explain_devices(plan: Plan) -> Row:
    if _is_root_outside_with(plan, "MKNOD", "SYS_ADMIN"):
        text = f"{', '.join(NODES)}; root inside can make any other of the host's"
        return Row(OFF, "devices", text, "on without --userns host")
    return Row(ON, "devices", f"{', '.join(NODES)}; of the host's no other")


def _explain_init(plan: Plan) -> Row:
    ends = "ends what the command leaves"
    if _is_root_outside_with(plan, "SYS_PTRACE"):
        text = f"root inside can trace and read it; {ends}"
        return Row(OFF, "init", text, "on without --userns host")
    if _is_root_outside_with(plan, "SYS_ADMIN"):
        text = f"not to be traced from inside, but root sees where it has what in memory; {ends}"
        return Row(ON, "init", text)
    return Row(ON, "init", f"not to be traced or read from inside; {ends}")


def _explain_own_program(plan: Plan) -> Row:
    path = os.readlink(OWN)
    if plan.guarded:
        text = f"{path} is a user's inside, so nothing is executed that leads to it"
        return Row(ON, "own program", text)
    return Row(ON, "own program", f"{path} belongs to nobody inside")


def _is_root_outside_with(plan: Plan, *capabilities: str) -> bool:
    """Return whether root inside has these, and they are good for what is the host's."""
    mask = mask_of(capabilities)
    return plan.mapping is None and (plan.capabilities or 0) & mask == mask


def _explain_kernel_files(spec: ContainerSpec) -> Iterator[Row]:
    hidden = list_hidden_directories(own_network=spec.network != "host")
    paths = sorted(filter(os.path.exists, (*HIDDEN_FILES, *hidden)))
    yield Row(ON, "masked paths", ", ".join(paths))
    yield Row(ON, "read-only paths", ", ".join(("/sys", *filter(os.path.exists, READ_ONLY))))
    text = "nosuid on every mount but those of the root, nodev on all but devices and terminals"
    yield Row(ON, "mount flags", text)


def _explain_memory(spec: ContainerSpec) -> Row:
    size, files = (bound for _, bound in TMPFS_BOUNDS)
    text = f"what is written takes {size} of the memory and {files} files at most"
    if spec.rootfs_mode == "rw":
        return Row(OFF, "bounded writing", f"what is written goes to {spec.rootfs}")
    return Row(ON, "bounded writing", text, "--tmpfs DST:size=…")


def _explain_limits(spec: ContainerSpec) -> Row:
    change = "with --memory, --cpus, --pids-limit"
    try:
        place, controllers = find_controllers()
    except IsolationError as error:
        return Row(NOT_AVAILABLE, "limits", str(error))
    if spec.limits is None:
        return Row(
            OFF, "limits", f"{', '.join(sorted(controllers))} can be limited", f"on {change}"
        )
    missing = sorted(set(spec.limits.controllers) - controllers)
    if missing:
        return Row(NOT_AVAILABLE, "limits", f"there is no {', '.join(missing)} in {place}")
    return Row(ON, "limits", f"{spec.limits}, in {place}", change)


def _explain_rlimits(plan: Plan) -> Iterator[Row]:
    rendered = {r.name: f"{_render_limit(r.soft)}:{_render_limit(r.hard)}" for r in plan.rlimits}
    yield _explain_core_dumps(rendered.pop("core"))
    limits = [f"{name} {limit}" for name, limit in rendered.items()]
    change = "with --ulimit NAME=SOFT[:HARD]"
    if limits:
        yield Row(ON, "ulimits", ", ".join(limits), change)
    else:
        yield Row(OFF, "ulimits", "as the caller has them", f"on {change}")


def _explain_core_dumps(limit: str) -> Row:
    name = "no core dumps"
    if limit == "1:1":  # see `privileges`
        return Row(ON, name, "none is made of what crashes", "off with --ulimit core=…")
    if limit == "0:0":
        program = find_core_program()
        text = (
            f"no file is made, but {program} of the host's is told" if program else "none is made"
        )
        change = "on where the caller's hard limit of it is above 0"
        return Row(OFF if program else ON, name, text, change)
    text = "what crashes leaves one as the host's core_pattern says"
    return Row(OFF, name, text, "on without --ulimit core")


def _explain_schedule(spec: ContainerSpec) -> Row:
    asked = {
        "--nice": spec.nice,
        "--oom-score-adj": spec.oom_score_adj,
        "--cpu-affinity": spec.cpu_affinity and ",".join(map(str, spec.cpu_affinity)),
    }
    given = [f"{option} {value}" for option, value in asked.items() if value is not None]
    if not given:
        text = "runs as the caller does"
        return Row(OFF, "scheduling", text, f"on with {', '.join(asked)}")
    return Row(ON, "scheduling", ", ".join(given))


def _render_limit(limit: int) -> str:
    return "unlimited" if limit == _UNLIMITED else str(limit)


def _explain_session(spec: ContainerSpec) -> Row:
    terminal = "a terminal of its own" if spec.terminal else "no terminal"
    return Row(ON, "session", f"of its own, with {terminal}: nothing is typed into the caller's")


def _explain_keyring() -> Row:
    try:
        check_keyring()
    except IsolationError as error:
        return Row(NOT_AVAILABLE, "keyring", str(error))
    return Row(ON, "keyring", "a session keyring of its own, empty")


def _explain_environment(spec: ContainerSpec) -> Row:
    usual = ("PATH", "HOME", "TERM", "HOSTNAME")
    text = ", ".join((*usual, *(name for name in spec.env if name not in usual)))
    text += "; of the caller's none but what was asked for, and TERM on a terminal"
    return Row(ON, "environment", text, "-e, --env-file")


def _explain_landlock() -> Row:
    try:
        version = find_landlock()
    except IsolationError as error:
        return Row(NOT_AVAILABLE, "landlock", str(error))
    text = f"version {version} of it is there for jobs with isolate = false"
    return Row(OFF, "landlock", text)
