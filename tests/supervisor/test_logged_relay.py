import json
import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from mocker.isolation import spawn
from mocker.supervisor import logged_relay
from mocker.supervisor.logged_relay import relay_to_sinks
from mocker.supervisor.run_options import RunRequest
from mocker.supervisor.sink_words import parse_sink
from tests.containers import in_container, script
from tests.in_namespaces import run_in_child


@pytest.fixture(autouse=True)
def _no_traces() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def relay(text: str, *words: str, give_up: bool = False) -> int:
    """Relay what a script prints to stdout, and return the pid of its container."""
    request = RunRequest(script(text), sinks=list(map(parse_sink, words)), name="web")
    give_up_fd = os.eventfd(int(give_up))
    read_end, write_end = os.pipe()
    try:
        with spawn(request.spec, stdout=write_end) as container:
            os.close(write_end)
            select.select([read_end], [], [])
            relay_to_sinks(request, container, {"stdout": read_end}, give_up_fd)
            return container.pid
    finally:
        os.close(give_up_fd)


@in_container
def test_lines_are_those_of_a_job_with_one_run(tmp_path: Path) -> None:
    path = tmp_path / "log"

    pid = relay("echo one; printf two", f"file:{path},format=json")

    entries = [json.loads(line) for line in path.read_text().splitlines()]
    times = [entry.pop("timestamp") for entry in entries]
    common = {"job": "web", "channel": "stdout", "pid": pid, "attempt": 1}
    assert entries == [{**common, "line": "one"}, {**common, "line": "two", "partial": True}]
    assert times == sorted(times)


@in_container
def test_file_is_rotated_as_asked_for(tmp_path: Path) -> None:
    relay("seq 1000", f"file:{tmp_path}/log,max_size=1k,backups=2,compress")

    names = sorted(path.name for path in tmp_path.iterdir())
    assert (len(names), names[0]) == (3, "log")
    assert (tmp_path / "log").stat().st_size <= 1024


@in_container
def test_sink_that_takes_nothing_is_given_up_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logged_relay, "_PATIENCE_S", 0.2)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    relay("seq 100", f"file:{fifo}", f"file:{tmp_path}/log")

    assert capfd.readouterr().err.splitlines() == [
        f"mocker run: {fifo}: it cannot be written: No such device or address (ENXIO)",
        f"mocker run: {fifo}: 100 lines are lost",
    ]
    assert (tmp_path / "log").read_text().splitlines()[-1] == "100"


@in_container
def test_sink_that_takes_nothing_is_given_up_when_that_is_asked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "fifo")

    relay("seq 10; sleep 1000", f"file:{tmp_path}/fifo", give_up=True)

    assert "lost" in capfd.readouterr().err


@in_container
def test_command_finds_its_output_closed_when_nobody_will_ever_take_it() -> None:
    def run_with_broken_stdout() -> str:
        read_end, write_end = os.pipe()
        told = os.memfd_create("stderr")
        os.dup2(write_end, 1)
        os.dup2(told, 2)
        os.close(read_end)
        relay("yes", "console")
        return os.pread(told, 2**16, 0).decode()

    told = run_in_child(run_with_broken_stdout)

    assert told.startswith("mocker run: console: it cannot be written: Broken pipe (EPIPE)\n")


@in_container
def test_pipe_that_somebody_else_has_open_is_not_waited_for(tmp_path: Path) -> None:
    sinks = [parse_sink(f"file:{tmp_path}/log")]
    request = RunRequest(script("echo line"), sinks=sinks, name="web")

    def run_with_leak() -> None:
        read_end, write_end = os.pipe()
        with spawn(request.spec, stdout=write_end) as container:
            # The write end stays open, as where a command gave it to a process outside.
            relay_to_sinks(request, container, {"stdout": read_end}, os.eventfd(0))

    run_in_child(run_with_leak)

    assert (tmp_path / "log").read_text() == "line\n"
