"""`mocker start`, `stop`, `restart`, `kill`, `pause`, `resume`, `signal`: the outcome by job."""

import os
from collections.abc import Mapping, Sequence

from mocker.isolation import SpecError

from ..options import Option, Parsed
from ..stderr import make_printable
from . import resources
from .arguments import Command
from .exchange import get_value
from .run import FAILED, Ask, run

_NO_WAIT = Option("--no-wait", "", "do not wait for the outcome")
_SOME = range(1, 10**6)
_PAUSED = "Nobody asks meanwhile whether they are alive. What stops them lets them go on."
_EXIT = """\
exit status:
  0  it is so for all of them
  1  it is not for some, or no supervisor answers
  2  wrong usage
  4  there is no such job"""
_ROLLING = """\
A rolling restart ends with the first job that does not become ready, or of a oneshot does not
complete; the next ones keep running. So they do if this command is interrupted, while the job that
is under way starts all the same. A second one of the same jobs is refused meanwhile."""

COMMANDS = {
    "start": Command("start", "JOB...", "Start jobs.", [_NO_WAIT], count=_SOME, more=_EXIT),
    "stop": Command(
        "stop",
        "JOB...",
        "Stop jobs, those that depend on others first.",
        [_NO_WAIT, Option("-f --force", "", "stop also what others that run depend on")],
        count=_SOME,
        more=_EXIT,
    ),
    "restart": Command(
        "restart",
        "JOB...",
        "Stop jobs and start them anew.",
        [_NO_WAIT, Option("--rolling", "", "one by one, each when the one before it is ready")],
        count=_SOME,
        more=f"{_ROLLING}\n\n{_EXIT}",
    ),
    "kill": Command(
        "kill",
        "JOB...",
        "Stop jobs at once, without their grace.",
        [_NO_WAIT],
        count=_SOME,
        more=f"Another signal than SIGKILL is sent by 'mocker signal'.\n\n{_EXIT}",
    ),
    "pause": Command(
        "pause",
        "JOB...",
        "Freeze all processes of jobs, which have to have a cgroup, such as by a limit.",
        [_NO_WAIT],
        count=_SOME,
        more=f"{_PAUSED}\n\n{_EXIT}",
    ),
    "resume": Command(
        "resume",
        "JOB...",
        "Let jobs that are paused go on.",
        count=_SOME,
        more=_EXIT,
    ),
    "signal": Command(
        "signal",
        "SIGNAL JOB...",
        "Send a signal, such as HUP, to the commands of jobs.",
        count=range(2, 10**6),
        more=_EXIT,
    ),
}


def render_outcome(outcome: Mapping[str, object]) -> str:
    """Return what came of it as a line: "web: stopped", "web: not started (because)".

    Raises:
        ProtocolError: It is no outcome.
    """
    reason = f" ({outcome['reason']})" if outcome.get("reason") else ""
    text = f"{get_value(outcome, 'job')}: {get_value(outcome, 'outcome')}{reason}"
    return make_printable(text)


def act(name: str, words: Sequence[str]) -> int:
    """Carry out the words after one of these commands and return the exit status."""

    def carry_out(parsed: Parsed, ask: Ask) -> int:
        jobs = list(parsed.words)
        signal = jobs.pop(0) if name == "signal" else None
        wait, rolling = not parsed.has("--no-wait"), parsed.has("--rolling")
        if rolling and not wait:
            raise SpecError("--rolling has to wait, so it cannot be with --no-wait")
        force = parsed.has("--force")
        request = resources.act(name, jobs, wait=wait, force=force, rolling=rolling, signal=signal)
        worst = os.EX_OK
        for outcome in ask().stream(*request):
            print(render_outcome(outcome), flush=True)
            worst = worst if get_value(outcome, "ok") else FAILED
        return worst

    return run(COMMANDS[name], words, carry_out)
