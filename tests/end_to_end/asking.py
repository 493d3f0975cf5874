"""The commands of `mocker` that ask a supervisor, as a user types them."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.end_to_end.processes import DEFAULT_SIGNALS, MOCKER, PATIENCE


class Said(NamedTuple):
    """What a command printed, and its exit status."""

    out: str
    err: str
    status: int


def make_env(directory: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a user whose supervisors run in a directory."""
    env = {key: value for key, value in os.environ.items() if key != "MOCKER_SOCKET"}
    return {**env, "XDG_RUNTIME_DIR": str(directory), **(more or {})}


def ask(directory: Path, *words: str | bytes, env: Mapping[str, str] | None = None) -> Said:
    """Run `mocker` with these words to its end."""
    result = subprocess.run(
        [*DEFAULT_SIGNALS, MOCKER, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=make_env(directory, env),
        timeout=PATIENCE,
        check=False,
    )
    return Said(result.stdout, result.stderr, result.returncode)


@contextmanager
def asking(directory: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run `mocker` with these words for the length of a block; interrupt it on the way out."""
    with subprocess.Popen(
        [*DEFAULT_SIGNALS, MOCKER, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=make_env(directory),
        process_group=0,
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)


def run_curl(socket: Path, *words: str) -> str:
    """Return what curl prints of an answer."""
    command: Sequence[str | Path] = ["curl", "-sS", "--unix-socket", socket, *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=True
    ).stdout
