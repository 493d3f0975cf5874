"""What a test must leave as it found it: mounts, descriptors, children, threads, files in /tmp.

A container that outlives its test is mocker's own worst failure, so every test is watched, not only
those that ask for it.
"""

import gc
import os
import tempfile
import time
from pathlib import Path

# Seconds. A killed container vanishes when the kernel has torn its namespaces down, which is soon
# but after the call that killed it; a loaded machine needs a second for it.
PATIENCE = 5.0
POLL_INTERVAL = 0.01


def observe() -> dict[str, str]:
    """Return what this process has open, mounted, running or stored: its identity and a remark."""
    return {
        **{f"mount {line}": "" for line in Path("/proc/self/mountinfo").read_text().splitlines()},
        **{f"descriptor {number}": target for number, target in read_descriptors().items()},
        **{f"child {pid}": describe_process(pid) for pid in read_children()},
        **{f"thread {task.name}": "" for task in Path("/proc/self/task").iterdir()},
        **{f"file {path}": "" for path in list_files()},
    }


def read_descriptors() -> dict[str, str]:
    descriptors = {}
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            descriptors[descriptor.name] = str(descriptor.readlink())
        except FileNotFoundError:  # the descriptor of the listing itself, closed by now
            continue
    return descriptors


def list_files() -> list[Path]:
    paths = Path(tempfile.gettempdir()).glob("*mocker*")
    # pytest's own directory has the user's name, which is mocker-ci in CI.
    return [path for path in paths if not path.name.startswith("pytest-of-")]


def read_children() -> list[str]:
    pids = []
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            pids += listing.read_text().split()
        except (FileNotFoundError, ProcessLookupError):  # the thread has ended
            continue
    return pids


def describe_process(pid: str) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except (FileNotFoundError, ProcessLookupError):
        return "reaped meanwhile"
    return os.fsdecode(command).strip() or "a zombie"


def find_leaks(before: dict[str, str], patience: float = PATIENCE) -> list[str]:
    """Return what is there now and was not before, once it has had the time to vanish."""
    deadline = time.monotonic() + patience
    while True:
        now = observe()
        leaks = [f"{what}: {now[what]}".rstrip(": ") for what in now if what not in before]
        if not leaks or time.monotonic() >= deadline:
            return leaks
        gc.collect()  # what is only unreachable is closed here, and warns in its own name
        time.sleep(POLL_INTERVAL)
