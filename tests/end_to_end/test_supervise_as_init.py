"""`mocker-supervise` as an init, and as a subreaper."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.end_to_end.job_texts import SLEEP, job
from tests.end_to_end.processes import find_descendants, wait_until
from tests.end_to_end.supervised import Supervised, open_supervisor
from tests.requirements import (
    IS_ROOT,
    requires_busybox,
    requires_commands,
    requires_user_namespaces,
)

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

AS_INIT = [
    "unshare",
    *([] if IS_ROOT else ["--user", "--map-root-user"]),
    *("--pid", "--fork", "--mount-proc", "--kill-child"),
]


@requires_commands("unshare")
def test_as_the_init_of_a_pid_namespace_it_reaps_what_it_never_started(tmp_path: Path) -> None:
    orphans = "for i in 1 2 3; do (sleep 0.5 &); done"

    with open_supervisor(
        tmp_path, job("web", SLEEP), [*AS_INIT, "sh", "-c", f'{orphans}; exec "$@"', "sh"]
    ) as run:
        run.wait_event("orphan.reaped", count=3)
        inside = find_descendants(run.process.pid)[0]
        os.kill(inside, signal.SIGTERM)

        assert run.wait_exit() == 0


@pytest.mark.slow
@pytest.mark.timeout(60)
@requires_commands("unshare")
def test_as_an_init_it_reaps_a_burst_of_orphans_while_a_job_goes_on(tmp_path: Path) -> None:
    count = 10_000
    os.mkfifo(tmp_path / "go")
    # Once told to, it leaves all of them behind at once, ended and reaped by nobody.
    parent = f"""import os
print("leaving", open({str(tmp_path / "go")!r}).read(), flush=True)
for _ in range({count}): os.fork() or os._exit(0)
"""
    wrapper = [*AS_INIT, "sh", "-c", f'{sys.executable} -ISc "$0" & exec "$@"', parent]
    text = job("web", "while :; do echo tick; sleep 0.1; done")

    with open_supervisor(tmp_path, text, wrapper) as run:
        run.wait_line("web | tick")
        (tmp_path / "go").write_text("them")
        run.wait_line("leaving them")
        before = run.lines.count("web | tick")
        assert wait_until(lambda: count_orphans(run) > count, 40)  # their parent is one as well
        during = run.lines.count("web | tick") - before
        (inside,) = find_children(run.process.pid)
        zombies = [pid for pid in find_children(inside) if read_state(pid) == "Z"]
        run.wait_line("web | tick", count=before + during + 2)
        os.kill(inside, signal.SIGTERM)
        status = run.wait_exit()

    assert (count_orphans(run), zombies, status) == (count + 1, [], 0)
    assert (during > 0, len(run.find("job.started"))) == (True, 1)


def count_orphans(run: Supervised) -> int:
    return sum(event.get("count", 1) for event in run.find("orphan.reaped"))


def find_children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


def read_state(pid: int) -> str:
    """Return the letter of a process's state; "X" if there is none any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def test_as_a_subreaper_it_reaps_what_it_never_started(tmp_path: Path) -> None:
    orphan = '(sleep 0.5; :) & exec "$@"'

    with open_supervisor(tmp_path, job("web", SLEEP), ["sh", "-c", orphan, "sh"]) as run:
        run.wait_event("orphan.reaped", exit_code=0)

        assert run.terminate() == 0
