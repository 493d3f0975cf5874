"""Jobs that are not isolated and yet fenced in: `landlock = true`, in a real supervisor."""

import os
import subprocess
import sys
from collections.abc import Sequence
from errno import EOPNOTSUPP
from pathlib import Path

import pytest

from tests.end_to_end.supervised import Supervised, open_supervisor, supervise
from tests.requirements import requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces]

CHECKOUT = Path(__file__).parent.parent.parent
MOCKER = Path(sys.executable).with_name("mocker")
FENCED = "isolate = false\nlandlock = true\nwritable = ['inside']\n"
LACKS_LANDLOCK = [
    sys.executable,
    "-c",
    "import os, sys\n"
    f"sys.path.insert(0, {str(CHECKOUT)!r})\n"
    "from tests.refusals import Refusal, refuse_system_calls\n"
    f"refuse_system_calls([Refusal('landlock_create_ruleset', {EOPNOTSUPP})])\n"
    "os.execv(sys.argv[1], sys.argv[1:])\n",
]
NOTIFY = (
    "import os, socket, time; "
    "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); "
    "s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'].replace('@', chr(0), 1)); time.sleep(1000)"
)


def job(name: str, argv: Sequence[str], keys: str) -> str:
    """Return the entry of a job."""
    return f"[jobs.{name}]\ncommand = {[word.replace('$', '$$') for word in argv]}\n{keys}\n"


def execute(run: Supervised, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MOCKER, "exec", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(run.file.parent)},
        check=False,
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "inside").mkdir()
    return tmp_path


def test_job_writes_to_what_it_was_given_and_not_to_the_file_of_jobs(directory: Path) -> None:
    script = "echo x >inside/new && echo written; echo x >>jobs.toml || echo refused"
    keys = f"{FENCED}type = 'oneshot'\nworkdir = '{directory}'\nstderr = 'null'"

    status, run = supervise(directory, job("one", ["/bin/sh", "-c", script], keys))

    assert (status, run.lines) == (0, ["one | written", "one | refused"])


def test_job_is_asked_and_entered_behind_its_wall_and_stopped_as_any_other(directory: Path) -> None:
    ready = "ready = { exec = ['/bin/sh', '-c', 'echo >inside/asked && ! echo >outside'] }\n"
    text = job("web", ["/bin/sh", "-c", "echo up; exec sleep 1000"], f"{FENCED}{ready}")
    text += f"workdir = '{directory}'\n"
    with open_supervisor(directory, text) as run:
        run.wait_event("job.ready", job="web")

        there = execute(run, "web", "/bin/sh", "-c", "echo >inside/entered")
        elsewhere = execute(run, "web", "/bin/sh", "-c", "echo >outside")
        signalled = execute(run, "web", "/bin/sh", "-c", "kill -0 $PPID")

        status = run.terminate()
    (stopped,) = run.find("job.stopped", job="web")
    assert (there.returncode, elsewhere.returncode, signalled.returncode) == (0, 2, 0)
    assert "ermission denied" in elsewhere.stderr
    assert sorted(path.name for path in (directory / "inside").iterdir()) == ["asked", "entered"]
    assert not (directory / "outside").exists()
    assert (status, stopped["signal"]) == (0, "SIGTERM")


def test_job_tells_that_it_is_ready_through_its_wall(directory: Path) -> None:
    argv = [os.path.realpath(sys.executable), "-c", NOTIFY]
    with open_supervisor(
        directory, job("web", argv, f"{FENCED}ready = {{ notify = true }}")
    ) as run:
        run.wait_event("job.ready", job="web")

        status = run.terminate()

    assert status == 0


def test_job_does_not_start_where_the_kernel_lacks_it(directory: Path) -> None:
    keys = f"{FENCED}restart = 'never'"
    text = job("web", ["/bin/sh", "-c", "echo started"], keys)
    text += job("plain", ["/bin/sh", "-c", "echo started"], "isolate = false\ntype = 'oneshot'")
    with open_supervisor(directory, text, LACKS_LANDLOCK) as run:
        failed = run.wait_event("job.start_failed", job="web")

        status = run.wait_exit()

    assert run.lines == ["plain | started"]
    assert failed["reason"].startswith("cannot put up a wall by landlock: Operation not supported")
    assert status == 1
