"""Where the output of jobs goes, as a user sees it: real files, disks that are full, FIFOs."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from tests.benchmarks.process_use import read_private_memory
from tests.end_to_end.job_texts import SLEEP, job
from tests.end_to_end.processes import DEFAULT_SIGNALS, wait_until
from tests.end_to_end.supervised import (
    MOCKER_SUPERVISE,
    Supervised,
    open_supervisor,
    supervise,
)
from tests.journald import open_journald, requires_journald
from tests.requirements import (
    IS_ROOT,
    requires_busybox,
    requires_commands,
    requires_user_namespaces,
)

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

ONESHOT = "type = 'oneshot'\n"
PIPE_SIZE = 2**16
TICK = "while :; do echo tick; sleep 0.05; done"
# It says when it prints a line: /proc/uptime, in hundredths of a second.
OTHER_JOB = job(
    "other",
    "while read -r up _ </proc/uptime; do echo $up; sleep 0.05; done",
    "stdout = { file = 'other.log' }",
)
WITH_A_SMALL_DISK = [
    "unshare",
    *([] if IS_ROOT else ["--user", "--map-root-user"]),
    "--mount",
    "sh",
    "-c",
    'mount -t tmpfs -o size=256k tmpfs "$0/disk" && exec "$@"',
]


def count_up(to: int) -> list[str]:
    return [str(number) for number in range(1, to + 1)]


def count_unread(pipe: IO[bytes] | None) -> int:
    """Return how many bytes wait in a pipe."""
    answer = bytearray(4)
    fcntl.ioctl(pipe, termios.FIONREAD, answer)  # type: ignore[arg-type]
    return int.from_bytes(answer, sys.byteorder)


def works(run: Supervised) -> bool:
    """Tell whether everything is written that a sink had."""
    return len(run.find("sink.recovered")) == len(run.find("sink.failed"))


def wait_tick(run: Supervised) -> None:
    """Wait until another job prints now."""
    run.wait_line("other | tick", count=run.lines.count("other | tick") + 3)


def test_each_channel_is_in_order_and_has_its_name(tmp_path: Path) -> None:
    script = "for i in $(seq 500); do echo o$i; echo e$i >&2; done"
    console = tmp_path / "console"

    with (
        console.open("wb") as stdout,
        open_supervisor(tmp_path, job("web", script, ONESHOT), stdout=stdout.fileno()) as run,
    ):
        run.wait_exit()

    found = defaultdict(list)
    for line in console.read_text().splitlines():
        entry = json.loads(line)
        found[entry["job"], entry["channel"]].append(entry["line"])
    assert found == {
        ("web", "stdout"): [f"o{number}" for number in count_up(500)],
        ("web", "stderr"): [f"e{number}" for number in count_up(500)],
    }


def test_no_line_is_torn_by_an_event_where_both_go_into_one_pipe(tmp_path: Path) -> None:
    other = job("other", "exit 1", "backoff = { initial = 0 }\n")
    text = job("web", "seq 20000; seq 20000; exit 3", "critical = true\nrestart = 'never'\n")
    file = tmp_path / "jobs.toml"
    file.write_text(f"[supervisor]\nlog_format = 'prefix'\n{text}{other}")

    with subprocess.Popen(
        [*DEFAULT_SIGNALS, MOCKER_SUPERVISE, file],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        try:
            assert wait_until(lambda: count_unread(process.stdout) > PIPE_SIZE // 2)
            said = process.stdout.read().decode().splitlines()
        finally:
            process.kill()

    lines = [line for line in said if " | " in line]
    assert lines == [f"<6>web | {number}" for number in count_up(20_000) * 2]
    assert process.returncode == 3


def test_both_channels_in_one_pipe_keep_their_order(tmp_path: Path) -> None:
    script = "for i in $(seq 500); do echo o$i; echo e$i >&2; done"
    keys = ONESHOT + "output = { file = 'logs/web.log' }"

    supervise(tmp_path, job("web", script, keys))

    lines = (tmp_path / "logs/web.log").read_text().splitlines()
    assert lines == [f"{channel}{number}" for number in count_up(500) for channel in "oe"]


def test_last_lines_without_an_end_of_many_jobs_are_complete(tmp_path: Path) -> None:
    keys = ONESHOT + "replicas = 30\nstdout = { file = 'all.log', format = 'json' }"

    status, _ = supervise(tmp_path, job("web", "seq 5000; printf partial", keys))

    found = defaultdict(list)
    for line in (tmp_path / "all.log").read_text().splitlines():
        entry = json.loads(line)
        found[entry["job"]].append((entry["line"], entry.get("partial", False)))
    expected = [*((number, False) for number in count_up(5000)), ("partial", True)]
    assert (status, found) == (0, {f"web-{n}": expected for n in range(1, 31)})


def test_bytes_of_a_raw_file_are_those_of_the_job(tmp_path: Path) -> None:
    script = r"printf '\377\000\r\033[1m\n\nend'; head -c 50000 /dev/zero"
    keys = ONESHOT + "stdout = { file = 'web.log' }"

    supervise(tmp_path, job("web", script, keys))

    expected = b"\xff\0\r\x1b[1m\n\nend" + bytes(50_000)
    assert (tmp_path / "web.log").read_bytes() == expected


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_line_without_an_end_delays_no_other_job(tmp_path: Path) -> None:
    # The other one says when it prints a line: /proc/uptime, in hundredths of a second.
    tick = "while read -r up _ </proc/uptime; do echo $up; sleep 0.01; done"
    size = 50_000_000
    big = f"head -c {size} /dev/zero | tr '\\0' x"
    keys = ONESHOT + "depends_on = ['other']\nstdout = { file = 'web.log' }"
    text = job("web", big, keys) + job("other", tick)
    worst = []

    # More than once, as it can be the machine that was busy with something else.
    for attempt in range(3):
        directory = tmp_path / str(attempt)
        directory.mkdir()
        read_end, write_end = os.pipe()
        with (
            open_supervisor(directory, text, stdout=write_end) as run,
            os.fdopen(read_end) as console,
        ):
            os.close(write_end)
            delays = []
            while not run.find("job.exited", job="web"):
                line = json.loads(console.readline())["line"]
                delays.append(time.clock_gettime(time.CLOCK_BOOTTIME) - float(line))
            run.send(signal.SIGTERM)
            console.read()
            assert run.wait_exit() == 0
        worst.append(max(delays))
        if worst[-1] < 0.1:
            break

    assert (tmp_path / "0/web.log").stat().st_size == size
    assert min(worst) < 0.1


def test_output_can_be_the_supervisors_own(tmp_path: Path) -> None:
    keys = ONESHOT + "output = 'inherit'"

    _, run = supervise(tmp_path, job("web", "echo plain; echo remark >&2", keys))

    assert (run.lines, run.remarks) == (["plain"], ["remark"])


def test_failed_start_has_its_last_lines_wherever_they_went(tmp_path: Path) -> None:
    keys = "stdout = 'null'\nstderr = { file = 'e.log' }\npermanent_codes = [1]"

    _, run = supervise(tmp_path, job("web", "echo one; sleep 0.1; echo two >&2; exit 1", keys))

    (event,) = run.find("job.given_up")
    assert event["last_lines"] == ["one", "two"]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_log_files_are_opened_anew_when_that_is_asked(tmp_path: Path, number: int) -> None:
    path = tmp_path / "web.log"
    with open_supervisor(tmp_path, job("web", TICK, "stdout = { file = 'web.log' }")) as run:
        assert wait_until(lambda: path.exists() and path.stat().st_size > 0)
        path.rename(tmp_path / "old.log")
        run.send(number)

        reopened = run.wait_event("logs.reopened")

        assert wait_until(lambda: path.exists() and path.stat().st_size > 0)
        assert (reopened["count"], run.terminate()) == (1, 0)


def test_reload_rotates_a_log_file_that_another_run_has_open(tmp_path: Path) -> None:
    # Each line of "slow" is as long as a file may be, and it never ends by itself.
    def write_config(max_size: str) -> str:
        keys = (
            f"grace = '1h'\noutput = {{ file = 'all.log', max_size = '{max_size}', backups = 2 }}"
        )
        slow = f"trap '' TERM; while :; do echo {'x' * 999}; sleep 0.01; done"
        return job("slow", slow, keys) + job("web", "echo up; exec sleep 1000", keys)

    with open_supervisor(tmp_path, write_config("1M")) as run:
        run.wait_event("job.started", count=2)
        run.rewrite(write_config("1k"))
        run.wait_event("job.started", job="web", count=2)

        # The first backup has what came before.
        is_rotated = wait_until(lambda: 0 < count_bytes(tmp_path / "all.log.2") <= 1024)

        stops = run.find("job.stopping", job="slow"), run.find("job.stopped", job="slow")
    assert (is_rotated, *map(len, stops)) == (True, 1, 0)


@pytest.mark.slow
@pytest.mark.timeout(60)
@requires_commands("unshare", "mount")
def test_full_disk_holds_up_its_job_alone_and_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    keys = ONESHOT + "stdout = { file = 'disk/web.log' }"
    text = job("web", "seq 300000", keys) + OTHER_JOB

    with open_supervisor(tmp_path, text, [*WITH_A_SMALL_DISK, str(tmp_path)]) as run:
        delays = measure_delays(tmp_path / "other.log", 80)
        (failed,) = run.find("sink.failed")
        is_full = not run.find("sink.recovered")
        disk = Path(f"/proc/{run.process.pid}/root{tmp_path}/disk")
        rest = b""
        while not rest.endswith(b"\n300000\n"):
            if (disk / "web.log").exists():
                taken = disk / f"taken-{len(rest)}"
                (disk / "web.log").rename(taken)
                time.sleep(0.02)  # for the write that may be under way
                rest += taken.read_bytes()
                taken.unlink()
        run.wait_event("job.exited", job="web")
        assert wait_until(lambda: works(run))
        status = run.terminate()

    assert failed["sink"] == str(tmp_path / "disk/web.log")
    assert "No space left on device (ENOSPC)" in failed["reason"]
    assert rest.decode().splitlines() == count_up(300_000)
    assert (status, is_full, count_late(delays) <= 0.05 * len(delays)) == (0, True, True)


@requires_commands("unshare", "mount")
def test_full_disk_costs_lines_and_no_time_where_that_is_preferred(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    keys = ONESHOT + "stdout = { file = 'disk/web.log' }\non_full = 'drop'"
    text = job("web", "seq 700000", keys) + job("other", SLEEP)

    with open_supervisor(tmp_path, text, [*WITH_A_SMALL_DISK, str(tmp_path)]) as run:
        run.wait_event("job.exited", job="web")
        disk = os.open(f"/proc/{run.process.pid}/root{tmp_path}/disk", os.O_RDONLY)
        status = run.terminate()
        with os.fdopen(os.open("web.log", os.O_RDONLY, dir_fd=disk), "rb") as file:
            written = file.read().count(b"\n")
        os.close(disk)

    dropped = sum(event["lines"] for event in run.find("sink.dropped", job="web"))
    (lost,) = run.find("sink.lost")
    assert (status, len(run.find("sink.failed"))) == (0, 1)
    assert min(dropped, written) > 0
    assert written + dropped + lost["lines"] == 700_000


@pytest.mark.parametrize("has_reader", [False, True])
def test_file_gets_every_line_beside_a_sink_that_takes_nothing_and_drops(
    tmp_path: Path, has_reader: bool
) -> None:
    fifo, path = tmp_path / "fifo", tmp_path / "web.log"
    os.mkfifo(fifo)
    # More than there is room for on the way to the FIFO, at a pace that the file keeps up with.
    script = (
        "for i in $(seq 0 29); do seq $((10000 * i + 1)) $((10000 * i + 10000)); sleep 0.02; done"
    )
    keys = f"{ONESHOT}on_full = 'drop'\nstdout = [{{ file = 'fifo' }}, {{ file = 'web.log' }}]"

    with ExitStack() as stack:
        if has_reader:
            stack.callback(os.close, os.open(fifo, os.O_RDWR))
        run = stack.enter_context(open_supervisor(tmp_path, job("web", script, keys)))
        status = run.wait_exit()

    dropped = run.find("sink.dropped")
    assert path.read_text().splitlines() == count_up(300_000)
    assert (status, {event["sink"] for event in dropped}) == (0, {str(fifo)})
    assert sum(event["lines"] for event in dropped) > 100_000


def test_fifo_without_a_reader_holds_up_its_job_alone(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    text = job("web", "seq 300000", ONESHOT + "stdout = { file = 'fifo' }") + job("other", TICK)

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("sink.failed", sink=str(fifo))
        wait_tick(run)
        with fifo.open("rb") as reader:
            lines = [reader.readline() for _ in range(300_000)]
            run.wait_event("job.exited", job="web")
            status = run.terminate()

    assert lines == [b"%d\n" % number for number in range(1, 300_001)]
    assert (status, len(run.find("sink.failed"))) == (0, 1)


def test_readers_of_a_fifo_that_follow_each_other_under_load_get_every_byte(
    tmp_path: Path,
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    text = job("web", "seq 1000000", ONESHOT + "stdout = { file = 'fifo' }") + job("other", SLEEP)
    got = b""

    with open_supervisor(tmp_path, text) as run:
        for count in range(3):
            run.wait_event("sink.failed", sink=str(fifo), count=count + 1)
            with fifo.open("rb", buffering=0) as reader:
                while len(run.find("sink.recovered")) == count:
                    got += reader.read(100_000)
                assert wait_until(lambda: count_unread(reader) > 0)
        run.wait_event("sink.failed", sink=str(fifo), count=4)
        with fifo.open("rb", buffering=0) as reader:
            while chunk := reader.read(100_000):
                got += chunk
        run.wait_event("job.exited", job="web", exit_code=0)
        status = run.terminate()

    assert got.decode().splitlines() == count_up(1_000_000)
    assert (status, run.find("sink.lost"), run.find("job.output_lost")) == (0, [], [])


def test_end_does_not_wait_for_a_sink_that_takes_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    text = job("web", "while :; do echo line; done", "stdout = { file = 'fifo' }")

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("sink.failed")
        status = run.terminate()

    (lost,) = run.find("sink.lost")
    assert (status, lost["lines"] > 1000) == (0, True)
    assert run.measure("signal.received", "supervisor.stopped") <= 2
    assert run.events[-1]["event"] == "supervisor.stopped"


@pytest.mark.slow
def test_end_waits_two_seconds_at_most_for_a_sink_that_stands_still(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDWR)
    text = job("web", "yes", "stdout = { file = 'fifo' }")

    with os.fdopen(reader, "rb"), open_supervisor(tmp_path, text) as run:
        run.wait_event("sink.failed")  # so the job waits
        status = run.terminate()

    (unread,), (lost,) = run.find("job.output_lost"), run.find("sink.lost")
    assert (status, unread["lines"] > 1000, lost["lines"] > 1000) == (0, True, True)
    assert run.measure("signal.received", "supervisor.stopped") <= 2


@pytest.mark.parametrize(
    ("sink", "name"),
    [("'console'", "console"), ("{ file = '/dev/stdout' }", "/dev/stdout")],
)
def test_stdout_whose_reader_is_gone_keeps_no_job_from_its_work(
    tmp_path: Path, sink: str, name: str
) -> None:
    text = job("web", "seq 300000", f"{ONESHOT}stdout = {sink}")
    read_end, write_end = os.pipe()

    with open_supervisor(tmp_path, text, stdout=write_end) as run:
        os.close(write_end)
        os.close(read_end)
        status = run.wait_exit()

    (lost,) = run.find("sink.lost", sink=name)
    assert (status, lost["lines"]) == (0, 300_000)
    assert len(run.find("sink.failed")) == 1


@requires_journald
@pytest.mark.parametrize(
    ("log_format", "sink"),
    [("journald", "journald"), ("journald", "console"), ("json", "journald")],
)
def test_outage_of_journald_is_told_once_whoever_finds_out(
    tmp_path: Path, log_format: str, sink: str
) -> None:
    path = tmp_path / "web.log"
    with open_journald() as journald:
        keys = f"log_format = '{log_format}'\njournald_socket = '{journald.socket}'"
        web = job("web", TICK, f"stdout = ['{sink}', {{ file = 'web.log' }}]")
        with open_supervisor(tmp_path, f"[supervisor]\n{keys}\n{web}") as run:

            def count_words(name: str) -> int:
                return len(run.find(name)) + len(journald.read(f"MOCKER_EVENT={name}"))

            def wait_tick() -> None:
                size = count_bytes(path)
                assert wait_until(lambda: count_bytes(path) > size + 10)

            wait_tick()
            journald.synchronize()
            journald.kill()
            wait_tick()
            run.send(signal.SIGQUIT)  # tells something
            run.wait_event("job.state")
            journald.start()
            run.send(signal.SIGQUIT)
            assert wait_until(lambda: count_words("sink.recovered") > 0)
            status = run.terminate()

            told = [count_words(name) for name in ("sink.failed", "sink.recovered", "sink.lost")]
            seen = len(run.find("sink.failed"))
    assert (status, told, seen) == (0, [1, 1, 0], 1)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "sink", ["'console'", "'null'", "{ file = 'logs/${job}', format = 'json' }"]
)
def test_thousand_jobs_that_print_at_once_take_little_memory(tmp_path: Path, sink: str) -> None:
    # While others start: what stays of these comes to be between what is read.
    done = tmp_path / "done"
    script = f"{print_much(2**17)}; echo >>{done}; exec {SLEEP}"
    jobs = [
        job(f"web-{n}", script, f"isolate = false\nstdout = {sink}").replace("${job}", f"{n}")
        for n in range(1000)
    ]

    with (
        open_supervisor(tmp_path, "".join(jobs), stdout=subprocess.DEVNULL) as run,
        sample_private_memory(run.process.pid) as samples,
    ):
        assert any(wait_until(lambda: count_bytes(done) == 1000) for _ in range(6))
        most = max(samples)
        status = run.terminate()

    assert (status, most < 100_000_000) == (0, True)


@pytest.mark.slow
@pytest.mark.timeout(120)
@requires_journald
def test_thousand_jobs_that_print_into_the_journal_at_once_take_little_memory(
    tmp_path: Path,
) -> None:
    # More than journald takes while this lasts, so that all of them wait for it.
    script = f"{print_much(2**20)}; exec {SLEEP}"
    keys = "replicas = 1000\nisolate = false\nstdout = 'journald'"

    with open_journald() as journald:
        head = f"[supervisor]\njournald_socket = '{journald.socket}'\n"
        with (
            open_supervisor(tmp_path, head + job("web", script, keys)) as run,
            sample_private_memory(run.process.pid) as samples,
        ):
            assert any(wait_until(lambda: len(run.find("job.started")) == 1000) for _ in range(6))
            count = len(samples)
            assert wait_until(lambda: len(samples) >= count + 100)  # which takes two seconds
            status = run.terminate()
        found = journald.find_values("MOCKER_JOB")

    cut_short = {event["job"] for event in run.find("job.output_lost")}
    assert (status, len(found) > 1, len(cut_short) > 500) == (0, True, True)
    assert max(samples) < 100_000_000


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_sinks_that_stand_still_while_jobs_print_take_little_memory(tmp_path: Path) -> None:
    keys = "isolate = false\non_full = 'block'\nstdout = { file = 'fifo-%d', format = 'json' }"
    jobs = [job(f"web-{n}", print_much(2**30), keys % n) for n in range(100)]
    fifos = [tmp_path / f"fifo-{n}" for n in range(100)]
    for fifo in fifos:
        os.mkfifo(fifo)

    with open_supervisor(tmp_path, "".join(jobs)) as run, ExitStack() as stack:
        for fifo in fifos:
            stack.callback(os.close, os.open(fifo, os.O_RDWR))
        with sample_private_memory(run.process.pid) as samples:
            run.wait_event("sink.failed", count=100)
        status = run.terminate()

    assert (status, max(samples) < 70_000_000) == (0, True)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_sinks_that_stand_still_for_a_minute_take_little_memory(tmp_path: Path) -> None:
    keys = "isolate = false\non_full = '%s'\nstdout = { file = '%s', format = 'json' }"
    text = ""
    for way in ("block", "drop"):
        os.mkfifo(tmp_path / way)
        text += job(way, "yes", keys % (way, way))

    with (
        open_supervisor(tmp_path, text) as run,
        sample_private_memory(run.process.pid) as samples,
    ):
        run.wait_event("sink.failed", count=2)
        over_at = time.monotonic() + 60  # what grows slowly is seen by then
        assert any(wait_until(lambda: time.monotonic() > over_at) for _ in range(8))
        status = run.terminate()

    dropped = sum(event["lines"] for event in run.find("sink.dropped", job="drop"))
    lost = {event["sink"].rpartition("/")[2]: event["lines"] for event in run.find("sink.lost")}
    assert (status, run.find("sink.recovered")) == (0, [])
    assert dropped > 100 * lost["drop"] > 0
    assert lost["block"] > 0
    assert max(samples) < 70_000_000


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_sinks_that_are_slow_take_little_memory(tmp_path: Path) -> None:
    with (
        open_slow_sinks(tmp_path, 12) as text,
        open_supervisor(tmp_path, text) as run,
        sample_private_memory(run.process.pid) as samples,
    ):
        assert wait_until(lambda: len(samples) >= 200)  # which takes four seconds
        status = run.terminate()

    assert (status, max(samples) < 70_000_000) == (0, True)


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_sinks_that_are_slow_delay_no_other_job(tmp_path: Path) -> None:
    with open_slow_sinks(tmp_path, 12) as text, open_supervisor(tmp_path, text + OTHER_JOB) as run:
        delays = measure_delays(tmp_path / "other.log", 80)
        status = run.terminate()

    assert (status, count_late(delays) <= 0.05 * len(delays)) == (0, True)


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_two_million_lines_are_complete_and_take_little_memory(tmp_path: Path) -> None:
    count = 2_000_000
    keys = ONESHOT + "isolate = false\nstdout = { file = 'web.log' }"
    text = job("web", f"seq -f %099.0f 0 {count - 1}", keys) + job("other", SLEEP)

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.exited", job="web", exit_code=0)
        most = read_peak_memory(run.process.pid)
        status = run.terminate()

    # With the backups, which have the biggest numbers where they are oldest.
    paths = sorted(tmp_path.glob("web.log*"), reverse=True)
    assert (len(paths) > 1, take_numbered_lines(paths)) == (True, count)
    assert (status, most < 60_000_000) == (0, True)


def print_much(size: int) -> str:
    """Return what prints lines of about so many bytes, almost as much at a time as a pipe holds."""
    blocks = f"dd bs=65500 count={size // 65500} iflag=fullblock status=none"
    return f"yes {'x' * 99} | {blocks}"


@contextmanager
def open_slow_sinks(directory: Path, count: int) -> Iterator[str]:
    """Read from FIFOs, until the end, 40 KiB a second each.

    What this provides is the entries of jobs that print much more, each to one of them.
    """
    paths = [directory / f"fifo-{number}" for number in range(count)]
    keys = "isolate = false\nstdout = { file = '%s' }"
    text = "".join(job(path.name, print_much(2**30), keys % path) for path in paths)
    is_over = threading.Event()

    def read() -> None:
        while not is_over.wait(0.1):
            for fd in fds:
                with suppress(BlockingIOError):
                    os.read(fd, 4096)

    with ExitStack() as stack:
        fds = []
        for path in paths:
            os.mkfifo(path)
            fds.append(os.open(path, os.O_RDWR | os.O_NONBLOCK))
            stack.callback(os.close, fds[-1])
        reader = threading.Thread(target=read)
        reader.start()
        stack.callback(reader.join)
        stack.callback(is_over.set)
        yield text


def measure_delays(path: Path, count: int) -> list[float]:
    """Wait for so many lines in a file, and return the seconds that each took to get there.

    A line is the moment at which it was printed, in the words of /proc/uptime.
    """
    assert wait_until(path.exists)
    delays: list[float] = []
    with path.open() as file:
        while len(delays) < count:
            if line := file.readline():
                delays.append(time.clock_gettime(time.CLOCK_BOOTTIME) - float(line))
            else:
                time.sleep(0.002)
    return delays


def count_late(delays: Iterable[float]) -> int:
    """Return how many delays somebody might notice."""
    return sum(delay > 0.2 for delay in delays)


def take_numbered_lines(paths: Iterable[Path]) -> int:
    """Remove files, and return how many lines they have before one that is not the next in turn."""
    count = 0
    for path in paths:
        with path.open("rb") as file:
            path.unlink()
            while chunk := file.read(1_000_000):
                numbers = range(count, count + len(chunk) // 100)
                if chunk != b"".join(b"%099d\n" % number for number in numbers):
                    return count
                count = numbers.stop
    return count


def read_peak_memory(pid: int) -> int:
    """Return the most bytes that a process has had in memory so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (peak,) = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(peak) * 1024


def count_bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def sample_private_memory(pid: int) -> Iterator[list[int]]:
    """Look again and again how many bytes only this process has, until the end."""
    samples: list[int] = []
    is_over = threading.Event()

    def sample() -> None:
        while not is_over.wait(0.02):
            # As it executes another program, or has ended.
            with suppress(ProcessLookupError, FileNotFoundError):
                samples.append(read_private_memory([pid]))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield samples
    finally:
        is_over.set()
        sampler.join()
