"""`mocker start`, `stop`, `restart`, `kill`, `pause`, `resume`, `signal`: the outcome by job."""

import os
from collections.abc import Mapping, Sequence

from mocker.isolation import SpecError

from ..options import Option, Parsed
from ..stderr import make_printable, write_line
from .answer_lines import AnswerLines
from .arguments import Command
from .client import Client
from .exchange import get_value
from .run import FAILED, run

_NO_WAIT = Option("--no-wait", "", "do not wait for the outcome")
_SOME = range(1, 10**6)
_WISHES = (("--no-wait", "wait", False), ("--force", "force", True), ("--rolling", "rolling", True))
_PAUSED = "Nobody asks meanwhile whether they are alive. What stops them lets them go on."
_EXIT = """\
exit status:
  0  it is so for all of them
  1  it is not for some, or no supervisor answers
  2  wrong usage
  4  there is no such job"""
_STARTED = """\
One has started once it is ready, or, without 'ready' in the file, when it has run for a second.
What one that fails before has said last is shown on stderr."""
_ROLLING = """\
A rolling restart ends with the first job that does not become ready, or of a oneshot does not
complete; the next ones keep running. So they do if this command is interrupted, while the job that
is under way starts all the same. A second one of the same jobs is refused meanwhile."""

COMMANDS = {
    "start": Command(
        "start", "JOB...", "Start jobs.", [_NO_WAIT], count=_SOME, more=f"{_STARTED}\n\n{_EXIT}"
    ),
    "stop": Command(
        "stop",
        "JOB...",
        "Stop jobs, those that depend on others first; a schedule ends until a start.",
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
        more=f"{_STARTED}\n\n{_ROLLING}\n\n{_EXIT}",
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


def tell_outcome(outcome: Mapping[str, object]) -> None:
    """Print what came of it, and what a run that failed to start has said last.

    Raises:
        ProtocolError: It is no outcome.
    """
    print(render_outcome(outcome), flush=True)
    lines = outcome.get("last_lines")
    for line in lines if isinstance(lines, list) else []:
        write_line(f"{outcome['job']} | {line}")


def begin(client: Client, action: str, *words: str, **wishes: bool) -> AnswerLines:
    """Return the outcomes of an action, which is begun once they are wanted.

    Args:
        client: What asks.
        action: Its name, which is that of a command and of a method of the client.
        words: After it.
        wishes: What else the method takes.
    """
    outcomes: AnswerLines = getattr(client, action)(*words, **wishes)
    return outcomes


def act(name: str, words: Sequence[str]) -> int:
    """Carry out the words after one of these commands and return the exit status."""

    async def carry_out(parsed: Parsed, client: Client) -> int:
        if parsed.has("--rolling") and parsed.has("--no-wait"):
            raise SpecError("--rolling has to wait, so it cannot be with --no-wait")
        wishes = {key: value for option, key, value in _WISHES if parsed.has(option)}
        worst = os.EX_OK
        async with client, begin(client, name, *parsed.words, **wishes) as outcomes:
            async for outcome in outcomes:
                tell_outcome(outcome)
                worst = worst if get_value(outcome, "ok") else FAILED
        return worst

    return run(COMMANDS[name], words, carry_out)
