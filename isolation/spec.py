"""The description of a container: what is asked for, before any host is looked at.

A spec is a value: it is checked once, when it is made, and never changes. Whatever can be known to
be wrong without looking at the host (a newline in a host name, two words that exclude each other)
raises SpecError here; whatever depends on the host is found out when the container is made.
"""

import resource
from _collections_abc import Iterable, Mapping
from _signal import SIGCHLD, SIGKILL, SIGSTOP, SIGTERM, valid_signals

from .capabilities import DEFAULT_SET, check_capabilities, effective_set
from .checks import (
    MAX_UMASK,
    NICE_VALUES,
    OOM_SCORES,
    check_argv,
    check_cpus,
    check_destination,
    check_distinct,
    check_env_name,
    check_hostname,
    check_notify,
    check_range,
    check_ready_fd,
    check_text,
    check_user,
    check_word,
    check_workdir,
    check_writable,
)
from .errors import SpecError
from .limits import Limits
from .seccomp import choose_filter

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_HOSTNAME = "containerhostname"

_NETWORKS = ("none", "host", "shared")
ROOTFS_MODES = ("overlay", "rw")
USER_NAMESPACES = ("private", "host")

_MAX_LIMIT = 2**63 - 1  # setrlimit(2) takes 64 bits, of which Python uses one for the sign
_MAX_GRACE = 2**31 - 1  # seconds; more than any wait of the kernel's takes on every machine
_STOP_SIGNALS = valid_signals() - {SIGKILL, SIGSTOP, SIGCHLD}

RLIMIT_NAMES = tuple(
    sorted(name[7:].lower() for name in dir(resource) if name.startswith("RLIMIT_"))
)


class Volume:
    """A directory or file of the host that the container sees.

    Attributes:
        source: Absolute path on the host.
        destination: Absolute path in the container; made if it is missing.
        read_only: Whether writing is forbidden, submounts included.

    Source: mount(2) "Creating a bind mount", docker run(1) --volume.
    """

    __slots__ = ("destination", "read_only", "source")

    def __init__(self, source: str, destination: str, *, read_only: bool = False) -> None:
        if not source.startswith("/"):
            raise SpecError(f"volume source must be an absolute path, not {source!r}")
        self.source = check_text(source, "volume source")
        self.destination = check_destination(destination, "volume destination")
        self.read_only = read_only


class Tmpfs:
    """A fresh file system in memory.

    Attributes:
        destination: Absolute path in the container; made if it is missing.
        size: Bytes; None for 20 % of the memory.
        mode: Permission bits of its root directory.

    Source: tmpfs(5), docker run(1) --tmpfs.
    """

    __slots__ = ("destination", "mode", "size")

    def __init__(self, destination: str, size: int | None = None, mode: int = 0o1777) -> None:
        if size is not None and size < 1:
            raise SpecError(f"tmpfs size must be at least 1 byte, not {size}")
        if not 0 <= mode <= 0o7777:
            raise SpecError(f"tmpfs mode must be an octal number up to 7777, not {mode:o}")
        self.destination = check_destination(destination, "tmpfs destination")
        self.size, self.mode = size, mode


class Rlimit:
    """A limit of setrlimit(2).

    Attributes:
        name: As in `ulimit`, lower case: "nofile", "nproc", "core", …
        soft: What is enforced; -1 for unlimited.
        hard: What the command may raise it to; -1 for unlimited.
    """

    __slots__ = ("hard", "name", "soft")

    def __init__(self, name: str, soft: int, hard: int | None = None) -> None:
        hard = soft if hard is None else hard
        if name not in RLIMIT_NAMES:
            raise SpecError(f"ulimit must be one of {', '.join(RLIMIT_NAMES)}, not {name!r}")
        if not (-1 <= soft <= _MAX_LIMIT and -1 <= hard <= _MAX_LIMIT):
            raise SpecError(f"ulimit {name} must be 0 to {_MAX_LIMIT}, or unlimited (-1)")
        if hard != -1 and (soft == -1 or soft > hard):
            raise SpecError(f"ulimit {name}: soft limit {soft} is above the hard limit {hard}")
        self.name, self.soft, self.hard = name, soft, hard


class ContainerSpec:
    """An isolated process tree, described.

    Attributes:
        argv: The command and its arguments, at least one. A command without a slash is looked up
            in the container's PATH.
        rootfs: "busybox" (a fresh root with busybox's applets), "host" (the host's files, nothing
            that is done to them lasts), or the absolute path of a directory.
        rootfs_mode: For a directory: "overlay" (writes vanish with the container) or "rw".
        read_only: Whether the root, volumes and tmpfs apart, forbids writing.
        volumes: Directories and files of the host, mounted in order of their destinations.
        tmpfs: Fresh file systems in memory.
        env: Variables on top of PATH, HOME, TERM and HOSTNAME.
        workdir: Where the command starts; None for "/", and with "host" for the current
            directory where the container has it.
        user: "USER[:GROUP]", names or numbers, looked up in the container; None for root.
        hostname: At most 64 bytes.
        network: "none" (a loopback device alone), "host", or "shared" (that of another container,
            which is named when this one is made; it shares its user namespace as well).
        userns: "private" (root inside is an unprivileged user outside) or "host" (needs root).
        cap_add: Capabilities of root on top of docker's default set, of which there is none in the
            host's user namespace; with or without "CAP_", or "ALL". A user other than root has
            none at all.
        cap_drop: Those of the default set that root is not to have.
        allow_new_privs: Whether executing a program may grant rights: by setuid, or by its file's
            capabilities.
        umask: The permissions that new files do not get, as bits.
        nice: From -20, the first to run, to 19; None for the caller's.
        oom_score_adj: From -1000, the last to be killed when memory runs out, to 1000; None for the
            caller's.
        cpu_affinity: The numbers of the CPUs to run on, which the command may change; None for the
            caller's.
        rlimits: Limits for each process of the command's.
        seccomp: Which system calls the command may make, it and what it starts: "default" (what
            docker's containers may, and no user namespaces), "unconfined" (any), or a profile, the
            text of a file in docker's format. None for "default", and without isolation any.
        limits: What all processes together may take, by a cgroup that the container is born in;
            None for no such cgroup. What can't be limited on this host does not start.
        grace: Seconds between SIGTERM and SIGKILL for what the command leaves behind.
        stop_signal: What `Container.stop` sends first.
        terminal: Whether the command gets a terminal of its own, see `Container.terminal_fd`.
        notify: A name for sd_notify(3): the command's NOTIFY_SOCKET, in the abstract namespace of
            its network, see `Container.notify_fd`. None for no such socket.
        ready_fd: The number, 3 or above, that a fourth descriptor has in the command, by which it
            tells that it is ready. None for no such descriptor.
        isolate: Whether there is a container at all. Without, the command is a process of the
            host's, as the caller or as `user`, below an init that ends what it leaves; then
            `rootfs` and `network` must be "host".
        landlock: Without isolation: whether the command may write to a few places alone, and reach
            nobody outside by signals and abstract sockets; see `landlock`.
        writable: Absolute paths of those places; None for the `workdir` that was named, /tmp,
            /var/tmp and /dev/shm.

    Raises:
        SpecError: A value that no host could carry out.

    Source: namespaces(7), and docker run(1) for what the fields are called and what they start as.
    """

    __slots__ = (
        "allow_new_privs",
        "argv",
        "cap_add",
        "cap_drop",
        "cpu_affinity",
        "env",
        "grace",
        "hostname",
        "isolate",
        "landlock",
        "limits",
        "network",
        "nice",
        "notify",
        "oom_score_adj",
        "read_only",
        "ready_fd",
        "rlimits",
        "rootfs",
        "rootfs_mode",
        "seccomp",
        "stop_signal",
        "terminal",
        "tmpfs",
        "umask",
        "user",
        "userns",
        "volumes",
        "workdir",
        "writable",
    )

    def __init__(
        self,
        argv: Iterable[str],
        *,
        rootfs: str = "busybox",
        rootfs_mode: str = "overlay",
        read_only: bool = False,
        volumes: Iterable[Volume] = (),
        tmpfs: Iterable[Tmpfs] = (),
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: str | None = None,
        hostname: str = DEFAULT_HOSTNAME,
        network: str = "none",
        userns: str = "private",
        cap_add: Iterable[str] = (),
        cap_drop: Iterable[str] = (),
        allow_new_privs: bool = False,
        umask: int = 0o022,
        nice: int | None = None,
        oom_score_adj: int | None = None,
        cpu_affinity: Iterable[int] | None = None,
        rlimits: Iterable[Rlimit] = (),
        seccomp: str | None = None,
        limits: Limits | None = None,
        grace: float = 10.0,
        stop_signal: int = SIGTERM,
        terminal: bool = False,
        isolate: bool = True,
        notify: str | None = None,
        ready_fd: int | None = None,
        landlock: bool = False,
        writable: Iterable[str] | None = None,
    ) -> None:
        self.argv = check_argv(argv)
        self.rootfs = check_text(rootfs, "rootfs")
        if rootfs not in {"busybox", "host"} and not rootfs.startswith("/"):
            raise SpecError(f"rootfs must be 'busybox', 'host' or an absolute path, not {rootfs!r}")
        self.rootfs_mode = check_word(rootfs_mode, ROOTFS_MODES, "rootfs mode")
        self.read_only = read_only
        if rootfs_mode == "rw" and rootfs in {"busybox", "host"}:
            raise SpecError(f"rootfs mode 'rw' needs a directory as rootfs, not {rootfs!r}")
        if rootfs_mode == "rw" and read_only:
            raise SpecError("rootfs mode 'rw' and a read-only root exclude each other")
        self.volumes, self.tmpfs = tuple(volumes), tuple(tmpfs)
        check_distinct([v.destination for v in self.volumes] + [t.destination for t in self.tmpfs])
        self.env = {
            check_env_name(name): check_text(value, f"variable {name}")
            for name, value in (env or {}).items()
        }
        self.workdir = None if workdir is None else check_workdir(workdir)
        self.user = None if user is None else check_user(user)
        self.hostname = check_hostname(hostname)
        self.network = check_word(network, _NETWORKS, "network")
        self.userns = check_word(userns, USER_NAMESPACES, "userns")
        self._set_rights(cap_add, cap_drop, allow_new_privs, umask)
        self._set_schedule(nice, oom_score_adj, cpu_affinity)
        self.rlimits, self.limits = tuple(rlimits), limits
        if not 0 <= grace <= _MAX_GRACE:
            raise SpecError(f"grace period must be 0 to {_MAX_GRACE} seconds, not {grace}")
        self.grace = grace
        if stop_signal not in _STOP_SIGNALS:
            hint = "; a grace period of 0 kills at once" if stop_signal == SIGKILL else ""
            raise SpecError(f"stop signal must be one that can be handled, not {stop_signal}{hint}")
        self.stop_signal = stop_signal
        self.terminal = terminal
        self.isolate = isolate
        self.seccomp = choose_filter(seccomp, isolate=isolate)
        self.notify = None if notify is None else check_notify(notify)
        self.ready_fd = None if ready_fd is None else check_ready_fd(ready_fd)
        self._set_landlock(landlock, writable)
        if not isolate:
            self._check_unisolated()

    def _set_rights(
        self, cap_add: Iterable[str], cap_drop: Iterable[str], allow_new_privs: bool, umask: int
    ) -> None:
        self.cap_add = check_capabilities(cap_add, "cap_add")
        self.cap_drop = check_capabilities(cap_drop, "cap_drop")
        self.allow_new_privs = allow_new_privs
        self.umask = check_range(umask, 0, MAX_UMASK, "umask", "03o")

    def _set_landlock(self, landlock: bool, writable: Iterable[str] | None) -> None:
        self.landlock = landlock
        self.writable = None if writable is None else tuple(map(check_writable, writable))
        if self.isolate and landlock:
            raise SpecError("landlock is for a process without isolation; a container has a root")
        if self.writable is not None and not landlock:
            raise SpecError("what is writable can be said with landlock alone")
        if landlock and writable is None and self.workdir is not None:
            check_writable(self.workdir)  # as it is, then

    def _set_schedule(
        self, nice: int | None, oom_score_adj: int | None, cpu_affinity: Iterable[int] | None
    ) -> None:
        self.nice, self.oom_score_adj = nice, oom_score_adj
        if nice is not None:
            check_range(nice, *NICE_VALUES, "nice value")
        if oom_score_adj is not None:
            check_range(oom_score_adj, *OOM_SCORES, "oom_score_adj")
        self.cpu_affinity = None if cpu_affinity is None else check_cpus(cpu_affinity)

    @property
    def is_scheduled(self) -> bool:
        """Whether it says anything about `nice`, `oom_score_adj` or `cpu_affinity`."""
        return any(v is not None for v in (self.nice, self.oom_score_adj, self.cpu_affinity))

    @property
    def capabilities(self) -> frozenset[str]:
        """What root is to have, as far as the kernel knows it and the caller can give it."""
        default = DEFAULT_SET if self.userns == "private" else frozenset[str]()
        return effective_set(self.cap_add, self.cap_drop, default)

    def _check_unisolated(self) -> None:
        """Refuse what only a container can have."""
        asked = {
            "a rootfs": self.rootfs != "host",
            "a network": self.network != "host",
            "volumes": bool(self.volumes),
            "tmpfs": bool(self.tmpfs),
            "a read-only root": self.read_only,
            "a terminal": self.terminal,
            "capabilities": bool(self.cap_add or self.cap_drop),
        }
        for what, is_asked in asked.items():
            if is_asked:
                raise SpecError(f"without isolation there can't be {what} of its own")
