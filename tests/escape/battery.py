"""Run the probes in containers and without, as whoever runs this, and keep the verdicts.

A container is made for all probes that want the same one. What the caller leaves lying about is
what a careless caller leaves: a terminal that is its own, open descriptors that are inherited, a
variable, a directory to be in.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from stat import S_IFCHR
from typing import NamedTuple

from . import inside  # noqa: F401
from .probe import CONTAINER, NAMESPACES, PROBES, ROOT, USER, Probe
from .processes import HIDDEN
from .ways import Job, Way

MOCKER = Path(sys.executable).with_name("mocker")
HERE = Path(__file__).parent
# One that anybody can start, whoever's the tests' own is, and that is below /usr.
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
USER_INSIDE = "1000:1000"
USER_OUTSIDE = 7777  # who stands for a user where there is no container, if root runs this
STRAY_GROUP = 4242
TIMEOUT = 60  # seconds for all probes of one container
CANARY = ("sleep", "864175")
UNSHARE = (
    *("unshare", "--user", "--mount", "--pid", "--fork", "--mount-proc"),
    *("--ipc", "--uts", "--net", "--cgroup", "--propagation", "shared"),
)
# Who is not root loses all capabilities in execve(2), and there is no other ID to become.
MAP_ROOT, MAP_USER = ("--map-root-user",), ("--map-current-user",)
INSIDE = {  # where things are in a container
    "locked": "/locked",
    "readable": "/locked",
    "box": "/box",
    "setuid": "/box/setuid-id",
    "setuid-of-root": "/setuid-id",
    "program": "/usr/bin/env",
    "program-on-host": "/programs/env",
    "scratch": "/tmp",
    "mask": "/proc/interrupts",
    "moved": "/dev/shm",
    "tree": "/",
    "switches": "/proc/sys",
}
START = """
import sys
sys.path.insert(0, sys.argv.pop(1))
sys.dont_write_bytecode = True
from escape.inside import main
main()
"""


class Arm(NamedTuple):
    """Where probes are run, and as whom.

    Attributes:
        place: In a container, in bare namespaces or on the host.
        whom: As root inside or as a user.
        options: Of `mocker run`.
        facts: What is elsewhere than usual.
    """

    place: str
    whom: str
    options: tuple[str, ...]
    facts: tuple[tuple[str, str], ...] = ()


def is_another_user(arm: Arm) -> bool:
    """Return whether probes are run outside by a user who is not the caller."""
    return arm.place != CONTAINER and arm.whom == USER and os.geteuid() == 0


def with_wall(probe: Probe, whom: str) -> Arm:
    """Return where a probe is denied something."""
    return Arm(CONTAINER, whom, probe.options)


def without_wall(probe: Probe, whom: str) -> Arm:
    """Return where a probe gets through."""
    wall = probe.wall
    return Arm(wall.place, whom, wall.options, tuple(wall.facts.items()))


def list_probes() -> list[Probe]:
    """Return all probes, group by group."""
    return sorted(PROBES.values(), key=lambda probe: probe.name)


def list_denials() -> list[tuple[Probe, str]]:
    """Return each probe with each whom it is denied to."""
    return [(p, whom) for p in list_probes() for whom in (ROOT, USER) if p.denied_to(whom)]


def list_groups(whom: str) -> dict[tuple[str, ...], list[str]]:
    """Return the names of the probes that are denied, by the options with which they are."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for probe, tried in list_denials():
        if tried == whom:
            groups.setdefault(probe.options, []).append(probe.name)
    return groups


def list_passes(*, as_root: bool) -> list[tuple[Probe, str]]:
    """Return each probe with each who gets through where its wall is taken away.

    Args:
        as_root: Whether root is to try.
    """
    return [
        (probe, whom)
        for probe in list_probes()
        for whom in probe.wall.whom
        if as_root or not probe.wall.needs_root
    ]


class Battery:
    """The probes, and what they are after.

    Everything is in one directory: what a container must not see (`hidden`), what it may read
    (`locked`) and write (`box`), a root (`skeleton`), a place to mount on (`scratch`), and one for
    what probes make where nothing holds them (`temporary`).
    """

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self._directory = directory
        self._verdicts: dict[Arm, dict[str, str]] = {}
        make_directories(directory)
        self._canary = stack.enter_context(open_process())
        self._opened = os.open(directory / "hidden", os.O_RDONLY)
        stack.callback(os.close, self._opened)
        self._facts = {
            "process": str(self._canary),
            "title": " ".join(CANARY),
            "directory": str(self._opened),
            "hidden": str(directory / "hidden"),
            "network": str(Path("/proc/self/ns/net").readlink()),
            **open_sockets(stack, directory / "hidden/socket"),
        }
        self._devices = make_device(directory / "box/zero")

    def judge(self, probe: Probe, arm: Arm) -> str:
        """Return the verdict on a probe, from the run of all that are run there."""
        if arm not in self._verdicts:
            names = [each.name for each, found in list_runs() if found == arm]
            self._verdicts[arm] = self._run(arm, names)
        return self._verdicts[arm][probe.name]

    def judge_way(self, whom: str, run: Way) -> dict[str, str]:
        """Return the verdicts where `mocker run` is not what makes the containers."""
        groups = {Arm(CONTAINER, whom, opts): names for opts, names in list_groups(whom).items()}
        with open_terminal() as terminal:
            jobs = [
                Job(self._prepare(arm, names, terminal), self._options(arm), os.ttyname(terminal))
                for arm, names in groups.items()
            ]

            def call(command: Sequence[str], env: Mapping[str, str]) -> str:
                result = self._call(["setsid", "--ctty", *command], terminal, env)
                return result.stdout + result.stderr

            text = run(jobs, call)
        return read_verdicts([name for names in groups.values() for name in names], text, text)

    def judge_options(self, whom: str, options: tuple[str, ...]) -> dict[str, str]:
        """Return the verdicts where `mocker run` has some more options."""
        return self._run(Arm(CONTAINER, whom, options), list_groups(whom)[()])

    def _run(self, arm: Arm, names: list[str]) -> dict[str, str]:
        with open_terminal() as terminal:
            if is_another_user(arm):
                os.fchown(terminal, USER_OUTSIDE, -1)
            command = [*self._command(arm), *self._prepare(arm, names, terminal)]
            result = self._call(command, terminal, {})
        return read_verdicts(names, result.stdout, result.stderr)

    def _call(
        self, command: Sequence[str], terminal: int, env: Mapping[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command as a careless caller does."""
        return subprocess.run(
            command,
            stdin=terminal,
            capture_output=True,
            text=True,
            env={**os.environ, HIDDEN: "seen", "TMPDIR": str(self._directory / "temporary"), **env},
            cwd=self._directory / "hidden",
            pass_fds=[self._opened],
            extra_groups=[STRAY_GROUP] if os.geteuid() == 0 else None,
            timeout=TIMEOUT,
            check=False,
        )

    def _prepare(self, arm: Arm, names: list[str], terminal: int) -> list[str]:
        """Return the program that runs probes there."""
        facts = self._locate(arm) | {"terminal": os.ttyname(terminal)} | dict(arm.facts)
        start = [PYTHON, "-ISc", START, facts["readable"]]
        return [*start, json.dumps(facts), arm.place, arm.whom, *names]

    def _locate(self, arm: Arm) -> dict[str, str]:
        """Return where things are for a program that is run there."""
        if arm.place == CONTAINER:
            return self._facts | INSIDE | {"node": f"{self._devices.inside}/zero"}
        places = {name: str(self._directory / name) for name in ("box", "locked", "scratch")}
        setuid = {"setuid": f"{places['box']}/setuid-id", "readable": places["locked"]}
        return self._facts | places | setuid | {"node": f"{self._devices.outside}/zero"}

    def _command(self, arm: Arm) -> list[str]:
        """Return the command that runs a program there."""
        # The session leader with the terminal, as one who is called from a shell has it.
        command = ["setsid", "--ctty"]
        if is_another_user(arm):
            ids = [f"--re{kind}={USER_OUTSIDE}" for kind in ("uid", "gid")]
            command += ["setpriv", *ids, "--keep-groups"]
        if arm.place == NAMESPACES:
            return [*command, *UNSHARE, *(MAP_ROOT if arm.whom == ROOT else MAP_USER)]
        if arm.place != CONTAINER:
            return command
        return [*command, str(MOCKER), "run", *self._options(arm)]

    def _options(self, arm: Arm) -> list[str]:
        """Return the options of `mocker run` for a container."""
        volumes = [(f"{self._directory}/locked", "/locked:ro"), (f"{self._directory}/box", "/box")]
        volumes += [(source, f"{target}:ro") for source, target in self._devices.volumes]
        options = [word for volume in volumes for word in ("-v", ":".join(volume))]
        options += [] if "--rootfs" in arm.options else ["--rootfs", "host"]
        options += [] if arm.whom == ROOT else ["-u", USER_INSIDE]
        paths = {name: f"{self._directory}/{name}" for name in ("hidden", "skeleton")}
        return options + [option.format(**paths) for option in arm.options]


class Devices(NamedTuple):
    """Where a device node is that is nobody's but the host's.

    Attributes:
        inside: The directory, as a container sees it.
        outside: As the host does.
        volumes: That the container needs for it: from where to where.
    """

    inside: str
    outside: str
    volumes: list[tuple[str, str]]


def make_directories(top: Path) -> None:
    """Make what the probes are after, and what they are run from."""
    top.chmod(0o755)
    for name in ("hidden", "locked", "box", "scratch", "skeleton"):
        (top / name).mkdir(mode=0o755)
        if name != "skeleton":
            (top / name / "canary").write_text("canary")
            make_open(top / name / "open")
    shutil.copytree(HERE, top / "locked/escape", ignore=shutil.ignore_patterns("__pycache__"))
    skeleton = top / "skeleton"
    for name in ("usr", "etc", "proc", "sys", "dev", "locked", "box", "mirror"):
        (skeleton / name).mkdir()
    for path in (skeleton / "tmp", top / "temporary"):
        make_open(path)
    for name in ("bin", "sbin", "lib", "lib64"):
        (skeleton / name).symlink_to(f"usr/{name}")
    for path in (top / "box/setuid-id", skeleton / "setuid-id"):
        shutil.copy(shutil.which("id") or "", path)
        path.chmod(0o4755)


def make_open(directory: Path) -> None:
    """Make a directory that everybody may write to."""
    directory.mkdir()
    directory.chmod(0o1777)


def make_device(path: Path) -> Devices:
    """Make a device node in a volume; who can't has a volume with some."""
    if os.geteuid() == 0:
        os.mknod(path, 0o666 | S_IFCHR, os.makedev(1, 5))
        return Devices("/box", str(path.parent), [])
    return Devices("/devices", "/dev", [("/dev", "/devices")])


@contextmanager
def open_terminal() -> Iterator[int]:
    """Have a terminal for the length of a block."""
    master, slave = os.openpty()
    try:
        yield slave
    finally:
        os.close(master)
        os.close(slave)


def read_verdicts(names: list[str], text: str, told: str) -> dict[str, str]:
    """Return what the program printed, or fail with what it said if it did not print all."""
    verdicts = dict(line.split("\t", 1) for line in text.splitlines() if "\t" in line)
    assert sorted(verdicts) == sorted(names), told
    return verdicts


@contextmanager
def open_process() -> Iterator[int]:
    """Run a process of the host's for the length of a block; return its pid."""
    # So that a user may signal it, too.
    owner = USER_OUTSIDE if os.geteuid() == 0 else None
    with subprocess.Popen(CANARY, user=owner) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def open_sockets(stack: ExitStack, path: Path) -> dict[str, str]:
    """Listen where a container must not be able to connect; return the addresses as facts."""
    abstract = f"escape-{os.getpid()}"
    addresses: list[tuple[socket.AddressFamily, str | tuple[str, int]]] = [
        (socket.AF_UNIX, f"\0{abstract}"),
        (socket.AF_UNIX, str(path)),
        (socket.AF_INET, ("127.0.0.1", 0)),
    ]
    listeners = [stack.enter_context(socket.socket(family)) for family, _ in addresses]
    for listener, (_, address) in zip(listeners, addresses, strict=True):
        listener.bind(address)
        listener.listen()
    path.chmod(0o777)
    return {"abstract": abstract, "port": str(listeners[-1].getsockname()[1])}


@contextmanager
def open_battery() -> Iterator[Battery]:
    """Have the probes ready for the length of a block."""
    with ExitStack() as stack:
        # In a place that users get to.
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="escape-"))
        yield Battery(stack, Path(directory))


def list_runs() -> Iterator[tuple[Probe, Arm]]:
    """Yield each probe with each arm that it is to be run in, once."""
    runs = [(probe, with_wall(probe, whom)) for probe, whom in list_denials()]
    runs += [(p, without_wall(p, whom)) for p, whom in list_passes(as_root=os.geteuid() == 0)]
    seen = set[tuple[str, Arm]]()
    for probe, arm in runs:
        if (probe.name, arm) not in seen:
            seen.add((probe.name, arm))
            yield probe, arm
