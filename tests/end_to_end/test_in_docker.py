"""mocker in containers of docker's: a real daemon, the options of Dockerfile.dev and none."""

import json
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from mocker.isolation.spec import DEFAULT_HOSTNAME
from mocker.isolation.survivors import read_title
from tests.dockerd import CHECKOUT, Docker, find_docker_obstacle, open_docker
from tests.end_to_end.job_texts import SLEEP, job
from tests.end_to_end.processes import find_descendants, wait_until, watch
from tests.end_to_end.supervised import MOCKER_SUPERVISE, Event
from tests.requirements import MUST_RUN, requires, requires_busybox, requires_root

pytestmark = [
    pytest.mark.end_to_end,
    requires_root,
    requires(partial(find_docker_obstacle, fetches=MUST_RUN)),
    requires_busybox,
]

MOCKER = str(Path(sys.executable).with_name("mocker"))
ORPHANS = 300
NAME = "supervisor"
HEAD, _ = (CHECKOUT / "Dockerfile.dev").read_text().split("\nFROM ", 1)
OPTIONS = tuple(
    re.sub(" ", "=", option) for option in re.findall(r"--cap-add \S+|--security-opt [\w=]+", HEAD)
)


@pytest.fixture(scope="module")
def _daemon() -> Iterator[Docker]:
    with open_docker() as docker:
        yield docker


@pytest.fixture
def docker(_daemon: Docker) -> Iterator[Docker]:
    yield _daemon
    left = _daemon("ps", "--all", "--quiet").stdout.split()
    if left:
        _daemon("rm", "--force", "--volumes", *left)


class InDocker:
    """A `mocker-supervise` that is PID 1 of a container."""

    def __init__(self, docker: Docker, directory: Path, text: str, *options: str) -> None:
        self._docker = docker
        file = directory / "jobs.toml"
        file.write_text(text)
        shown = ("--detach", f"--name={NAME}", f"--volume={directory}:{directory}", *options)
        docker.run(str(MOCKER_SUPERVISE), str(file), options=shown)

    def find(self, name: str, **facts: object) -> list[Event]:
        """Return the events so far of this name that have these facts."""
        events = [json.loads(line) for line in self._docker("logs", NAME).stderr.splitlines()]
        return [e for e in events if e["event"] == name and facts.items() <= e.items()]

    def execute(self, script: str) -> str:
        """Run a shell script beside it, and return what that prints."""
        return self._docker("exec", NAME, "sh", "-c", script).stdout

    def wait_exit(self) -> int:
        """Wait until it ends, and return the exit status that docker tells."""
        return int(self._docker("wait", NAME).stdout)


def test_supervisor_that_is_pid_1_runs_isolated_jobs_and_reaps_what_it_never_started(
    docker: Docker, tmp_path: Path
) -> None:
    script = f"setsid sleep 1000 & hostname; exec {SLEEP}"
    supervisor = InDocker(docker, tmp_path, job("web", script), *OPTIONS)
    assert wait_until(lambda: supervisor.find("job.started", job="web") != [])

    name = supervisor.execute("cat /proc/1/comm")
    # What is executed in a container has its parent outside; with that gone, PID 1 takes over.
    supervisor.execute(f"for number in $(seq {ORPHANS}); do sleep 0.2 & done")
    assert wait_until(lambda: count_reaped(supervisor) >= ORPHANS)
    zombies = supervisor.execute("grep -l '^State:.Z' /proc/[0-9]*/status || true")
    shown = supervisor.execute(f"{MOCKER} ps")
    docker("stop", NAME)

    assert name == "mocker-supervis\n"
    assert (count_reaped(supervisor), zombies) == (ORPHANS, "")
    assert re.search(r"^web +RUNNING ", shown, re.MULTILINE)
    assert '"line":"web"' in docker("logs", NAME).stdout
    assert supervisor.wait_exit() == 0
    assert len(supervisor.find("job.stopped", job="web", signal="SIGTERM")) == 1


def count_reaped(supervisor: InDocker) -> int:
    return sum(event.get("count", 1) for event in supervisor.find("orphan.reaped"))


def test_nothing_is_left_when_docker_kills_the_supervisor(docker: Docker, tmp_path: Path) -> None:
    before = find_descendants(docker.process.pid)
    text = job("web", f"setsid sleep 1000 & exec {SLEEP}", "replicas = 3")
    supervisor = InDocker(docker, tmp_path, text, *OPTIONS)

    def list_inside() -> list[int]:
        return sorted({*find_descendants(docker.process.pid)}.difference(before))

    assert wait_until(lambda: [read_title(pid) for pid in list_inside()].count("sleep 1000") == 6)
    with watch(list_inside()) as wait_ended:
        docker("kill", NAME)
        status = supervisor.wait_exit()
        left = wait_ended()

    assert (status, left) == (137, [])


def test_jobs_without_isolation_need_no_options(docker: Docker, tmp_path: Path) -> None:
    text = "[defaults]\nisolate = false\n" + job("once", "echo done", "type = 'oneshot'")

    supervisor = InDocker(docker, tmp_path, text)
    status = supervisor.wait_exit()

    assert (status, len(supervisor.find("job.exited", job="once", exit_code=0))) == (0, 1)
    assert '"line":"done"' in docker("logs", NAME).stdout


def test_command_in_a_container_with_the_options_has_a_container_of_its_own(
    docker: Docker,
) -> None:
    script = "hostname; exit 3"
    result = docker.run(MOCKER, "run", "sh", "-c", script, options=OPTIONS, check=False)

    assert (result.returncode, result.stdout, result.stderr) == (3, f"{DEFAULT_HOSTNAME}\n", "")


@pytest.mark.parametrize(
    ("begun_with", "advised"),
    [
        ([], ["seccomp=unconfined", "systempaths=unconfined"]),
        # With it docker's filter allows the mounts, but no other root.
        (["--cap-add=SYS_ADMIN"], ["systempaths=unconfined", "seccomp=unconfined"]),
        (["--user=1000:1000"], ["seccomp=unconfined", "systempaths=unconfined"]),
    ],
)
def test_whoever_follows_the_advice_in_an_ordinary_container_gets_there(
    docker: Docker, begun_with: list[str], advised: list[str]
) -> None:
    options, followed = ["--rm", *begun_with], list[str]()

    while True:
        result = docker.run(MOCKER, "run", "echo", "there", options=tuple(options), check=False)
        advice = re.search(r"start the outer .* with --security-opt (\w+=\w+)", result.stderr)
        if advice is None or advice[1] in followed:
            break
        followed.append(advice[1])
        options.append(f"--security-opt={advice[1]}")

    assert (result.returncode, result.stdout, result.stderr) == (0, "there\n", "")
    assert followed == advised
