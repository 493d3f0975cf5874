"""How long a start takes: mocker, other runtimes, and a C program that does what mocker does.

    python -m tests.benchmarks.start_latency [--count N] [--alive N] [--json FILE]

Run it in the root of the repository with the interpreter that mocker is installed for, as root or
as an ordinary user. Three questions:

- From cold, from the start of a program to its end: `mocker run true` beside `runc run`,
  bubblewrap, `docker run`, the C program, and an interpreter that does nothing.
- From a warm process, from the call until nothing of the container is left: `spawn` and a fork
  server beside the C program.
- Many kept alive: time until the command is executed, and private memory, for each.

mocker takes part twice: as it is, and without its hardening: the filter of system calls, the
dropping of capabilities, no_new_privs, masked and read-only paths, the namespaces that keep those
in place, the keyring, the limit of core dumps and the look for mocker's own program; see
unhardened.py. What that costs is the difference within each round. How long the filter alone takes
to load is measured as well: prctl(2), in a process that ends then; as in a container, what it is to
call is laid out before it is forked.

The contestants take turns, in an order that is shuffled for each round, so that whatever else the
machine does hits all of them alike. Milliseconds belong to the machine: look at the ratios.

Every contestant runs busybox. runc runs the bundle that `runc spec` makes, changed where it must
be: no terminal, and no limit on descriptors, because that takes CAP_SYS_RESOURCE. A second bundle
has the namespaces and the user mapping of mocker. bubblewrap is given these namespaces as well.
"""

import argparse
import json
import os
import platform
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from mocker.isolation import Container, ContainerSpec, ForkServer, IsolationError, spawn
from mocker.isolation.busybox import find_busybox
from mocker.isolation.capabilities import DEFAULT_SET
from mocker.isolation.memory import read_head, walk
from mocker.isolation.plan import make_plan
from mocker.isolation.privileges import forbid_new_privileges
from mocker.isolation.process_calls import load_filter
from mocker.isolation.seccomp import DEFAULT
from mocker.isolation.seccomp.filters import find_filter
from mocker.isolation.tape import load, make_tape
from mocker.isolation.user_mapping import IdRange, UserMapping, render_id_map
from tests.dockerd import find_docker_obstacle, open_docker

from . import unhardened

MOCKER = "mocker run true"
MOCKER_SOFT = "mocker run true, not hardened"
RUNC = "runc run"
RUNC_EQUAL = "runc run, namespaces as mocker"
BUBBLEWRAP = "bwrap"
DOCKER = "docker run"
PYTHON = "python -c pass"
FLOOR = "C program"
SPAWN = "spawn, wait"
SPAWN_SOFT = "spawn, wait, not hardened"
SERVER = "ForkServer.spawn, wait"
SERVER_SOFT = "ForkServer.spawn, wait, not hardened"
FILTER = "loading the filter of system calls"
FLOOR_WARM = "C program, warm"
FLOOR_SERVED = "C program, served"
SERVER_ALIVE = "ForkServer.spawn, kept alive"
FLOOR_ALIVE = "C program, kept alive"

NAMES = (
    *(MOCKER, MOCKER_SOFT, RUNC, RUNC_EQUAL, BUBBLEWRAP, DOCKER, PYTHON, FLOOR),
    *(SPAWN, SPAWN_SOFT, SERVER, SERVER_SOFT, FILTER, FLOOR_WARM, FLOOR_SERVED),
    *(SERVER_ALIVE, FLOOR_ALIVE),
)

# Who is compared with whom, and how many times as long it may take.
RATIOS = (
    (MOCKER, RUNC, 1.25),
    (MOCKER, RUNC_EQUAL, None),
    (MOCKER, DOCKER, 0.25),
    (MOCKER, BUBBLEWRAP, None),
    (MOCKER, FLOOR, None),
    (MOCKER, PYTHON, None),
    (SPAWN, FLOOR_WARM, 2.0),
    (SERVER, FLOOR_SERVED, 2.0),
    (SERVER_ALIVE, FLOOR_ALIVE, 1.5),
)
MAX_MEGABYTES = 1.0

# Who is compared with whom, and how many milliseconds longer it may take.
DIFFERENCES = ((MOCKER, MOCKER_SOFT, 5.0), (SPAWN, SPAWN_SOFT, 1.5), (SERVER, SERVER_SOFT, 1.5))
MAX_FILTER_MILLISECONDS = 0.25

WARM_UP = 2  # rounds that do not count: files come into the cache, busybox tells its applets
ALIVE_ROUNDS = 9
MEMORY_SAMPLES = 100  # containers looked at
DESCRIPTORS_EACH = 2  # a container's pidfd and control socket
SPARE_DESCRIPTORS = 100
MAX_MILLISECONDS = 120_000  # for either part; on a busy machine fewer rounds have to do
PATIENCE = 100  # seconds for a program that should end by itself

TRUE = ContainerSpec(["true"], rootfs="busybox")
TRUE_SOFT = ContainerSpec(
    ["true"], rootfs="busybox", seccomp="unconfined", cap_add=["all"], allow_new_privs=True
)
# Not as a script, which would be compiled at each start.
UNHARDENED = "from tests.benchmarks.unhardened import run; run()"
SOFT_OPTIONS = ("--seccomp", "unconfined", "--cap-add", "all", "--allow-new-privs")
SLEEP = ContainerSpec(["sleep", "3600"], rootfs="busybox")
# With PYTHONDONTWRITEBYTECODE, which CI likes to set, a changed module is compiled at each start.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "user", "uts")

Measure = Callable[[], float]  # runs once and returns milliseconds


class ObstacleError(Exception):
    """What keeps a contestant from running here."""


class Results:
    """What was measured.

    Attributes:
        times: Milliseconds of each run, by contestant.
        obstacles: What kept a contestant from running.
        memory: Bytes of a container and its command that nothing else has; 0 if not measured.
        memory_source: Where that number is from.
    """

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}
        self.obstacles: dict[str, str] = {}
        self.memory, self.memory_source = 0, ""

    def median(self, name: str) -> float | None:
        """Return the milliseconds of the run in the middle."""
        times = sorted(self.times.get(name, ()))
        return times[len(times) // 2] if times else None

    def ratio(self, name: str, other: str) -> float | None:
        """Return how many times as long one takes as the other."""
        first, second = self.median(name), self.median(other)
        return first / second if first and second else None

    def difference(self, name: str, other: str) -> float | None:
        """Return how many milliseconds longer one takes than the other, each round by itself."""
        pairs = zip(self.times.get(name, ()), self.times.get(other, ()), strict=False)
        differences = sorted(first - second for first, second in pairs)
        return differences[len(differences) // 2] if differences else None


class Setting:
    """What the contestants run on.

    Attributes:
        directory: For files; gone afterwards.
        null: A descriptor of /dev/null.
        busybox: The path of the binary.
        rootfs: A directory with busybox and what runtimes mount on.
        mapping: Which IDs mocker maps.
        server: A fork server.
        server_soft: Another one, see `unhardened`.
    """

    def __init__(self, stack: ExitStack) -> None:
        # First, as a program does that wants its containers to be forked from little.
        self.server = stack.enter_context(ForkServer())
        put_up = unhardened.take_walls_down()
        self.server_soft = stack.enter_context(ForkServer())
        put_up()
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="start-latency-"))
        self.directory = Path(directory)
        self.directory.chmod(0o755)  # root in a container is somebody else outside
        self.null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        stack.callback(os.close, self.null)
        self.busybox = find_busybox().path
        self.rootfs = self.directory / "rootfs"
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            (self.rootfs / name).mkdir(parents=True)
        shutil.copy(self.busybox, self.rootfs / "bin")
        (self.rootfs / "bin/true").symlink_to("busybox")
        mapping = make_plan(TRUE).mapping
        self.mapping = mapping or UserMapping((), ())


def main() -> None:
    """Measure and print."""
    options = parse_options()
    results = Results()
    try:
        check_descriptors(options.alive)
        with ExitStack() as stack:
            measure(Setting(stack), stack, results, options)
    except (IsolationError, ObstacleError) as error:
        sys.exit(f"start_latency: {error}")
    sys.stdout.write(render_table(results, options))
    if options.json:
        options.json.write_text(json.dumps(render_json(results), indent=1))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure how long a start takes.")
    add = parser.add_argument
    add("--count", type=int, default=30, help="runs of each contestant (default: %(default)s)")
    add("--alive", type=int, default=1000, help="containers kept alive (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write all that was measured to FILE")
    return parser.parse_args()


def measure(
    setting: Setting, stack: ExitStack, results: Results, options: argparse.Namespace
) -> None:
    """Let everybody run: in turns, then those that are kept alive."""
    stdio = {"stdin": setting.null, "stdout": setting.null, "stderr": setting.null}
    server, server_soft, alive = setting.server, setting.server_soft, options.alive
    in_turns: dict[str, Callable[[], Measure]] = {
        MOCKER: lambda: time_program(find_beside_python("mocker"), "run", "true"),
        MOCKER_SOFT: lambda: time_program(
            sys.executable, "-c", UNHARDENED, "run", *SOFT_OPTIONS, "true"
        ),
        RUNC: lambda: prepare_runc(setting, equal=False),
        RUNC_EQUAL: lambda: prepare_runc(setting, equal=True),
        BUBBLEWRAP: lambda: prepare_bubblewrap(setting),
        DOCKER: lambda: prepare_docker(setting, stack),
        PYTHON: lambda: time_program(sys.executable, "-c", "pass"),
        FLOOR: lambda: time_program(*floor_command(setting, "once")),
        SPAWN: lambda: time_container(lambda: spawn(TRUE, **stdio)),
        SPAWN_SOFT: lambda: without_walls(time_container(lambda: spawn(TRUE_SOFT, **stdio))),
        SERVER: lambda: time_container(lambda: server.spawn(TRUE, **stdio)),
        SERVER_SOFT: lambda: time_container(lambda: server_soft.spawn(TRUE_SOFT, **stdio)),
        FILTER: lambda: time_filter,
        FLOOR_WARM: lambda: prepare_warm_floor(setting, stack, "warm"),
        FLOOR_SERVED: lambda: prepare_warm_floor(setting, stack, "served"),
    }
    take_turns(in_turns, results, warm_up=WARM_UP, count=options.count)
    one_by_one: dict[str, Callable[[], Measure]] = {
        FLOOR_ALIVE: lambda: prepare_living_floor(setting, alive),
        SERVER_ALIVE: lambda: (
            lambda: keep_alive(lambda: server.spawn(SLEEP, **stdio), alive, results)
        ),
    }
    take_turns(one_by_one, results, warm_up=0, count=ALIVE_ROUNDS)


def take_turns(
    contestants: Mapping[str, Callable[[], Measure]], results: Results, *, warm_up: int, count: int
) -> None:
    """Prepare who can run here, and run them round by round; who can't any more drops out."""
    measures: dict[str, Measure] = {}
    for name, prepare in contestants.items():
        try:
            measures[name] = prepare()
        except ObstacleError as obstacle:
            results.obstacles[name] = str(obstacle)
    begin = time.perf_counter()
    for turn in range(warm_up + count):
        if turn > warm_up and since(begin) > MAX_MILLISECONDS:
            return
        for name in random.sample(list(measures), len(measures)):
            try:
                milliseconds = measures[name]()
            except ObstacleError as obstacle:
                results.obstacles[name] = str(obstacle)
                results.times.pop(name, None)
                del measures[name]
                continue
            if turn >= warm_up:
                results.times.setdefault(name, []).append(milliseconds)


def time_program(*argv: str) -> Measure:
    """Return how to time a program from its start to its end, if it runs here."""
    run_unmeasured(*argv)
    to_null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]

    def run() -> float:
        begin = time.perf_counter()
        pid = os.posix_spawn(argv[0], argv, ENVIRONMENT, file_actions=to_null)
        _, status = os.waitpid(pid, 0)
        milliseconds = since(begin)
        if status:
            raise ObstacleError(f"{' '.join(argv)} ended with {os.waitstatus_to_exitcode(status)}")
        return milliseconds

    return run


def time_container(start: Callable[[], Container]) -> Measure:
    """Return how to time a container from the call until nothing of it is left."""

    def run() -> float:
        begin = time.perf_counter()
        with start() as container:
            status = container.wait()
        milliseconds = since(begin)
        if status.shell_code:
            raise ObstacleError(f"true ended with {status.shell_code} in a container")
        return milliseconds

    return run


def without_walls(measure: Measure) -> Measure:
    """Return how to measure the same where `unhardened` is at work."""

    def run() -> float:
        put_up = unhardened.take_walls_down()
        try:
            return measure()
        finally:
            put_up()

    return run


def time_filter() -> float:
    """Load the default filter in a process of its own, and return the milliseconds that took.

    As where a container is made, what is to be called is laid out before the clone, and the load is
    not the first of it.
    """
    calls = load_filter(find_filter(DEFAULT, DEFAULT_SET))
    load(make_tape([[list(forbid_new_privileges())], [calls]]), None)
    near, far = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            walk(read_head(0))
            begin = time.perf_counter()
            walk(read_head(1))
            os.write(far, b"%f" % since(begin))
        finally:
            os._exit(0)
    os.close(far)
    os.waitpid(pid, 0)
    milliseconds = os.read(near, 100)
    os.close(near)
    if not milliseconds:
        raise ObstacleError("the filter cannot be loaded")
    return float(milliseconds)


def keep_alive(start: Callable[[], Container], count: int, results: Results) -> float:
    """Keep containers alive, look at their memory, end them; return the milliseconds each took."""
    containers: list[Container] = []
    anonymous = read_anonymous_memory()
    try:
        begin = time.perf_counter()
        while len(containers) < count:
            containers.append(start())
        milliseconds = since(begin) / count
        try:
            samples = containers[:: max(1, count // MEMORY_SAMPLES)]
            results.memory = sum(read_private_memory(c.pid) for c in samples) // len(samples)
            results.memory_source = "smaps_rollup of the init and of the command"
        except PermissionError:
            # The init is not dumpable, so its owner may not look. What grew is counted instead.
            results.memory = max(0, read_anonymous_memory() - anonymous) // count
            results.memory_source = "growth of AnonPages in /proc/meminfo"
    finally:
        for container in containers:
            container.kill()
        for container in containers:
            container.close()
    return milliseconds


def prepare_runc(setting: Setting, *, equal: bool) -> Measure:
    """Make a bundle of the root directory, with the namespaces of mocker or with those of runc."""
    runc = find("runc", "runc")
    bundle = setting.directory / f"bundle-{equal}"
    bundle.mkdir()
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    run_unmeasured(runc, "spec", "--bundle", str(bundle), *rootless)
    path = bundle / "config.json"
    config = json.loads(path.read_text())
    config["process"] |= {"args": ["/bin/true"], "terminal": False, "rlimits": []}
    config["root"]["path"] = str(setting.rootfs)
    if equal:
        config["linux"] |= {
            "namespaces": [{"type": name} for name in NAMESPACES],
            "uidMappings": render_oci_map(setting.mapping.uids),
            "gidMappings": render_oci_map(setting.mapping.gids),
        }
    path.write_text(json.dumps(config))
    state = str(setting.directory / "runc")
    name = f"start-latency-{os.getpid()}"
    return time_program(runc, "--root", state, "run", "--bundle", str(bundle), name)


def render_oci_map(ranges: tuple[IdRange, ...]) -> list[dict[str, int]]:
    return [{"containerID": r.inside, "hostID": r.outside, "size": r.count} for r in ranges]


def prepare_bubblewrap(setting: Setting) -> Measure:
    bwrap = find("bwrap", "bubblewrap")
    names = ["--unshare-all", "--uid", "0", "--gid", "0", "--hostname", TRUE.hostname]
    mounts = ["--proc", "/proc", "--dev", "/dev", "--mqueue", "/dev/mqueue"]
    return time_program(bwrap, *names, "--ro-bind", str(setting.rootfs), "/", *mounts, "/bin/true")


def prepare_docker(setting: Setting, stack: ExitStack) -> Measure:
    """Import the root directory as an image, so that nothing is downloaded."""
    docker = find_docker(stack)
    image = f"start-latency-{os.getpid()}"
    archive = shutil.make_archive(str(setting.directory / "image"), "tar", setting.rootfs)
    run_unmeasured(*docker, "import", archive, image)
    stack.callback(run_unmeasured, *docker, "rmi", image)
    return time_program(*docker, "run", "--rm", "--network", "none", image, "/bin/true")


def floor_command(setting: Setting, mode: str, *arguments: str) -> list[str]:
    """Return a command line of the C program, which is compiled for the first."""
    program = setting.directory / "container_floor"
    if not program.exists():
        source = Path(__file__).with_name("container_floor.c")
        compiler = find("cc", "gcc libc6-dev")
        run_unmeasured(compiler, "-O2", "-o", str(program), str(source))
        (setting.directory / "filter").write_bytes(find_filter(DEFAULT, DEFAULT_SET))
    maps = map(render_id_map, (setting.mapping.uids, setting.mapping.gids))
    own = [setting.busybox, *maps, str(setting.directory / "filter"), *setting.mapping.helpers]
    return [str(program), mode, *own, *arguments]


def prepare_warm_floor(setting: Setting, stack: ExitStack, mode: str) -> Measure:
    """Start the C program, which makes a container for each line that it is sent."""
    program = stack.enter_context(
        subprocess.Popen(
            floor_command(setting, mode), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    )

    def run() -> float:
        assert program.stdin
        assert program.stdout
        program.stdin.write(b"\n")
        program.stdin.flush()
        answer = program.stdout.readline()
        if not answer:
            raise ObstacleError("the C program ended")
        return float(answer)

    return run


def prepare_living_floor(setting: Setting, count: int) -> Measure:
    command = floor_command(setting, "alive", str(count))

    def run() -> float:
        started, _ended = run_unmeasured(*command).split()
        return float(started) / count

    return run


def run_unmeasured(*argv: str) -> str:
    """Run a program and return what it prints."""
    try:
        result = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=ENVIRONMENT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ObstacleError(f"{argv[0]} does not end within {PATIENCE} s") from error
    if result.returncode:
        reason = result.stderr.strip().splitlines() or [f"it ends with {result.returncode}"]
        raise ObstacleError(f"{argv[0]} does not run here: {reason[-1]}")
    return result.stdout


def find(program: str, package: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise ObstacleError(
            f"{program} is not installed; on Debian and Ubuntu: apt-get install {package}"
        )
    return path


def find_docker(stack: ExitStack, data: Path | None = None) -> list[str]:
    """Return the command that reaches a daemon: this machine's, or one that ends with the stack.

    Args:
        stack: For that one.
        data: Where that one keeps its logs.
    """
    path = shutil.which("docker")
    if path is not None:
        with suppress(ObstacleError):
            run_unmeasured(path, "version")
            return [path]
    if obstacle := find_docker_obstacle(fetches=True):
        raise ObstacleError(f"no daemon answers, and none can be started: {obstacle}")
    return stack.enter_context(open_docker(data)).command


def find_beside_python(program: str) -> str:
    path = Path(sys.executable).with_name(program)
    if not path.exists():
        raise ObstacleError(
            f"{path} is not installed; run with the Python that mocker is installed for"
        )
    return str(path)


def check_descriptors(alive: int) -> None:
    """Allow as many descriptors as the containers need that are kept alive."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = alive * DESCRIPTORS_EACH + SPARE_DESCRIPTORS
    if needed > most != resource.RLIM_INFINITY:
        raise ObstacleError(f"--alive {alive} needs {needed} descriptors, ulimit -Hn allows {most}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def read_private_memory(init: int) -> int:
    """Return the bytes that only this init or only its command has in memory."""
    children = Path(f"/proc/{init}/task/{init}/children").read_text().split()
    return sum(
        int(line.split()[1]) * 1024
        for pid in (str(init), *children)
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        if line.startswith("Private_")
    )


def read_anonymous_memory() -> int:
    """Return the bytes of memory of the whole machine that belong to processes and to no file."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("AnonPages:"))


def since(begin: float) -> float:
    return (time.perf_counter() - begin) * 1000


def render_table(results: Results, options: argparse.Namespace) -> str:
    who = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
    system = f"Linux {platform.release()}, {os.cpu_count()} processors"
    lines = [
        f"Python {platform.python_version()}, {system}, as {who}; {options.alive} kept alive",
        "",
        f"{'milliseconds':40}{'median':>10}{'lowest':>10}{'runs':>8}",
    ]
    for name in NAMES:
        if times := results.times.get(name):
            median = results.median(name)
            lines.append(f"{name:40}{median:10.2f}{min(times):10.2f}{len(times):8}")
        else:
            lines.append(f"{name:44}{results.obstacles[name]}")
    lines += ["", f"{'times as long':56}{'is':>8}{'at most':>10}"]
    for name, other, limit in RATIOS:
        lines.append(render_ratio(f"{name} / {other}", results.ratio(name, other), limit))
    lines += ["", f"{'milliseconds of hardening':56}{'is':>8}{'at most':>10}"]
    for name, other, limit in DIFFERENCES:
        lines.append(render_ratio(name, results.difference(name, other), limit))
    lines.append(f"(not hardened is {' '.join(SOFT_OPTIONS)}, and no masks)")
    lines.append(render_ratio(FILTER, results.median(FILTER), MAX_FILTER_MILLISECONDS))
    if results.memory:
        memory = render_ratio(
            "private MB of each kept alive", results.memory / 2**20, MAX_MEGABYTES
        )
        lines += ["", f"{memory}, from {results.memory_source}"]
    return "\n".join(lines) + "\n"


def render_ratio(text: str, ratio: float | None, limit: float | None) -> str:
    if ratio is None:
        return f"{text:56}{'-':>8}"
    if limit is None:
        return f"{text:56}{ratio:8.2f}"
    verdict = "reached" if ratio <= limit else "MISSED"
    return f"{text:56}{ratio:8.2f}{limit:10.2f}  {verdict}"


def render_json(results: Results) -> dict[str, object]:
    return {
        "milliseconds": results.times,
        "medians": {name: results.median(name) for name in results.times},
        "ratios": [
            {"of": name, "to": other, "is": results.ratio(name, other), "at_most": limit}
            for name, other, limit in RATIOS
        ],
        "differences": [
            {"of": name, "to": other, "is": results.difference(name, other), "at_most": limit}
            for name, other, limit in DIFFERENCES
        ],
        "private_bytes": results.memory,
        "private_bytes_from": results.memory_source,
        "not_measured": results.obstacles,
    }


if __name__ == "__main__":
    main()
