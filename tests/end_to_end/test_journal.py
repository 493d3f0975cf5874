"""What is in the journal of jobs and of their supervisor: a real journald, and real lines."""

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

from tests.end_to_end.job_texts import SLEEP, job
from tests.end_to_end.processes import DEFAULT_SIGNALS, PATIENCE, wait_until
from tests.end_to_end.supervised import MOCKER_SUPERVISE, open_supervisor, supervise
from tests.journald import Entry, Journald, open_journald, requires_journald
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [
    pytest.mark.end_to_end,
    requires_user_namespaces,
    requires_busybox,
    requires_journald,
]

ONESHOT = "type = 'oneshot'\n"
IN_JOURNAL = ONESHOT + "stdout = 'journald'\nstderr = 'journald'\n"
MISSING = {"sink.dropped", "sink.lost"}  # events that say how many lines
# Each line says when it is printed: /proc/uptime, in hundredths of a second.
TICK = "while read -r up _ </proc/uptime; do echo $up; sleep 0.05; done"


def head(journald: Journald, keys: str = "") -> str:
    """Return the beginning of a file whose lines go to a private journald; the keys are TOML."""
    return f"[supervisor]\nname = 'mine'\njournald_socket = '{journald.socket}'\n{keys}\n"


def print_line(journald: Journald, directory: Path, script: str, keys: str = "") -> list[Entry]:
    """Return what the journal has of a job that prints something and ends."""
    status, run = supervise(directory, head(journald) + job("web", script, IN_JOURNAL + keys))

    assert (status, run.lines, run.remarks) == (0, [], [])
    return journald.read("CONTAINER_NAME=web")


def strip(entry: Entry) -> Entry:
    """Return the fields that are not journald's own."""
    return {name: value for name, value in entry.items() if not name.startswith("_")}


def count_up(begin: int, end: int) -> list[str]:
    return [str(number) for number in range(begin, end)]


# What an entry has.


@pytest.mark.parametrize(
    ("keys", "script", "channel", "priority"),
    [
        ("stdout = 'journald'", "echo hello", "stdout", "6"),
        ("stderr = 'journald'", "echo hello >&2", "stderr", "3"),
        ("output = 'journald'", "echo hello >&2", "output", "6"),
    ],
)
def test_entry_says_who_printed_the_line_and_where(
    tmp_path: Path, keys: str, script: str, channel: str, priority: str
) -> None:
    with open_journald() as journald:
        status, run = supervise(tmp_path, head(journald) + job("web", script, ONESHOT + keys))

        (entry,) = journald.read("CONTAINER_NAME=web")

    (started,) = run.find("job.started", job="web")
    fields = strip(entry)
    assert re.fullmatch("[0-9a-f]{12}", fields.pop("CONTAINER_ID"))
    assert fields == {
        "MESSAGE": "hello",
        "PRIORITY": priority,
        "SYSLOG_IDENTIFIER": "web",
        "SYSLOG_PID": str(started["pid"]),
        "CONTAINER_NAME": "web",
        "MOCKER_JOB": "web",
        "MOCKER_SUPERVISOR": "mine",
        "MOCKER_ATTEMPT": "1",
        "MOCKER_CHANNEL": channel,
    }
    assert (status, entry["_PID"], run.lines) == (0, str(run.process.pid), [])


def test_each_run_has_its_number_its_pid_and_a_container_of_its_own(tmp_path: Path) -> None:
    keys = "stdout = 'journald'\nbackoff = { initial = 0 }\n"
    keys += "give_up = { failures = 3, within = '60s' }"
    with open_journald() as journald:
        _, run = supervise(tmp_path, head(journald) + job("web", "echo out; exit 1", keys))

        entries = journald.read("MOCKER_JOB=web", "MESSAGE=out")

    pids = [str(event["pid"]) for event in run.find("job.started")]
    assert [entry["MOCKER_ATTEMPT"] for entry in entries] == ["1", "2", "3"]
    assert [entry["SYSLOG_PID"] for entry in entries] == pids
    assert len({entry["CONTAINER_ID"] for entry in entries}) == 3


def test_priority_is_that_of_the_prefix_or_of_the_channel(tmp_path: Path) -> None:
    lines = ["<7>seven", "<0>zero", "plain", "<8>eight", "<3><4>both"]
    script = "".join(f"echo '{line}'; echo '{line}' >&2; " for line in lines)

    with open_journald() as journald:
        entries = print_line(journald, tmp_path, script)

    for channel, own in (("stdout", "6"), ("stderr", "3")):
        assert [
            (entry["PRIORITY"], entry["MESSAGE"])
            for entry in entries
            if entry["MOCKER_CHANNEL"] == channel
        ] == [("7", "seven"), ("0", "zero"), (own, "plain"), (own, "<8>eight"), ("3", "<4>both")]


def test_last_line_without_an_end_is_marked(tmp_path: Path) -> None:
    with open_journald() as journald:
        entries = print_line(journald, tmp_path, "echo one; printf two")

    told = [(entry["MESSAGE"], entry.get("CONTAINER_PARTIAL_MESSAGE")) for entry in entries]
    assert told == [("one", None), ("two", "true")]


def test_line_that_is_too_long_comes_in_marked_pieces_of_one_priority(tmp_path: Path) -> None:
    size = 100 * 1024
    script = f"echo before; printf '<4>'; head -c {size} /dev/zero | tr '\\0' x; echo; echo after"

    with open_journald() as journald:
        before, *pieces, last, after = print_line(journald, tmp_path, script)

    assert (before["MESSAGE"], after["MESSAGE"]) == ("before", "after")
    assert "".join(piece["MESSAGE"] for piece in [*pieces, last]) == "x" * size
    assert {(len(piece["MESSAGE"]), piece["PRIORITY"]) for piece in pieces[1:]} == {(16384, "4")}
    assert {piece.get("CONTAINER_PARTIAL_MESSAGE") for piece in pieces} == {"true"}
    assert (last["PRIORITY"], last.get("CONTAINER_PARTIAL_MESSAGE")) == ("4", None)


@pytest.mark.parametrize("size", [100 * 1024, 1_000_000])  # the latter is too big for a datagram
def test_line_may_be_longer_where_that_is_asked_for(tmp_path: Path, size: int) -> None:
    script = f"echo before; head -c {size} /dev/zero | tr '\\0' x; echo; echo after"

    with open_journald() as journald:
        entries = print_line(journald, tmp_path, script, "max_line = '1M'")

    assert [entry["MESSAGE"] for entry in entries] == ["before", "x" * size, "after"]
    assert not any("CONTAINER_PARTIAL_MESSAGE" in entry for entry in entries)


def test_bytes_are_those_of_the_job(tmp_path: Path) -> None:
    every = bytes(byte for byte in range(256) if byte != ord("\n"))
    lines = [b"a\0b", b"\0", b"\xff\xfe", b"gr\xc3\xb6\xc3\x9fer", b"MESSAGE=x", every]
    octal = "".join(f"\\{byte:03o}" for byte in b"\n".join(lines) + b"\n")

    with open_journald() as journald:
        entries = print_line(journald, tmp_path, f"printf '{octal}'")

    messages = [entry["MESSAGE"] for entry in entries]
    assert [os.fsencode(message) for message in messages] == lines


# journald comes and goes.


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_journald_that_is_killed_is_told_once_and_costs_no_line(tmp_path: Path) -> None:
    # The socket is a new one each time: what journald has not read yet would die with it.
    go, ticks = tmp_path / "go", tmp_path / "ticks"
    os.mkfifo(go)
    script = f"seq 0 24999; read -r _ <{go}; seq 25000 49999"
    keys = "isolate = false\nstdout = 'journald'\n"
    other = f"isolate = false\nstdout = {{ file = '{ticks}' }}"

    def read_last_tick() -> float:
        return float(ticks.read_text().splitlines()[-1])

    with open_journald() as journald:
        text = head(journald) + job("web", script, ONESHOT + keys) + job("other", TICK, other)
        with open_supervisor(tmp_path, text) as run:
            run.wait_event("job.started", job="other")
            assert wait_until(lambda: journald.read_messages("MESSAGE=24999") != [])
            journald.kill()
            go.write_text("\n")
            run.wait_event("sink.failed", sink="journald")
            delays = []
            for _ in range(3):
                asked = time.clock_gettime(time.CLOCK_BOOTTIME)
                assert wait_until(lambda: read_last_tick() > asked)  # noqa: B023
                delays.append(time.clock_gettime(time.CLOCK_BOOTTIME) - asked)
            was_over = run.find("job.exited", job="web") != []
            journald.start()
            run.wait_event("sink.recovered", sink="journald")
            run.wait_event("job.exited", job="web", exit_code=0)
            status = run.terminate()

        assert journald.read_messages("CONTAINER_NAME=web") == count_up(0, 50_000)
    assert (status, was_over, max(delays) < 2) == (0, False, True)
    assert len(run.find("sink.failed")) == len(run.find("sink.recovered")) == 1
    assert run.find("sink.lost") == run.find("job.output_lost") == []


def restart_under_load(directory: Path, stop: Callable[[Journald], None]) -> tuple[int, list[str]]:
    """Stop and start a journald whose socket systemd would keep while a job fills its queue.

    Returns:
        How often that was, and which of the job's 50,000 lines are in the journal.
    """
    with open_journald(outlived=True) as journald:
        text = head(journald) + job("web", "seq 0 49999", ONESHOT + "stdout = 'journald'")
        with open_supervisor(directory, text) as run:
            run.wait_event("job.started", job="web")
            restarts = 0
            while restarts < 3 and not run.find("job.exited", job="web"):
                stop(journald)
                journald.start()
                restarts += 1
            status = run.wait_exit()
        messages = [str(message) for message in journald.read_messages("CONTAINER_NAME=web")]

    assert status == 0
    assert [event for event in run.events if event["event"].startswith("sink.")] == []
    return restarts, messages


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_restarts_of_journald_under_load_cost_no_line(tmp_path: Path) -> None:
    restarts, messages = restart_under_load(tmp_path, Journald.terminate)

    assert messages == count_up(0, 50_000)
    assert restarts > 0


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_kills_of_journald_under_load_cost_what_it_had_in_its_hand(tmp_path: Path) -> None:
    kills, messages = restart_under_load(tmp_path, Journald.kill)

    assert messages == sorted(set(messages), key=int)
    assert 50_000 - kills <= len(messages) <= 50_000


def test_journald_that_stands_still_costs_lines_and_no_time_where_that_is_preferred(
    tmp_path: Path,
) -> None:
    keys = ONESHOT + "stdout = 'journald'\non_full = 'drop'"
    with open_journald() as journald:
        journald.pause()
        text = head(journald) + job("web", "seq 0 199999", keys) + job("other", SLEEP)
        with open_supervisor(tmp_path, text) as run:
            run.wait_event("job.exited", job="web", exit_code=0)
            journald.resume()
            status = run.terminate()

        numbers = [int(message) for message in journald.read_messages("CONTAINER_NAME=web")]
    missing = sum(event["lines"] for event in run.events if event["event"] in MISSING)
    assert (status, numbers) == (0, sorted(set(numbers)))
    assert 0 < missing == 200_000 - len(numbers)


@pytest.mark.slow
def test_end_does_not_wait_for_a_journald_that_stands_still(tmp_path: Path) -> None:
    script = f"seq 0 2999; echo >{tmp_path}/done; exec {SLEEP}"
    keys = "isolate = false\nstdout = 'journald'"
    with open_journald() as journald:
        journald.pause()
        with open_supervisor(tmp_path, head(journald) + job("web", script, keys)) as run:
            assert wait_until((tmp_path / "done").exists)
            status = run.terminate()
        journald.resume()

        messages = journald.read_messages("CONTAINER_NAME=web")
    (lost,) = run.find("sink.lost", sink="journald")
    assert (status, run.measure("signal.received", "supervisor.stopped") <= 2) == (0, True)
    assert messages == count_up(0, 3000 - lost["lines"])


# The supervisor's own events.


@contextmanager
def open_stream(journald: Journald) -> Iterator[socket.socket]:
    """Connect to the journal as systemd does for stdout and stderr of a unit."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.connect(str(journald.directory / "stdout"))
        stream.sendall(b"unit\n\n6\n1\n0\n0\n0\n")  # without the name of a unit, priority 6, <N>
        stream.shutdown(socket.SHUT_RD)
        yield stream


@contextmanager
def open_unit(journald: Journald, directory: Path, text: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `mocker-supervise` with one stream for both channels; kill it on the way out."""
    file = directory / "jobs.toml"
    file.write_text(head(journald) + text)
    with open_stream(journald) as stream:
        status = os.fstat(stream.fileno())
        process = subprocess.Popen(
            [*DEFAULT_SIGNALS, MOCKER_SUPERVISE, file],
            env={
                **os.environ,
                "XDG_RUNTIME_DIR": str(directory),
                "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}",
            },
            stdin=subprocess.DEVNULL,
            stdout=stream.fileno(),
            stderr=stream.fileno(),
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_unit_has_its_events_in_the_journal_with_all_facts(tmp_path: Path) -> None:
    text = job("web", "echo out; echo err >&2; exit 3", "restart = 'never'")
    with open_journald() as journald:
        with open_unit(journald, tmp_path, text) as process:
            status = process.wait(PATIENCE)

        events = journald.read("MOCKER_SUPERVISOR=mine", "SYSLOG_IDENTIFIER=mocker-supervise")
        lines = journald.read("SYSLOG_IDENTIFIER=unit", transport="stdout")

    facts = {entry["MOCKER_EVENT"]: strip(entry) for entry in events}
    assert list(facts) == [
        "config.loaded",
        "job.started",
        "job.exited",
        "supervisor.stopping",
        "supervisor.stopped",
    ]
    exited = facts["job.exited"]
    assert exited["MESSAGE"].startswith("job.exited job=web ")
    assert (exited["MOCKER_JOB"], exited["MOCKER_EXIT_CODE"]) == ("web", "3")
    assert (exited["PRIORITY"], facts["job.started"]["PRIORITY"]) == ("4", "6")
    assert facts["supervisor.stopped"]["MOCKER_EXIT_CODE"] == str(status)
    assert {(line["MESSAGE"], line["PRIORITY"]) for line in lines} == {
        ("web | out", "6"),
        ("web | err", "3"),
    }


@pytest.mark.slow
def test_unit_goes_on_without_its_streams_when_journald_is_killed(tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    script = f"seq 0 9; read -r _ <{go}; echo console >&2; seq 10 19"
    text = job("web", script, ONESHOT + "isolate = false\nstdout = 'journald'")
    with open_journald() as journald:
        with open_unit(journald, tmp_path, text) as process:
            assert wait_until(lambda: journald.read_messages("MESSAGE=9") != [])
            journald.kill()
            go.write_text("\n")
            journald.start()
            status = process.wait(PATIENCE)

        messages = journald.read_messages("CONTAINER_NAME=web")
        stopped = journald.read("MOCKER_EVENT=supervisor.stopped")
    assert (status, messages, len(stopped)) == (0, count_up(0, 20), 1)


def test_lines_of_the_readme_show_what_it_says(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    commands = re.findall(r"^journalctl (.*?) +#", readme, re.MULTILINE)
    keys = "restart = 'never'\nstdout = 'journald'\nstderr = 'journald'"
    text = job("web", "echo out; echo err >&2; exit 3", keys) + job("db", "echo db", IN_JOURNAL)
    with open_journald() as journald:
        configuration = head(journald, "log_format = 'journald'").replace("'mine'", "'jobs'")
        supervise(tmp_path, configuration + text)
        count = len(journald.read("MOCKER_SUPERVISOR=jobs"))

        everything, of_web, errors, exits = [
            run_journalctl(journald, command.split(), count) for command in commands
        ]

    assert {"out", "err", "db"} < {line.rpartition(": ")[2] for line in everything}
    assert len(everything) == count
    heads = {line.split(": ", 1)[1].split()[0] for line in of_web}
    assert heads == {"out", "err", "job.started", "job.exited"}
    assert [line.split(": ", 1)[1] for line in errors] == ["err"]
    found = {(entry["MOCKER_JOB"], entry["MOCKER_EXIT_CODE"]) for entry in map(json.loads, exits)}
    assert found == {("web", "3"), ("db", "0")}


def run_journalctl(journald: Journald, words: list[str], most: int) -> list[str]:
    """Return the lines that it prints, up to so many: it need not end by itself."""
    command = ["journalctl", "--quiet", "--lines=all", f"--directory={journald.find_journal()}"]
    with subprocess.Popen([*command, *words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [line.rstrip("\n") for line in islice(process.stdout, most)]
        process.terminate()
    return lines
