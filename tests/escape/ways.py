"""The ways to run programs that `mocker run` is not: as jobs of a supervisor, and beside their own.

Both by the commands that a caller has, `mocker-supervise` and `mocker exec`.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.end_to_end.supervised import open_supervisor

_COMMANDS = Path(sys.executable).parent
_MANY = {"-v": "volumes", "--tmpfs": "tmpfs", "--cap-add": "cap_add"}
_ONE = {"-u": "user", "--rootfs": "rootfs", "--seccomp": "seccomp"}

# Runs a command as a caller does, and returns what it writes.
Call = Callable[[Sequence[str], Mapping[str, str]], str]


class Job(NamedTuple):
    """A program, and the container that it is to have.

    Attributes:
        program: With its arguments.
        options: Those of `mocker run` for that.
        terminal: The path of what is to be its stdin.
    """

    program: Sequence[str]
    options: Sequence[str]
    terminal: str

    def render(self, name: str, program: Sequence[str]) -> str:
        """Return what a file of jobs has for it, with this program in the place of its own."""
        keys: dict[str, object] = {
            "command": list(program),
            "stdin": self.terminal,
            "output": "inherit",
            "restart": "never",
            **translate(self.options),
        }
        # A string of JSON is one of TOML, too.
        lines = [f"{key} = {json.dumps(value).replace('$', '$$')}" for key, value in keys.items()]
        return "\n".join([f"[jobs.{name}]", *lines, ""])


def translate(options: Sequence[str]) -> dict[str, object]:
    """Return the keys of a job that options of `mocker run` are."""
    keys, many = dict[str, object](), dict[str, list[str]]()
    words = iter(options)
    for option in words:
        if option == "--allow-new-privs":
            keys["allow_new_privs"] = True
        elif option == "--ulimit":
            name, _, value = next(words).partition("=")
            keys[f"ulimits.{name}"] = int(value)
        elif option in _ONE:
            keys[_ONE[option]] = next(words)
        else:
            many.setdefault(_MANY[option], []).append(next(words))
    return keys | many


def run_as_jobs(jobs: Sequence[Job], call: Call) -> str:
    """Run programs as the commands of jobs; return what they write."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "jobs.toml")
        file.write_text("\n".join(job.render(f"p{n}", job.program) for n, job in enumerate(jobs)))
        return call(
            [str(_COMMANDS / "mocker-supervise"), str(file)], {"XDG_RUNTIME_DIR": directory}
        )


def run_beside(jobs: Sequence[Job], call: Call) -> str:
    """Run programs beside the commands of such jobs; return what they write."""
    text = "\n".join(job.render(f"p{n}", ["sleep", "1000"]) for n, job in enumerate(jobs))
    outputs = []
    with (
        tempfile.TemporaryDirectory() as directory,
        open_supervisor(Path(directory), text, stdout=subprocess.DEVNULL) as run,
    ):
        for number, job in enumerate(jobs):
            run.wait_event("job.started", job=f"p{number}")
            command = [str(_COMMANDS / "mocker"), "exec", f"p{number}", *job.program]
            outputs.append(call(command, {"XDG_RUNTIME_DIR": directory}))
    return "".join(outputs)


Way = Callable[[Sequence[Job], Call], str]
