import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

import pytest

from mocker.isolation import CommandError, ContainerSpec, Rlimit, SetupError
from mocker.supervisor import logged_relay
from mocker.supervisor.foreground import TIMED_OUT
from mocker.supervisor.logged_run import run_logged
from mocker.supervisor.run_options import RunRequest
from mocker.supervisor.sink_words import parse_sink
from tests.containers import in_container, script
from tests.in_namespaces import run_in_child

# Says which children there are at the moment at which each of these is asked for.
RUN_AND_LOOK = """
import os, sys

class Look:
    def find_spec(self, name, path, target=None):
        if name in ("attrs", "structlog", "trio"):
            children = open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read().split()
            names = [open(f"/proc/{child}/comm").read().strip() for child in children]
            print("asked for", name, "beside", *names, flush=True)

sys.meta_path.insert(0, Look())
from mocker.supervisor.cli import run_command
sys.exit(run_command(["run", "--log", sys.argv[1], "sh", "-c", "read -r line"]))
"""


def tell_nobody(text: str) -> None:
    pass


def run(spec: ContainerSpec, *words: str, timeout: float | None = None) -> int:
    request = RunRequest(spec, timeout, list(map(parse_sink, words)), name="web")
    return run_in_child(lambda: run_logged(request, tell_nobody))


@in_container
@pytest.mark.parametrize(
    ("text", "code"), [("exit 0", 0), ("exit 255", 255), ("kill -KILL $$", 137)]
)
def test_exit_status_is_the_commands(tmp_path: Path, text: str, code: int) -> None:
    assert run(script(text), f"file:{tmp_path}/log") == code


@in_container
def test_exit_status_of_a_timeout_is_that_of_timeout(tmp_path: Path) -> None:
    path = tmp_path / "log"

    status = run(script("printf begun; sleep 1000"), f"file:{path}", timeout=0.2)

    assert (status, path.read_text()) == (TIMED_OUT, "begun")


@in_container
def test_all_that_was_printed_before_the_end_is_in_each_sink(tmp_path: Path) -> None:
    words = [f"file:{tmp_path}/{name}" for name in ("one", "two")]

    status = run(script("seq 200000; printf end; kill -KILL $$"), *words)

    expected = "".join(f"{number}\n" for number in range(1, 200_001)) + "end"
    assert status == 137
    assert [(tmp_path / name).read_text() == expected for name in ("one", "two")] == [True, True]


@in_container
def test_raw_file_has_both_channels_in_the_order_in_which_they_were_printed(tmp_path: Path) -> None:
    path = tmp_path / "log"

    run(script("for i in $(seq 300); do printf o$i; printf e$i >&2; done"), f"file:{path}")

    assert path.read_text() == "".join(f"o{i}e{i}" for i in range(1, 301))


@in_container
def test_other_formats_tell_the_channels_apart(tmp_path: Path) -> None:
    path = tmp_path / "log"

    run(script("echo out; echo err >&2"), f"file:{path},format=json", f"file:{tmp_path}/raw")

    entries = map(json.loads, path.read_text().splitlines())
    assert sorted((entry["channel"], entry["line"]) for entry in entries) == [
        ("stderr", "err"),
        ("stdout", "out"),
    ]


@in_container
def test_command_that_is_not_there_leaves_no_log(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as info:
        run(ContainerSpec(["no-such-command"]), f"file:{tmp_path}/log")

    assert (info.value.exit_code, list(tmp_path.iterdir())) == (127, [])


@in_container
def test_what_is_not_as_asked_for_is_told(tmp_path: Path) -> None:
    spec = script("exit", rlimits=[Rlimit("core", 1, 1)])
    request = RunRequest(spec, sinks=[parse_sink(f"file:{tmp_path}/log")], name="web")

    def lower_and_run() -> list[str]:
        told: list[str] = []
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        run_logged(request, told.append)
        return told

    (note,) = run_in_child(lower_and_run)

    assert "ulimit core is 0:0, not 1:1" in note


@in_container
def test_signal_ends_the_wait_for_a_sink_that_takes_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    request = RunRequest(script("echo line"), sinks=[parse_sink(f"file:{tmp_path}/fifo")], name="a")

    def run_and_be_signalled() -> int:
        logged_relay._PATIENCE_S = 3600.0  # or it would end by itself
        parent, (read_end, write_end) = os.getpid(), os.pipe()
        os.dup2(write_end, 2)
        pid = os.fork()
        if pid == 0:
            os.read(read_end, 1000)  # that the sink does not work
            children = Path(f"/proc/{parent}/task/{parent}/children")
            while children.read_text().split() != [str(os.getpid())]:
                time.sleep(0.01)  # a container that is still there would get the signal
            os.kill(parent, signal.SIGTERM)
            os._exit(0)
        status = run_logged(request, tell_nobody)
        os.waitpid(pid, 0)
        return status

    assert run_in_child(run_and_be_signalled) == 0


@in_container
def test_thread_that_is_not_to_be_had_is_a_refusal(tmp_path: Path) -> None:
    request = RunRequest(script("sleep 1000"), sinks=[parse_sink("console")], name="web")

    def refuse(_: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    def run_without_threads() -> None:
        threading.Thread.start = refuse  # type: ignore[assignment,method-assign]
        run_logged(request, tell_nobody)

    with pytest.raises(SetupError, match=r"cannot start a thread for its output: .*\(EAGAIN\)"):
        run_in_child(run_without_threads)


@in_container
def test_container_is_there_before_anything_big_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "log"

    with subprocess.Popen(
        [sys.executable, "-c", RUN_AND_LOOK, f"file:{path}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        lines = {process.stdout.readline().decode() for _ in range(3)}
        process.stdin.close()
        status = process.wait()

    names = ("attrs", "structlog", "trio")
    assert lines == {f"asked for {name} beside mocker-init\n" for name in names}
    assert status == 1
