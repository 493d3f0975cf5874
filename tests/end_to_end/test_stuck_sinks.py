"""What becomes of a job whose sink takes nothing, beside its output: real FIFOs."""

import os
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.end_to_end.job_texts import SLEEP, job
from tests.end_to_end.supervised import open_supervisor
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

FULL = 172_000  # lines; more than a sink has room for, and not more than a pipe takes as well
TO_FIFO = "stdout = { file = 'fifo' }\n"


def count_up(to: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(1, to + 1))


def test_job_that_ends_while_its_sink_fails_is_told_of_and_its_next_run_waits(
    tmp_path: Path,
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    expected = 2 * count_up(FULL)
    keys = "backoff = { initial = 0 }\ngive_up = { failures = 2, within = '1h' }\n"
    text = job("web", f"seq {FULL}; exit 3", TO_FIFO + keys) + job("other", f"exec {SLEEP}")

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.exited", job="web", exit_code=3, next="restart")
        held_back = run.wait_event("job.held_back", job="web")
        starts = len(run.find("job.started", job="web"))
        got = b""
        with fifo.open("r+b", buffering=0) as file:  # which has no end between the runs
            while len(got) < len(expected):
                got += file.read(len(expected))
        run.wait_event("job.given_up", job="web")
        status = run.terminate()

    assert (starts, held_back["reason"]) == (1, "what its last run printed is not written yet")
    assert len(run.find("job.started", job="web")) == 2
    assert got == expected
    assert (status, run.find("job.output_lost")) == (0, [])


def test_critical_job_that_ends_while_its_sink_fails_stops_everything(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    keys = TO_FIFO + "critical = true\nrestart = 'never'\n"
    text = job("web", f"seq {FULL}; exit 3", keys) + job("other", f"exec {SLEEP}")

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.stopped", job="other")
        status = run.wait_exit()

    assert status == 3
    assert run.measure("job.exited", "supervisor.stopped") <= 2


def test_nothing_is_left_to_run_only_once_all_is_written(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    with open_supervisor(tmp_path, job("web", f"seq {FULL}", TO_FIFO + "type = 'oneshot'")) as run:
        run.wait_event("job.exited", job="web", exit_code=0)
        time.sleep(0.3)
        is_stopping = run.find("supervisor.stopping")
        got = fifo.read_bytes()
        status = run.wait_exit()

    assert (is_stopping, len(run.find("job.output_delayed", job="web"))) == ([], 1)
    assert got == count_up(FULL)
    assert (status, run.find("job.output_lost")) == (0, [])


def test_reload_that_removes_a_job_loses_nothing_of_what_it_printed(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    other = job("other", f"exec {SLEEP}")
    lines = FULL + 8000  # the FIFO itself has room for some

    script = f"seq {lines}; echo printed >&2; exec {SLEEP}"
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)

    with (
        os.fdopen(reader, "rb") as file,
        open_supervisor(tmp_path, job("web", script, TO_FIFO) + other) as run,
    ):
        run.wait_line("web | printed")
        run.rewrite(other)
        run.wait_event("job.stopped", job="web")
        time.sleep(1)  # for which nothing is read
        os.set_blocking(reader, True)
        got = file.read()
        status = run.terminate()

    assert got == count_up(lines)
    assert (status, run.find("job.output_lost")) == (0, [])


def test_end_of_jobs_one_after_the_other_does_not_wait_for_the_sink_of_each(
    tmp_path: Path,
) -> None:
    names = ["one", "two", "three", "four"]
    text = ""
    with ExitStack() as stack, ExitStack() as readers:
        for name, before in zip(names, [None, *names], strict=False):
            os.mkfifo(tmp_path / name)
            readers.callback(os.close, os.open(tmp_path / name, os.O_RDWR))
            needed = f"depends_on = {{ {before} = 'started' }}\n" if before else ""
            text += job(name, "yes", f"stdout = {{ file = '{name}' }}\n{needed}")
        run = stack.enter_context(open_supervisor(tmp_path, text))
        run.wait_event("sink.failed", count=4)  # so all of them wait
        status = run.terminate()

    assert (status, len(run.find("job.output_lost"))) == (0, 4)
    assert run.measure("signal.received", "supervisor.stopped") <= 2
