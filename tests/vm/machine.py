"""The machine as its tests use it: units of systemd, the journal, cgroups.

In a machine for root that is what the whole machine has; in one for the ordinary user it is what
his own manager has, and the part of the journal and of the cgroups that is his.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MODE = os.environ.get("MOCKER_TESTS_MACHINE", "")  # "root" or "user"; "" in no such machine
IS_USER = MODE == "user"
PATIENCE = 60.0  # seconds
CGROUPS = Path("/sys/fs/cgroup")

_POLL_INTERVAL = 0.05
_OWN = ["--user"] if IS_USER else []

Completed = subprocess.CompletedProcess[str]


def find_unit_directory() -> Path:
    """Return where units are put that last as long as the machine."""
    if IS_USER:
        return Path(os.environ["XDG_RUNTIME_DIR"], "systemd/user")
    return Path("/run/systemd/system")


def find_configuration_directory() -> Path:
    """Return what units call %E."""
    return Path.home() / ".config" if IS_USER else Path("/etc")


def find_cgroup(pid: int) -> Path:
    """Return the directory of the cgroup that a process is in."""
    return CGROUPS / Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::/")


def run(*words: str | Path) -> Completed:
    """Run a command to its end."""
    return subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def systemctl(*words: str) -> Completed:
    """Ask the manager."""
    return run("systemctl", *_OWN, *words)


def show(unit: str, name: str) -> str:
    """Return a property of a unit."""
    return systemctl("show", "--property", name, "--value", unit).stdout.rstrip("\n")


def systemd_run(*words: str | Path) -> Completed:
    """Run a command as a unit of its own: options of systemd-run(1), then the command."""
    return run("systemd-run", *_OWN, "--quiet", *words)


def read_journal(*matches: str) -> list[dict[str, Any]]:
    """Return the entries that have these fields, in order."""
    run("journalctl", "--sync")
    found = run("journalctl", "--quiet", "--all", "--output=json", *matches)
    return [json.loads(line) for line in found.stdout.splitlines()]


@contextmanager
def installed(units: dict[str, str]) -> Iterator[None]:
    """Let the manager have these units, by their names, for the length of a block."""
    directory = find_unit_directory()
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in units.items():
        (directory / name).write_text(text)
    systemctl("daemon-reload")
    try:
        yield
    finally:
        # The socket first: whoever asks would start the service again.
        for name in sorted(units, reverse=True):
            systemctl("stop", name)
            (directory / name).unlink()
        systemctl("reset-failed", *units)
        systemctl("daemon-reload")


def wait_until(is_so: Callable[[], bool]) -> bool:
    """Wait until something is so; return False if it does not become so."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_INTERVAL)
    return True
