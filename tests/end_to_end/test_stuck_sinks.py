"""What becomes of a job whose sink takes nothing, beside its output: real FIFOs."""

import os
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from mocker.supervisor import Client
from tests.end_to_end.controlled import open_controlled
from tests.end_to_end.job_texts import SLEEP, job
from tests.end_to_end.processes import PATIENCE
from tests.end_to_end.supervised import open_supervisor
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

FULL = 172_000  # lines; more than a sink has room for, and not more than a pipe takes as well
HUNDRED_THOUSAND = b"\r\n100000\r\n"  # at a terminal
TO_FIFO = "stdout = { file = 'fifo' }\n"


def count_up(to: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(1, to + 1))


def read_fifo(fifo: Path, size: int) -> bytes:
    """Read as much from a FIFO; that nobody writes to it for a while is no end."""
    got = b""
    with fifo.open("r+b", buffering=0) as file:
        while len(got) < size:
            got += file.read(size)
    return got


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
        got = read_fifo(fifo, len(expected))
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


def test_job_that_is_added_again_waits_for_what_was_printed_under_its_name(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    other = job("other", f"exec {SLEEP}")
    expected = count_up(FULL) + b"anew\n"

    script = f"seq {FULL}; echo printed >&2; exec {SLEEP}"
    with open_supervisor(tmp_path, job("web", script, TO_FIFO) + other) as run:
        run.wait_line("web | printed")
        run.rewrite(other)
        run.wait_event("job.stopped", job="web")
        run.rewrite(job("web", f"echo anew; exec {SLEEP}", TO_FIFO) + other)
        run.wait_event("job.held_back", job="web")
        got = read_fifo(fifo, len(expected))
        run.wait_event("job.started", job="web", count=2)
        status = run.terminate()

    assert got == expected
    assert (status, run.find("job.output_lost")) == (0, [])


def test_stop_does_not_wait_for_a_slow_sink(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    lines = FULL + 8000  # the FIFO itself has room for some
    text = job("web", f"seq {lines}; echo printed >&2; exec {SLEEP}", TO_FIFO)

    with os.fdopen(reader, "rb") as file, open_controlled(tmp_path, text) as controlled:
        controlled.run.wait_line("web | printed")
        stopped = controlled.mocker("stop", "web")
        failures = controlled.run.find("sink.failed")
        os.set_blocking(reader, True)
        got = file.read()
        status = controlled.run.terminate()

    assert (stopped.stdout, failures) == ("web: stopped\n", [])
    assert (got, status) == (count_up(lines), 0)


def test_end_of_a_terminal_is_told_to_who_is_attached_and_what_is_left_there_is_counted(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "fifo")
    keys = "output = { file = 'fifo' }\ntty = true\nrestart = 'never'"
    script = "read -r _; seq 1000000 & read -r _"
    text = job("web", script, keys) + job("other", f"exec {SLEEP}")

    async def attend(socket: Path) -> bytes:
        shown, is_filled = b"", False
        with trio.fail_after(PATIENCE):
            async with Client(str(socket)) as client, client.attach("web") as attached:
                await attached.terminal.send_all(b"go\n")
                while not is_filled:
                    with trio.move_on_after(1) as silence:
                        shown += await attached.terminal.receive_some()
                    is_filled = silence.cancelled_caught and HUNDRED_THOUSAND in shown
                await attached.terminal.send_all(b"end\n")
                while data := await attached.terminal.receive_some():
                    shown += data
        return shown

    with open_controlled(tmp_path, text) as controlled:
        controlled.run.wait_event("job.started", job="web")
        shown = trio.run(attend, controlled.socket)
        controlled.run.wait_event("job.exited", job="web")
        status = controlled.run.terminate()

    lost = [*controlled.run.find("job.output_lost"), *controlled.run.find("sink.lost")]
    left_there = sum(event["lines"] for event in lost) - shown.count(b"\n")
    assert (status, HUNDRED_THOUSAND in shown) == (0, True)
    assert left_there > 100
