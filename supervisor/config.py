"""What a configuration file says, as values that cannot be wrong: the supervisor and its jobs.

Nothing is read here and nothing is looked up; `config_file` makes these values from text. Two of
them are equal if they mean the same, which is how a reload finds out what has changed.
"""

import os
from collections.abc import Mapping

import attrs

from mocker.isolation import ContainerSpec, Limits, Rlimit, Tmpfs, Volume

from .sink_words import BACKUPS, JOURNALD_SOCKET, MAX_SIZE

# In the names of sockets for sd_notify: several supervisors may share a network.
_OWN = os.urandom(4).hex()


@attrs.frozen(kw_only=True)
class Backoff:
    """How long a job that failed waits for its next run.

    Attributes:
        initial: Seconds before the first retry.
        factor: What each further wait is multiplied with, at least 1.
        max: Seconds that no wait exceeds, jitter apart.
        jitter: Part of the wait that is added at random, 0 to 1.
        reset_after: Seconds a run must last for the next wait to be `initial` again; if the last
            wait was longer, then as long as that.
    """

    initial: float = 0.5
    factor: float = 2.0
    max: float = 30.0
    jitter: float = 0.1
    reset_after: float = 10.0


@attrs.frozen
class GiveUp:
    """When a job that keeps failing is left alone: at `failures` of them `within` seconds."""

    failures: int
    within: float


@attrs.frozen(kw_only=True)
class Probe:
    """How it is found out whether a job is ready, or alive; in the job's own namespaces.

    Attributes:
        kind: "tcp", "http", "exec", "log", "notify" or "fd"; one that is alive is asked by one of
            the first three.
        target: The port (tcp), the URL (http), the argv (exec), the regular expression (log), the
            descriptor (fd); None for notify.
        interval: Seconds from the end of one question to the next.
        timeout: Seconds that an answer may take.
        failures: Bad answers in a row that make a job dead; not used for readiness.
    """

    kind: str
    target: int | str | tuple[str, ...] | None = None
    interval: float = 1.0
    timeout: float = 3.0
    failures: int = 3


@attrs.frozen(kw_only=True)
class SinkConfig:
    """A place where lines end up.

    Attributes:
        kind: "console", "journald", "file", or "inherit": the job has the supervisor's own stdout
            or stderr, and nothing passes through mocker.
        path: Of a file, absolute.
        format: Of a file: "raw", "text" or "json".
        max_size: Bytes at which a file becomes a backup; 0 for never.
        backups: How many of them are kept.
        compress: Whether they are compressed.
    """

    kind: str
    path: str = ""
    format: str = "raw"
    max_size: int = MAX_SIZE
    backups: int = BACKUPS
    compress: bool = False


CONSOLE, INHERIT = SinkConfig(kind="console"), SinkConfig(kind="inherit")


def _use_console() -> dict[str, tuple[SinkConfig, ...]]:
    return {"stdout": (CONSOLE,), "stderr": (CONSOLE,)}


@attrs.frozen(kw_only=True)
class ContainerConfig:
    """The container of a job, as `mocker run` has it: see `isolation.ContainerSpec`.

    Attributes:
        volumes: (source, destination, read_only), the source absolute.
        tmpfs: (destination, bytes or None, mode).
        cap_add: As `isolation.capabilities` has them, as is cap_drop.
        seccomp: What chooses the filter of system calls: a word or an absolute path, and what
            `ContainerSpec` takes. None if nothing does.
        umask: As bits.
        cpu_affinity: The numbers of CPUs; None for those of the supervisor.
        rlimits: (name, soft, hard), -1 for unlimited.
        env: Everything that the command gets on top of PATH, HOME, TERM and HOSTNAME.
        network: "none", "host" or "job:NAME", NAME that of one replica.
        isolate: False for an ordinary process; then root and network are "host".
        landlock: Whether such a process may write to a few places alone.
        writable: Absolute paths of those; None for the usual ones.
        memory: Bytes that its processes may take together; None for any number, as of those below.
        cpus: How many CPUs' worth of time.
        pids: How many processes there may be at a time.
        io_weight: Its share of the block devices, relative to others, who have 100.
    """

    argv: tuple[str, ...]
    rootfs: str
    rootfs_mode: str = "overlay"
    read_only: bool = False
    volumes: tuple[tuple[str, str, bool], ...] = ()
    tmpfs: tuple[tuple[str, int | None, int], ...] = ()
    env: Mapping[str, str] = attrs.field(factory=dict)
    workdir: str | None = None
    user: str | None = None
    hostname: str
    network: str = "none"
    userns: str = "private"
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    allow_new_privs: bool = False
    seccomp: tuple[str, str] | None = None
    umask: int = 0o022
    nice: int | None = None
    oom_score_adj: int | None = None
    cpu_affinity: tuple[int, ...] | None = None
    rlimits: tuple[tuple[str, int, int], ...] = ()
    isolate: bool = True
    landlock: bool = False
    writable: tuple[str, ...] | None = None
    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None
    io_weight: int | None = None

    @property
    def limits(self) -> Limits | None:
        """What all of its processes together may take; None if nothing is said about that."""
        limits = Limits(
            memory=self.memory, cpus=self.cpus, pids=self.pids, io_weight=self.io_weight
        )
        return limits if limits.controllers else None

    def make_spec(
        self,
        *,
        grace: float,
        stop_signal: int,
        terminal: bool = False,
        notify: str | None = None,
        ready_fd: int | None = None,
        limits: Limits | None = None,
    ) -> ContainerSpec:
        """Return the spec of it, with its own limits if it is not said with which.

        Raises:
            SpecError: A value that no host could carry out.
        """
        return ContainerSpec(
            self.argv,
            rootfs=self.rootfs,
            rootfs_mode=self.rootfs_mode,
            read_only=self.read_only,
            volumes=[Volume(s, d, read_only=read_only) for s, d, read_only in self.volumes],
            tmpfs=[Tmpfs(*values) for values in self.tmpfs],
            env=self.env,
            workdir=self.workdir,
            user=self.user,
            hostname=self.hostname,
            network="shared" if self.network.startswith("job:") else self.network,
            userns=self.userns,
            cap_add=self.cap_add,
            cap_drop=self.cap_drop,
            allow_new_privs=self.allow_new_privs,
            seccomp=None if self.seccomp is None else self.seccomp[1],
            umask=self.umask,
            nice=self.nice,
            oom_score_adj=self.oom_score_adj,
            cpu_affinity=self.cpu_affinity,
            rlimits=[Rlimit(*values) for values in self.rlimits],
            limits=limits or self.limits,
            grace=grace,
            stop_signal=stop_signal,
            terminal=terminal,
            isolate=self.isolate,
            notify=notify,
            ready_fd=ready_fd,
            landlock=self.landlock,
            writable=self.writable,
        )


@attrs.frozen(kw_only=True)
class JobConfig:
    """One job: an entry of the file, or one of its replicas.

    Attributes:
        name: Unique; "web", or "web-1", "web-2", … of an entry that says how many replicas it has.
        group: The name of the entry.
        kind: "service", or "oneshot": exit code 0 at any time is success, and it is not run again.
        container: What is run, and in what.
        depends_on: What other jobs, by name, must have come to first: "started", "ready",
            "completed" (ended well) or "exited" (ended in any way).
        restart: "always", "on-failure" or "never".
        give_up: None for never.
        success_codes: Exit codes that are no failure.
        permanent_codes: Exit codes after which the job is given up at once.
        start_timeout: Seconds until it must be ready, where it has a `ready` probe; before that,
            for each answer that the host owes it: its stdin, its container, its command.
        timeout: Seconds that a run may take; None for as long as it likes.
        stop_signal: What is sent first when it is to stop.
        grace: Seconds between that and SIGKILL.
        critical: Whether the supervisor stops with this job's status when it ends for good.
        ready: None if it is ready once it has started.
        alive: None if nobody asks.
        schedule: A cron expression for a oneshot; None if it runs at the start.
        overlap: "skip" or "queue": what becomes of a time at which the former run goes on.
        run_on_start: Whether a job with a schedule is run at once, too, as others are.
        stdin: Absolute path of a file of the host; None for /dev/null.
        tty: Whether its stdin, stdout and stderr are a terminal of its own; then its one channel is
            "output".
        channels: The sinks of "stdout" and "stderr", or those of "output", which is both in one
            pipe. One that is inherited has that as its only sink; one that leads nowhere has none.
        on_full: "block" or "drop": what becomes of lines that a sink has no room for.
        max_line: Bytes of a line; one that is longer comes in pieces.
    """

    name: str
    group: str
    kind: str = "service"
    container: ContainerConfig
    depends_on: Mapping[str, str] = attrs.field(factory=dict)
    restart: str = "on-failure"
    backoff: Backoff = attrs.field(factory=Backoff)
    give_up: GiveUp | None = None
    success_codes: frozenset[int] = frozenset({0})
    permanent_codes: frozenset[int] = frozenset()
    start_timeout: float = 60.0
    timeout: float | None = None
    stop_signal: int = 15
    grace: float = 10.0
    critical: bool = False
    ready: Probe | None = None
    alive: Probe | None = None
    schedule: str | None = None
    overlap: str = "skip"
    run_on_start: bool = False
    stdin: str | None = None
    tty: bool = False
    channels: Mapping[str, tuple[SinkConfig, ...]] = attrs.field(factory=_use_console)
    on_full: str = "block"
    max_line: int = 2**14

    def make_spec(self, limits: Limits | None = None) -> ContainerSpec:
        """Return the spec of its container; see `ContainerConfig.make_spec`."""
        notify, ready_fd = None, None
        match self.ready:
            case Probe(kind="notify"):
                notify = f"mocker/{_OWN}/{self.name}"
            case Probe(kind="fd", target=int(number)):
                ready_fd = number
            case _:
                pass
        return self.container.make_spec(
            grace=self.grace,
            stop_signal=self.stop_signal,
            terminal=self.tty,
            notify=notify,
            ready_fd=ready_fd,
            limits=limits,
        )


@attrs.frozen(kw_only=True)
class ControlConfig:
    """Who else than its owner may ask a running supervisor, and where.

    Attributes:
        uids: Users who may look.
        gids: Groups whose members may look.
        listen: Address and port for TCP; None for none.
        token: What all who ask there must have; "" where nobody listens.
    """

    uids: frozenset[int] = frozenset()
    gids: frozenset[int] = frozenset()
    listen: tuple[str, int] | None = None
    token: str = attrs.field(default="", repr=False)


@attrs.frozen(kw_only=True)
class SupervisorConfig:
    """A whole file.

    Attributes:
        path: Of the file, absolute.
        name: Of the supervisor; no two of one user that run have the same.
        stop_timeout: Seconds in which all jobs together must stop.
        log_format: "auto", "console", "journald", "json" or "prefix".
        log_level: "debug", "info", "warning" or "error".
        journald_socket: Absolute path of the one that takes entries of the journal.
        control: Who else may ask it.
        jobs: By name, in the order of the file.
    """

    path: str
    name: str
    stop_timeout: float = 60.0
    log_format: str = "auto"
    log_level: str = "info"
    journald_socket: str = JOURNALD_SOCKET
    control: ControlConfig = attrs.field(factory=ControlConfig)
    jobs: Mapping[str, JobConfig]
