"""Programs that carry what jobs print into logs, and how to look into these.

Each is given the command lines of its jobs and keeps one log for each. None has files rotated but
s6-log, which rotates at 256 MB at the latest. mocker-supervise and docker isolate jobs, the others
don't. The C program has jobs that `mocker run` isolates, and does nothing else but carry: whoever
isolates them so and reads a pipe has no more of their lines in a second.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.journald import Journald, find_journald_obstacle

from .start_latency import ObstacleError, find, find_beside_python, find_docker, run_unmeasured

CIRCUS = "circus==0.19.*"

_IN_MEMORY = Path("/dev/shm")
_S6_MOST = 2**28 - 1  # bytes of a log file; s6-log takes no more
_S6_FILES = 1000
_TAIL = 2**13  # bytes of a log that the last line is searched in
_DOCKER_PROCESSES = ("dockerd", "containerd", "containerd-shim")


class Place:
    """Where things are.

    Attributes:
        directory: For programs, sockets and FIFOs; containers can show it.
        logs: For logs: in memory if there is room, because a disk is busy when it likes to be, and
            with what the one before has left behind.
        lines: The program that prints lines and looks for them.
        carry: The program that carries them from stdin to a file.
    """

    def __init__(self, stack: ExitStack, room: int) -> None:
        """Make it, to be gone afterwards.

        Args:
            stack: For what has to be undone.
            room: Bytes that the logs of one run need.
        """
        self.directory, self.logs = (
            Path(stack.enter_context(tempfile.TemporaryDirectory("", "throughput-", parent)))
            for parent in (None, _IN_MEMORY if has_room(_IN_MEMORY, room) else None)
        )
        for path in (self.directory, self.logs):
            path.chmod(0o755)  # root in a container is somebody else outside
        self.lines, self.carry = map(self._compile, ("numbered_lines", "carry_lines"))

    def _compile(self, name: str) -> Path:
        program = self.directory / name
        source = Path(__file__).with_name(f"{name}.c")
        run_unmeasured(
            find("cc", "gcc libc6-dev"), "-O2", "-static", "-o", str(program), str(source)
        )
        return program


def has_room(directory: Path, room: int) -> bool:
    """Tell whether a directory is in memory and has so many bytes left."""
    try:
        found = os.statvfs(directory)
    except FileNotFoundError:
        return False
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    in_memory = ("tmpfs", str(directory)) in {(kind, path) for _, path, kind, *_ in mounts}
    return in_memory and found.f_bavail * found.f_frsize > room


@dataclass(frozen=True)
class Order:
    """What a logger is asked for.

    Attributes:
        place: Where the programs are.
        directory: For its configuration and its sockets, beside what the jobs have there.
        logs: For its logs; empty.
        commands: The jobs, a command line each.
        stack: For what has to be undone.
    """

    place: Place
    directory: Path
    logs: Path
    commands: Sequence[list[str]]
    stack: ExitStack

    @property
    def names(self) -> list[str]:
        """Those of the jobs."""
        return [f"job-{number}" for number in range(len(self.commands))]

    @property
    def paths(self) -> list[Path]:
        """A path in the directory of the logs for each job."""
        return [self.logs / name for name in self.names]


class FileLog:
    """A log in a file; the program has it rotated if it is called "current".

    Attributes:
        look_s: Seconds between two looks.
    """

    look_s = 0.001

    def __init__(self, path: Path) -> None:
        self.path = path

    def find_last(self, number: int) -> float | None:
        """Return a moment of the monotonic clock at which the line of that number was the last."""
        moment = time.monotonic()
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
                return moment if b"line %010d " % number in file.read() else None
        except FileNotFoundError:
            return None

    def start_reading(self) -> subprocess.Popen[bytes]:
        """Print all of it."""
        rotated = sorted(self.path.parent.glob("@*")) if self.path.name == "current" else []
        return subprocess.Popen(["cat", *rotated, self.path], stdout=subprocess.PIPE)


class JournalLog:
    """The entries of a journal that match; journald puts down when it had each.

    Attributes:
        look_s: Seconds between two looks.
    """

    look_s = 0.05

    def __init__(self, journald: Journald, match: str) -> None:
        self._journald, self._match = journald, match

    def find_last(self, number: int) -> float | None:
        """Return the moment of the monotonic clock when the line of that number was there."""
        for message, microsecond in self.list_moments("--lines=1"):
            if message.startswith(f"line {number:010} "):
                return microsecond / 1e6
        return None

    def list_moments(self, *options: str) -> list[tuple[str, int]]:
        """Return each message, and the microsecond of the monotonic clock when it was there."""
        with self._read(*options, "--output=json", "--output-fields=MESSAGE") as reading:
            assert reading.stdout
            entries = map(json.loads, reading.stdout)
            return [(entry["MESSAGE"], int(entry["__MONOTONIC_TIMESTAMP"])) for entry in entries]

    def start_reading(self) -> subprocess.Popen[bytes]:
        """Print the messages.

        Raises:
            ObstacleError: journald does not keep up.
        """
        try:
            self._journald.synchronize()
        except OSError as error:
            raise ObstacleError(f"journald does not answer: {error}") from error
        return self._read("--output=cat")

    def _read(self, *options: str) -> subprocess.Popen[bytes]:
        (journal,) = (self._journald.directory / "log").iterdir()
        return subprocess.Popen(
            ["journalctl", "--quiet", "--all", f"--directory={journal}", *options, self._match],
            stdout=subprocess.PIPE,
        )


Log = FileLog | JournalLog


@dataclass(frozen=True)
class Logger:
    """A program that is ready to be started.

    Attributes:
        argv: The program and its arguments.
        logs: Those of the jobs, in their order.
        heeds_term: Whether it has to be told to end; if not, it ends when its jobs do.
        others: The names of processes that are not its descendants and work for it.
    """

    argv: list[str]
    logs: Sequence[Log]
    heeds_term: bool = False
    others: tuple[str, ...] = ()


Prepare = Callable[[Order], Logger]


def prepare_mocker(form: str, order: Order) -> Logger:
    program = find_beside_python("mocker-supervise")
    supervisor = {"name": f"throughput-{os.getpid()}"}
    logs: list[Log]
    if form == "journald":
        journald = start_journald(order)
        supervisor["journald_socket"] = str(journald.socket)
        outputs = ['"journald"'] * len(order.commands)
        logs = [JournalLog(journald, f"MOCKER_JOB={name}") for name in order.names]
    else:
        outputs = [
            f'{{ file = "{path}", format = "{form}", max_size = 0 }}' for path in order.paths
        ]
        logs = list(map(FileLog, order.paths))
    lines = ["[supervisor]", *(f'{key} = "{value}"' for key, value in supervisor.items())]
    # The same path inside, so that one command line fits all.
    shown = f"{order.place.directory}:{order.place.directory}:ro"
    for name, command, output in zip(order.names, order.commands, outputs, strict=True):
        lines += [f"[jobs.{name}]", f"command = {json.dumps(command)}", f"output = {output}"]
        lines += [f'volumes = ["{shown}"]', 'restart = "never"']
    file = order.directory / "jobs.toml"
    file.write_text("\n".join(lines) + "\n")
    return Logger([program, str(file)], logs)


def prepare_supervisord(order: Order) -> Logger:
    program = find("supervisord", "supervisor")
    sections: dict[str, dict[str, object]] = {
        "supervisord": {
            "nodaemon": "true",
            "logfile": "/dev/null",  # it prints the same
            "logfile_maxbytes": 0,
            "pidfile": order.directory / "pid",
        },
    }
    for path, command in zip(order.paths, order.commands, strict=True):
        sections[f"program:{path.name}"] = {
            "command": shlex.join(command),
            "startsecs": 0,
            "autorestart": "false",
            "redirect_stderr": "true",
            "stdout_logfile": path,
            "stdout_logfile_maxbytes": 0,
        }
    file = order.directory / "supervisord.conf"
    write_ini(file, sections)
    return Logger([program, "-c", str(file)], list(map(FileLog, order.paths)), heeds_term=True)


def prepare_circus(order: Order) -> Logger:
    program = find_circus(order.place)
    sections: dict[str, dict[str, object]] = {
        "circus": {
            "endpoint": f"ipc://{order.directory}/endpoint",
            "pubsub_endpoint": f"ipc://{order.directory}/pubsub",
        },
    }
    for path, command in zip(order.paths, order.commands, strict=True):
        sections[f"watcher:{path.name}"] = {
            "cmd": shlex.join(command),
            "copy_env": "true",
            "respawn": "false",
            "stdout_stream.class": "FileStream",
            "stdout_stream.filename": path,
        }
    file = order.directory / "circus.ini"
    write_ini(file, sections)
    return Logger([program, str(file)], list(map(FileLog, order.paths)), heeds_term=True)


def find_circus(place: Place) -> str:
    """Return the path of circusd. Debian has none, so the first call installs one for this run."""
    venv = place.directory / "circus"
    program = venv / "bin/circusd"
    if not program.exists():
        run_unmeasured(sys.executable, "-m", "venv", "--without-pip", str(venv))
        # Who has no network shall not wait long to be told so.
        pip = [sys.executable, "-m", "pip", "--quiet", "--retries", "0", "--timeout", "5"]
        run_unmeasured(*pip, "--python", str(venv), "install", CIRCUS)
    return str(program)


def write_ini(file: Path, sections: dict[str, dict[str, object]]) -> None:
    lines: list[str] = []
    for section, values in sections.items():
        lines += [f"[{section}]", *(f"{key}={value}" for key, value in values.items())]
    file.write_text("\n".join(lines) + "\n")


def prepare_s6_log(order: Order) -> Logger:
    program = find("s6-log", "s6")
    options = [program, f"n{_S6_FILES}", f"s{_S6_MOST}", "T"]
    script = [
        f"{shlex.join(command)} | {shlex.join([*options, str(directory)])} &"
        for command, directory in zip(order.commands, order.paths, strict=True)
    ]
    return Logger(run_script(script), [FileLog(each / "current") for each in order.paths])


def prepare_cat(order: Order) -> Logger:
    program = find("cat", "coreutils")
    script = [
        f"{shlex.join(command)} | {program} >{shlex.quote(str(path))} &"
        for command, path in zip(order.commands, order.paths, strict=True)
    ]
    return Logger(run_script(script), list(map(FileLog, order.paths)))


def prepare_carry(order: Order) -> Logger:
    """Isolate each job as mocker's other ones, and carry its lines as cheaply for it as can be."""
    directory = order.place.directory
    run = [find_beside_python("mocker"), "run", "--volume", f"{directory}:{directory}:ro"]
    script = [
        f"{shlex.join([*run, *command])} | {shlex.join([str(order.place.carry), str(path)])} &"
        for command, path in zip(order.commands, order.paths, strict=True)
    ]
    return Logger(run_script(script), list(map(FileLog, order.paths)))


def prepare_systemd_cat(order: Order) -> Logger:
    """Let systemd-cat execute the jobs, where the journal is that of a private journald.

    It can't be told where journald's sockets are. So it has a /run of its own.
    """
    program = find("systemd-cat", "systemd")
    journald = start_journald(order)
    script = [
        "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal || exit",
        f"mount --bind {shlex.quote(str(journald.directory))} /run/systemd/journal || exit",
        *(
            f"{shlex.join([program, f'--identifier={name}', *command])} &"
            for name, command in zip(order.names, order.commands, strict=True)
        ),
    ]
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return Logger(
        [find("unshare", "util-linux"), *user, "--mount", *run_script(script)],
        [JournalLog(journald, f"SYSLOG_IDENTIFIER={name}") for name in order.names],
    )


def run_script(lines: Sequence[str]) -> list[str]:
    return ["/bin/sh", "-c", "\n".join([*lines, "wait"])]


def start_journald(order: Order) -> Journald:
    """Start a journald that keeps its journal where logs are.

    It makes its socket itself, because only there the queue is as long as systemd makes it.
    """
    if obstacle := find_journald_obstacle():
        raise ObstacleError(obstacle)
    directory = order.logs / "journald"
    directory.mkdir()
    try:
        journald = Journald(directory, outlived=False)
    except RuntimeError as error:
        raise ObstacleError(f"journald does not run here: {error}") from error
    order.stack.callback(journald.close)
    return journald


def prepare_docker(order: Order) -> Logger:
    """Start containers, of an image that is imported, so that nothing is downloaded."""
    docker = find_docker(order.stack, order.logs / "docker")
    image = f"relay-throughput-{os.getpid()}"
    archive = order.directory / "image.tar"
    run_unmeasured("tar", "-C", str(order.place.directory), "-cf", str(archive), "numbered_lines")
    run_unmeasured(*docker, "import", str(archive), image)
    order.stack.callback(run_unmeasured, *docker, "rmi", image)
    shown = f"{order.place.directory}:{order.place.directory}:ro"
    logs: list[FileLog] = []
    containers: list[str] = []
    for command in order.commands:
        run = ["run", "--detach", "--log-driver=json-file", "--network=none", "--volume", shown]
        container = run_unmeasured(*docker, *run, image, *command).strip()
        order.stack.callback(run_unmeasured, *docker, "rm", "--force", container)
        path = Path(run_unmeasured(*docker, "inspect", "--format={{.LogPath}}", container).strip())
        if not os.access(path, os.R_OK):
            raise ObstacleError(f"{path} cannot be read; run as root, on the host of the daemon")
        logs.append(FileLog(path))
        containers.append(container)
    return Logger([*docker, "wait", *containers], logs, others=_DOCKER_PROCESSES)
