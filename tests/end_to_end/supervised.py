"""A `mocker-supervise` that runs while a test looks at it: its events, its jobs' lines."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from tests.end_to_end.processes import DEFAULT_SIGNALS, PATIENCE

MOCKER_SUPERVISE = Path(sys.executable).with_name("mocker-supervise")

# For the shell of a job that has a terminal: what somebody types there is answered.
ANSWER_LINES = """\
while read -r line; do
    case $line in
        size) stty size ;;
        end) exit 7 ;;
        *) echo "got $line" ;;
    esac
done"""

Event = dict[str, Any]


class Supervised:
    """The running command.

    Attributes:
        process: The command itself.
        file: What it was given.
        lines: What the jobs have printed so far, with their names.
        events: What the supervisor has said so far.
        remarks: What is on its stderr and is no event.
    """

    def __init__(self, process: subprocess.Popen[str], file: Path) -> None:
        self.process, self.file = process, file
        self.lines: list[str] = []
        self.events: list[Event] = []
        self.remarks: list[str] = []
        self._news = threading.Condition()
        streams = [(process.stdout, self._add_line), (process.stderr, self._add_event)]
        self._readers = [
            threading.Thread(target=self._read, args=(stream, add))
            for stream, add in streams
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()

    def wait_line(self, line: str, count: int = 1) -> None:
        """Wait until a job has printed a line so many times."""
        self._wait(lambda: self.lines.count(line) >= count, f"line {line!r}")

    def wait_event(self, name: str, count: int = 1, **facts: object) -> Event:
        """Wait for the event of this name and with these facts, the first or a later one."""
        self._wait(lambda: len(self.find(name, **facts)) >= count, f"event {name} {facts}")
        return self.find(name, **facts)[count - 1]

    def find(self, name: str, **facts: object) -> list[Event]:
        """Return the events so far of this name that have these facts."""
        return [
            event
            for event in list(self.events)
            if event["event"] == name and facts.items() <= event.items()
        ]

    def measure(self, begin: str, end: str) -> float:
        """Return the seconds from one event to another; there is one of each."""
        moments = [
            datetime.fromisoformat(event["timestamp"])
            for name in (begin, end)
            for event in self.find(name)
        ]
        began, ended = moments
        return (ended - began).total_seconds()

    def wait_exit(self, within: float = PATIENCE) -> int:
        """Wait until the command ends, and return its exit status."""
        status = self.process.wait(within)
        for reader in self._readers:
            reader.join(PATIENCE)
        return status

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def terminate(self) -> int:
        """Ask for an orderly end, and return the exit status."""
        self.send(signal.SIGTERM)
        return self.wait_exit()

    def rewrite(self, text: str) -> None:
        """Replace the file, and ask for a reload."""
        self.file.write_text(text)
        self.send(signal.SIGHUP)

    def close(self) -> None:
        for reader in self._readers:
            reader.join(PATIENCE)

    def _add_line(self, line: str) -> None:
        if line.startswith("{"):
            entry = json.loads(line)
            mark = "…" if entry.get("partial") else ""
            line = f"{entry['job']} | {entry['line']}{mark}"
        self.lines.append(line)

    def _add_event(self, line: str) -> None:
        if line.startswith("{"):
            self.events.append(json.loads(line))
        else:
            self.remarks.append(line)

    def _read(self, stream: IO[str], add: Callable[[str], None]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    add(line.rstrip("\n"))
                    self._news.notify_all()

    def _wait(self, is_there: Callable[[], bool], what: str) -> None:
        with self._news:
            if not self._news.wait_for(is_there, PATIENCE):
                told = "\n".join([*map(str, self.events), *self.remarks, *self.lines[-50:]])
                raise AssertionError(f"no {what} in {PATIENCE:g} s:\n{told}")


Supervise = Callable[..., Any]


@contextmanager
def open_supervisor(
    directory: Path, text: str, wrapper: Sequence[str] = (), stdout: int = subprocess.PIPE
) -> Iterator[Supervised]:
    """Run `mocker-supervise` on a file with this text; kill it on the way out.

    Args:
        directory: For the file, and for what the supervisor keeps.
        text: TOML.
        wrapper: A command to run it in.
        stdout: A descriptor for the lines of the jobs, instead of the list of them.
    """
    file = directory / "jobs.toml"
    file.write_text(text)
    process = subprocess.Popen(
        [*DEFAULT_SIGNALS, *wrapper, MOCKER_SUPERVISE, file],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "XDG_RUNTIME_DIR": str(directory)},
        process_group=0,
    )
    supervised = Supervised(process, file)
    try:
        yield supervised
    finally:
        process.kill()
        process.wait()
        supervised.close()


def supervise(directory: Path, text: str, within: float = PATIENCE) -> tuple[int, Supervised]:
    """Run `mocker-supervise` on a file until it ends by itself."""
    started = time.monotonic()
    with open_supervisor(directory, text) as supervised:
        status = supervised.wait_exit(within - (time.monotonic() - started))
    return status, supervised
