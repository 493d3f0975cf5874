"""What a running supervisor tells of what its jobs print, and of what becomes of them."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.job_texts import SLEEP, job
from tests.end_to_end.processes import MOCKER, PATIENCE, wait_until
from tests.end_to_end.supervised import Supervised, open_supervisor
from tests.requirements import requires_busybox, requires_commands, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

QUIET = "output = 'null'\n"
NAME = '[supervisor]\nname = "demo"\n'
TICK = "while :; do echo tick; sleep 0.05; done"
# Far more than anybody can be given.
FLOOD = "while :; do seq 100000 199999; done"
SOON_S = 3.0  # on a busy machine


def count(to: int, then: str = SLEEP) -> str:
    return f"seq {to}; {then}"


def mocker(directory: Path, *words: str, binary: bool = False) -> subprocess.CompletedProcess[Any]:
    return subprocess.run(
        [MOCKER, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(directory),
        text=not binary,
        timeout=PATIENCE,
        check=False,
    )


def environment(directory: Path) -> dict[str, str]:
    return {**os.environ, "XDG_RUNTIME_DIR": str(directory)}


@contextmanager
def reading(
    directory: Path, words: Sequence[str] | str, stdout: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """Have `mocker` with these words, or a line of shell, running for the length of a block."""
    argv = ["sh", "-c", words] if isinstance(words, str) else [str(MOCKER), *words]
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment(directory) | {"MOCKER": str(MOCKER)},
        text=True,
        process_group=0,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def read_until(process: subprocess.Popen[str], wanted: str) -> list[str]:
    """Return the lines up to one that has this text."""
    lines = [read_line(process)]
    while wanted not in lines[-1]:
        assert lines[-1], f"no {wanted} after {lines[-20:]}"
        lines.append(read_line(process))
    return lines


def count_descriptors(run: Supervised) -> int:
    return len(list(Path(f"/proc/{run.process.pid}/fd").iterdir()))


def test_last_lines_are_shown_in_order(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, job("web", count(3000))) as run:
        run.wait_line("web | 3000")

        shown = mocker(tmp_path, "logs", "-n", "1500", "web")

    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.split() == [str(number) for number in range(1501, 3001)]


def test_everything_that_is_kept_is_shown_unless_asked_for_less(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, job("web", count(3000))) as run:
        run.wait_line("web | 3000")

        shown = mocker(tmp_path, "logs", "web")

    assert shown.stdout.split() == [str(number) for number in range(1, 3001)]


def test_nothing_is_left_of_lines_that_are_truncated(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, job("web", count(3))) as run:
        run.wait_line("web | 3")

        truncated = mocker(tmp_path, "logs", "--truncate", "web")
        shown = mocker(tmp_path, "logs", "web")

    assert (truncated.stdout, shown.stdout, shown.returncode) == ("web: truncated\n", "", 0)


def test_lines_of_several_jobs_are_merged_and_have_names(tmp_path: Path) -> None:
    def take_turn(line: str, after: str) -> str:
        wait = f"until [ -e {tmp_path}/{after} ]; do sleep 0.01; done; sleep 0.1"
        return f"{wait}; echo {line}; touch {tmp_path}/{line}; "

    (tmp_path / "ready").touch()
    web = [("one", "ready"), ("three", "two"), ("five", "four")]
    database = [("two", "one"), ("four", "three")]
    text = "".join(
        job(name, "".join(take_turn(*turn) for turn in turns) + SLEEP, "isolate = false")
        for name, turns in (("web", web), ("database", database))
    )
    with open_supervisor(tmp_path, text) as run:
        run.wait_line("web | five")

        shown = mocker(tmp_path, "logs", "--timestamps")

    told = [line.split() for line in shown.stdout.splitlines()]
    assert [(words[0], words[3]) for words in told] == [
        ("web", "one"),
        ("database", "two"),
        ("web", "three"),
        ("database", "four"),
        ("web", "five"),
    ]
    times = [words[2] for words in told]
    assert sorted(set(times)) == times


def test_lines_of_several_jobs_are_merged_while_they_are_followed(tmp_path: Path) -> None:
    names = ("web", "db")
    text = job("other", TICK)
    for name in names:
        os.mkfifo(tmp_path / name)
        script = f"exec 3<>{tmp_path}/{name}; while read -r line <&3; do echo $line; done"
        text += job(name, script, "isolate = false")
    with open_supervisor(tmp_path, text) as run:
        run.wait_line("other | tick")
        with reading(tmp_path, ["logs", "-f", *names]) as reader:
            told = list[list[str]]()
            for number in range(20):
                (tmp_path / names[number % 2]).write_text(f"{number}\n")
                told.append(read_line(reader).split(" | "))

    assert told == [[("web", "db ")[number % 2], str(number)] for number in range(20)]


def test_bytes_are_as_they_were_printed(tmp_path: Path) -> None:
    with open_supervisor(
        tmp_path, job("web", r"printf '\377\000\033[1m\r\nend\n';" + SLEEP)
    ) as run:
        run.wait_line("web | end")

        shown = mocker(tmp_path, "logs", "web", binary=True)

    assert shown.stdout == b"\xff\0\x1b[1m\r\nend\n"


def test_channel_and_run_are_told_to_programs(tmp_path: Path) -> None:
    text = job("web", f"echo out; echo err >&2; {SLEEP}")
    with open_supervisor(tmp_path, text) as run:
        run.wait_line("web | out")
        run.wait_line("web | err")

        shown = mocker(tmp_path, "logs", "--json", "web")
        pid = run.find("job.started")[0]["pid"]

    told = [json.loads(line) for line in shown.stdout.splitlines()]
    assert sorted((each["channel"], each["line"]) for each in told) == [
        ("stderr", "err"),
        ("stdout", "out"),
    ]
    assert {(each["job"], each["pid"], each["attempt"]) for each in told} == {("web", pid, 1)}


@requires_commands("curl")
def test_curl_can_follow(tmp_path: Path) -> None:
    socket = tmp_path / "mocker/demo.sock"
    ask = f"exec curl -sN --unix-socket {socket} 'http://x/v1/logs?job=web&follow=1'"
    with open_supervisor(tmp_path, NAME + job("web", TICK)) as run:
        run.wait_line("web | tick")
        with reading(tmp_path, ask) as curl:
            told = [json.loads(read_line(curl)) for _ in range(20)]

    assert {each["line"] for each in told} == {"tick"}
    assert sorted(told, key=lambda each: str(each["time"])) == told


def test_unknown_job_makes_it_4(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, job("web", SLEEP)) as run:
        run.wait_event("job.started")

        shown = mocker(tmp_path, "logs", "-f", "wbe")

    assert (shown.returncode, shown.stdout) == (4, "")
    assert shown.stderr == "mocker logs: there is no job 'wbe'; is 'web' meant?\n"


def test_following_goes_on_over_restarts(tmp_path: Path) -> None:
    text = job("web", f"echo run; {SLEEP}")
    with open_supervisor(tmp_path, text) as run:
        run.wait_line("web | run")
        with reading(tmp_path, ["logs", "-f", "--json", "web"]) as reader:
            first = json.loads(read_line(reader))

            mocker(tmp_path, "restart", "web")
            second = json.loads(read_line(reader))

    assert (first["line"], second["line"]) == ("run", "run")
    assert first["pid"] != second["pid"]


def test_no_line_is_lost_or_shown_twice_between_the_last_and_those_that_come(
    tmp_path: Path,
) -> None:
    script = "i=0; while :; do i=$((i+1)); echo $i; done"
    with open_supervisor(tmp_path, job("web", script, QUIET)) as run:
        run.wait_event("job.started")
        with reading(tmp_path, ["logs", "-f", "web"]) as reader:
            lines = [int(read_line(reader)) for _ in range(20_000)]

    assert lines == list(range(lines[0], lines[0] + 20_000))


def test_names_tell_apart_those_who_follow_a_pattern_what_is_added_then(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, job("web", TICK, "replicas = 1")) as run:
        run.wait_line("web-1 | tick")
        with reading(tmp_path, ["logs", "-f", "-n", "0", "web*"]) as reader:
            first = read_line(reader)

            mocker(tmp_path, "scale", "web=3")
            read_until(reader, "web-2 | tick")
            read_until(reader, "web-3 | tick")

    assert first == "web-1 | tick"


def test_lines_of_the_last_seconds_are_shown(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, job("web", f"echo old; sleep 3; echo new; {SLEEP}")) as run:
        run.wait_line("web | new")

        shown = mocker(tmp_path, "logs", "--since", "2500ms", "web")

    assert shown.stdout == "new\n"


def test_following_ends_with_the_supervisor(tmp_path: Path) -> None:
    script = "trap 'echo last; exit' TERM; echo ready; while :; do sleep 0.1; done"
    with open_supervisor(tmp_path, job("web", script)) as run:
        run.wait_line("web | ready")
        with (
            reading(tmp_path, ["logs", "-f", "web"]) as reader,
            reading(tmp_path, ["events"]) as events,
        ):
            read_until(reader, "ready")
            read_until(events, "RUNNING")

            assert run.terminate() == 0
            lines, _ = reader.communicate(timeout=PATIENCE)
            changes, _ = events.communicate(timeout=PATIENCE)

    assert (reader.returncode, lines) == (0, "last\n")
    assert (events.returncode, changes.count("STOPPED")) == (0, 1)


def test_end_is_not_delayed_by_those_who_follow(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, job("web", FLOOD, QUIET)) as run:
        run.wait_event("job.started")
        with reading(tmp_path, "exec $MOCKER logs -f web | sleep 1000") as stalled:
            assert wait_until(lambda: "logs" in list_commands(stalled.pid))
            time.sleep(0.5)  # until nothing goes through any more
            begin = time.monotonic()
            status = run.terminate()

    assert status == 0
    assert time.monotonic() - begin < SOON_S


def test_file_is_complete_though_one_who_follows_takes_nothing(tmp_path: Path) -> None:
    total = 200_000
    log = tmp_path / "web.log"
    sink = f"output = {{ file = '{log}', format = 'raw' }}\n"
    script = f"read -r _ <{tmp_path}/gate; seq {total}; {SLEEP}"
    os.mkfifo(tmp_path / "gate")
    with open_supervisor(tmp_path, job("web", script, f"{sink}isolate = false")) as run:
        run.wait_event("job.started")
        with reading(tmp_path, "exec $MOCKER logs -f web | sleep 1000") as stalled:
            assert wait_until(lambda: "logs" in list_commands(stalled.pid))
            time.sleep(0.5)  # until it follows
            (tmp_path / "gate").write_text("go\n")

            assert wait_until(lambda: log.exists() and log.read_text().endswith(f"\n{total}\n"))

    assert log.read_text().split() == [str(number) for number in range(1, total + 1)]


def list_commands(pid: int) -> str:
    listing = subprocess.run(
        ["ps", "-ww", "-o", "args=", "--ppid", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return listing.stdout


def test_refusal_is_told_though_nobody_reads_the_lines(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, job("web", SLEEP)) as run:
        run.wait_event("job.started")
        read_end, write_end = os.pipe()
        os.close(read_end)
        with os.fdopen(write_end, "wb") as nobody:
            outcome = subprocess.run(
                [MOCKER, "logs", "nosuch"],
                stdin=subprocess.DEVNULL,
                stdout=nobody,
                stderr=subprocess.PIPE,
                env=environment(tmp_path),
                text=True,
                timeout=PATIENCE,
                check=False,
            )

    assert outcome.returncode == 4
    assert "nosuch" in outcome.stderr


def test_one_that_goes_away_leaves_nothing(tmp_path: Path) -> None:
    text = job("web", f"echo first; {SLEEP}") + job("other", f"echo ready; {SLEEP}")
    with open_supervisor(tmp_path, text) as run:
        run.wait_line("web | first")
        run.wait_line("other | ready")
        mocker(tmp_path, "logs")  # which loads all that answers
        before = count_descriptors(run)

        # The job is silent now, and yet its reader sees that nobody reads any more.
        for _ in range(5):
            with reading(tmp_path, "$MOCKER logs -f web | head -1") as reader:
                assert reader.communicate(timeout=PATIENCE) == ("first\n", "")

        # What has just asked may have been there before.
        assert wait_until(lambda: count_descriptors(run) <= before)
        assert (run.remarks, run.terminate()) == ([], 0)


def test_one_that_takes_nothing_holds_up_nobody_and_is_told_what_it_lost(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    text = job("flood", FLOOD, QUIET) + job("other", TICK)
    with open_supervisor(tmp_path, text) as run:
        run.wait_line("other | tick")
        with reading(tmp_path, ["logs", "-f", "--json", "flood"], write_end):
            os.close(write_end)
            with reading(tmp_path, ["logs", "-f", "other"]) as reader:
                for _ in range(20):
                    assert read_line(reader) == "tick"
            with os.fdopen(read_end, "rb") as output:
                told = [json.loads(output.readline())]
                while "dropped" not in told[-1]:
                    told.append(json.loads(output.readline()))

    lost = told.pop()
    assert (lost["job"], lost["dropped"] > 0) == ("flood", True)
    numbers = [int(each["line"]) for each in told]
    assert [number % 100_000 for number in numbers] == [
        (numbers[0] + index) % 100_000 for index in range(len(numbers))
    ]


def test_flood_is_followed_by_many_and_everything_else_goes_on(tmp_path: Path) -> None:
    text = job("flood", FLOOD, QUIET) + job("other", TICK)
    with open_supervisor(tmp_path, text) as run:
        run.wait_line("other | tick")
        readers = [
            subprocess.Popen(
                [MOCKER, "logs", "-f", "flood"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment(tmp_path),
            )
            for _ in range(10)
        ]
        try:
            ticks = run.lines.count("other | tick")
            run.wait_line("other | tick", ticks + 20)
            shown = mocker(tmp_path, "ps")
        finally:
            for reader in readers:
                reader.kill()
                reader.wait()

        assert shown.returncode == 0
        assert run.terminate() == 0


def test_all_jobs_are_told_and_then_each_change_once_and_in_order(tmp_path: Path) -> None:
    text = job("web", SLEEP) + job("batch", "exit 3", "restart = 'never'")
    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.started", job="web")
        run.wait_event("job.exited", job="batch")
        with reading(tmp_path, ["events", "--json"]) as reader:
            told = [json.loads(read_line(reader)) for _ in range(2)]
            mocker(tmp_path, "restart", "web")
            mocker(tmp_path, "stop", "web")
            told += [json.loads(line) for line in read_until(reader, '"STOPPED"')]
        pids = [event["pid"] for event in run.find("job.started", job="web")]

    assert [(each["event"], each["job"], each["state"], each["pid"]) for each in told] == [
        ("snapshot", "web", "RUNNING", pids[0]),
        ("snapshot", "batch", "EXITED", None),
        ("change", "web", "STOPPING", pids[0]),
        ("change", "web", "STARTING", None),
        ("change", "web", "STARTING", pids[1]),
        ("change", "web", "RUNNING", pids[1]),
        ("change", "web", "STOPPING", pids[1]),
        ("change", "web", "STOPPED", None),
    ]
    assert (told[1]["exit"], told[-1]["exit"]) == ("exit code 3", "SIGTERM")
    assert [each["time"] for each in told] == sorted(each["time"] for each in told)


def test_job_that_a_reload_removes_or_adds_is_told(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, job("web", SLEEP) + job("old", SLEEP)) as run:
        run.wait_event("job.started", count=2)
        with reading(tmp_path, ["events"]) as reader:
            read_until(reader, "old")

            run.rewrite(job("web", SLEEP) + job("new", SLEEP))
            lines = read_until(reader, "new  RUNNING")

    words = [line.split()[1:3] for line in lines]
    assert ["old", "removed"] in words
    assert ["new", "STARTING"] in words
    assert not any(word[0] == "web" for word in words)
