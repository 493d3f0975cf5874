"""`mocker run --log` as a user sees it: real files, a real journald, a real terminal."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from mocker.supervisor.ending_signals import ECHO_S
from tests.conftest import Mocker
from tests.end_to_end.processes import PATIENCE, find_descendants, open_run, wait_until, watch
from tests.end_to_end.pty_driver import CTRL_C, CTRL_Z, open_terminal
from tests.journald import open_journald, requires_journald
from tests.requirements import requires_busybox, requires_commands, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]


def test_console_is_stdout_with_time_name_and_channel(mocker: Mocker) -> None:
    script = "echo out; sleep 0.1; printf err >&2; exit 3"

    result = mocker("run", "--log", "console", "--name", "web", "sh", "-c", script)

    entries = [json.loads(line) for line in result.stdout.splitlines()]
    told = [(e["job"], e["channel"], e["line"], e.get("partial")) for e in entries]
    assert told == [("web", "stdout", "out", None), ("web", "stderr", "err", True)]
    assert (result.stderr, result.returncode) == ("", 3)


def test_output_can_go_to_several_places(mocker: Mocker, tmp_path: Path) -> None:
    logs = ["--log", "file:raw.log", "--log=file:logs/text.log,format=text", "--log", "console"]

    result = mocker("run", *logs, "printf", r"one\ntwo\n", cwd=tmp_path)

    text = [line.split(" ", 1)[1] for line in (tmp_path / "logs/text.log").read_text().splitlines()]
    assert (tmp_path / "raw.log").read_text() == "one\ntwo\n"
    assert text == ["stdout printf | one", "stdout printf | two"]
    assert [json.loads(line)["line"] for line in result.stdout.splitlines()] == ["one", "two"]


def test_output_can_go_nowhere(mocker: Mocker) -> None:
    result = mocker("run", "--log", "null", "sh", "-c", "echo out; echo err >&2; exit 7")

    assert (result.stdout, result.stderr, result.returncode) == ("", "", 7)


def test_output_can_be_the_callers_own() -> None:
    script = "readlink /proc/self/fd/1; readlink /proc/self/fd/2; echo err >&2; exit 7"

    with open_run("--log", "inherit", "sh", "-c", script) as process:
        streams = [stream for stream in (process.stdout, process.stderr) if stream is not None]
        pipes = [os.fstat(stream.fileno()).st_ino for stream in streams]
        stdout, stderr = process.communicate(timeout=PATIENCE)

    assert stdout.splitlines() == [f"pipe:[{inode}]" for inode in pipes]
    assert (stderr, process.returncode) == ("err\n", 7)


def test_input_is_the_callers(mocker: Mocker, tmp_path: Path) -> None:
    mocker("run", "--log", f"file:{tmp_path}/log", "cat", stdin="in\n")

    assert (tmp_path / "log").read_text() == "in\n"


def test_log_is_appended_to(mocker: Mocker, tmp_path: Path) -> None:
    for word in ("one", "two"):
        mocker("run", "--log", f"file:{tmp_path}/log", "echo", word)

    assert (tmp_path / "log").read_text() == "one\ntwo\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT])
def test_signal_reaches_the_command_at_any_time(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "log"
    script = f"trap 'echo heard; exit 5' {int(number)}; echo ready; while :; do sleep 0.01; done"

    with open_run("--log", f"file:{log}", "sh", "-c", script) as process:
        assert wait_until(lambda: log.exists() and log.read_text() == "ready\n")
        process.send_signal(number)
        status = process.wait(PATIENCE)

    assert (status, log.read_text()) == (5, "ready\nheard\n")


def test_second_signal_kills_everything(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "trap 'echo heard' TERM; echo ready; while :; do sleep 0.01; done"

    def has(text: str) -> bool:
        return log.exists() and log.read_text() == text

    with open_run("--log", f"file:{log}", "sh", "-c", script) as process:
        assert wait_until(lambda: has("ready\n"))
        process.terminate()
        assert wait_until(lambda: has("ready\nheard\n"))
        time.sleep(ECHO_S)
        process.terminate()
        status = process.wait(PATIENCE)

    assert status == 128 + signal.SIGKILL


def test_signal_of_timeout_which_comes_twice_is_one(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "trap 'sleep 0.05; echo bye; exit 9' TERM; echo ready; while :; do sleep 0.01; done"

    with open_run("--log", f"file:{log}", "sh", "-c", script) as process:
        assert wait_until(lambda: log.exists() and log.read_text() == "ready\n")
        for _ in range(2):
            process.terminate()
            time.sleep(ECHO_S / 10)
        status = process.wait(PATIENCE)

    assert (status, log.read_text()) == (9, "ready\nbye\n")


def test_time_limit_is_kept_and_the_output_is_complete(mocker: Mocker, tmp_path: Path) -> None:
    script = "seq 100000; printf last; exec sleep 1000"

    result = mocker("run", "--timeout", "1s", "--log", f"file:{tmp_path}/log", "sh", "-c", script)

    lines = (tmp_path / "log").read_text().splitlines()
    assert (result.returncode, len(lines), lines[-1]) == (124, 100_001, "last")


def test_nothing_is_left_when_it_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with open_run("--log", f"file:{log}", "sh", "-c", "echo ready; sleep 1000") as process:
        assert wait_until(lambda: log.exists() and log.read_text() == "ready\n")
        with watch(find_descendants(process.pid)) as wait_ended:
            process.kill()

            assert wait_ended() == []


def test_sink_that_does_not_work_is_told_and_waited_for(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    with open_run("--log", f"file:{fifo}", "sh", "-c", "seq 100000; exit 3") as process:
        assert process.stderr is not None
        said = [process.stderr.readline()]
        with fifo.open("rb") as reader:
            lines = reader.read().splitlines()
        status = process.wait(PATIENCE)
        said += process.stderr.readlines()

    reason = "it cannot be written: No such device or address (ENXIO)"
    assert said[0] == f"mocker run: {fifo}: {reason}\n"
    assert said[1].startswith(f"mocker run: {fifo}: it can be written again, after ")
    assert (status, len(said), len(lines)) == (3, 2, 100_000)


@pytest.mark.slow
def test_sink_that_never_works_ends_with_a_count(mocker: Mocker, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    began = time.monotonic()

    result = mocker("run", "--log", f"file:{path}", "sh", "-c", "echo one; echo two; exit 3")

    assert result.stderr.splitlines() == [
        f"mocker run: {path}: it cannot be written: No such device or address (ENXIO)",
        f"mocker run: {path}: 2 lines are lost",
    ]
    assert result.returncode == 3
    assert time.monotonic() - began < 10


@pytest.mark.slow
def test_line_without_an_end_is_lost_as_any_other(mocker: Mocker, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)

    result = mocker("run", "--log", f"file:{path}", "printf", "hello")

    assert result.stderr.splitlines() == [
        f"mocker run: {path}: it cannot be written: No such device or address (ENXIO)",
        f"mocker run: {path}: 1 line is lost",
    ]
    assert result.returncode == 0


@pytest.mark.parametrize(
    ("log", "path", "reason"),
    [
        ("file:no/such/log", "no/such/log", "No such file or directory (ENOENT)"),
        ("file:directory", "directory", "Is a directory (EISDIR)"),
        ("file:file/log", "file/log", "Not a directory (ENOTDIR)"),
        ("file:loop", "loop", "Too many levels of symbolic links (ELOOP)"),
        ("journald,socket=no/journal", "no/journal", "No such file or directory (ENOENT)"),
        ("journald,socket=file", "file", "Connection refused (ECONNREFUSED)"),
    ],
)
def test_sink_that_cannot_be_opened_is_refused_before_the_start(
    mocker: Mocker, tmp_path: Path, log: str, path: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    words = ["-v", f"{tmp_path}:/mnt", "touch", "/mnt/started"]
    kind, mark, rest = log.partition("=" if "=" in log else ":")

    result = mocker("run", "--log", f"{kind}{mark}{tmp_path}/{rest}", *words)

    assert result.stderr == f"mocker run: cannot write to {tmp_path}/{path}: {reason}\n"
    assert (result.returncode, (tmp_path / "started").exists()) == (125, False)


def test_reader_of_the_console_that_goes_away_ends_the_command() -> None:
    with open_run("--log", "console", "yes") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        status = process.wait(PATIENCE)

    assert status == 128 + signal.SIGPIPE


@requires_commands("bash", "setsid")
def test_terminal_stays_with_the_caller() -> None:
    with open_terminal() as terminal:
        answer = terminal.run("mocker run --log null test -t 0")
        console = terminal.run("mocker run --log console --name web sh -c 'test -t 1; echo $?'")
        refused = terminal.run("mocker run -it --log null true")

    assert answer.status == 1
    assert console.text.rstrip().endswith("1")
    assert "web |" in console.text
    assert refused.status == 2


@requires_commands("bash", "setsid")
def test_keys_stop_and_end_the_command(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "trap 'echo end; exit 7' INT; while :; do echo tick; sleep 0.05; done"

    with open_terminal() as terminal:
        terminal.type(f'mocker run --log file:{log} sh -c "{script}"\n')
        assert wait_until(lambda: log.exists() and "tick" in log.read_text())
        terminal.type(CTRL_Z)
        stopped = terminal.wait_for_prompt()
        terminal.type("fg\n")
        before = log.stat().st_size
        assert wait_until(lambda: log.stat().st_size > before + 20)
        terminal.type(CTRL_C)
        ended = terminal.wait_for_prompt()

    assert "Stopped" in stopped.text
    assert (ended.status, log.read_text().endswith("end\n")) == (7, True)


@requires_journald
def test_lines_are_entries_of_the_journal(mocker: Mocker) -> None:
    script = "echo out; echo '<4>careful'; echo err >&2; printf '\\377end'"
    with open_journald() as journald:
        log = f"journald,socket={journald.socket}"

        result = mocker("run", "--name", "web", "--log", log, "sh", "-c", script)

        entries = journald.read("CONTAINER_NAME=web", "MOCKER_SUPERVISOR=mocker-run")
    told = {(e["MESSAGE"], e["PRIORITY"], e["MOCKER_CHANNEL"]) for e in entries}
    assert told == {
        ("out", "6", "stdout"),
        ("careful", "4", "stdout"),
        ("err", "3", "stderr"),
        (b"\xffend", "6", "stdout"),
    }
    assert {(e["SYSLOG_IDENTIFIER"], e["MOCKER_ATTEMPT"]) for e in entries} == {("web", "1")}
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


@requires_journald
def test_journald_that_stands_still_is_waited_for(tmp_path: Path) -> None:
    with open_journald() as journald:
        journald.pause()
        log = f"journald,socket={journald.socket}"
        with open_run("--log", log, "sh", "-c", "seq 3000; echo >&2; exit 3") as process:
            assert wait_until(lambda: not find_descendants(process.pid)[1:])
            journald.resume()
            status = process.wait(PATIENCE)

        messages = journald.read_messages("MOCKER_CHANNEL=stdout")
    assert (status, messages) == (3, [str(number) for number in range(1, 3001)])
