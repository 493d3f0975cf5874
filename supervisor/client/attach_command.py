"""`mocker attach`: be at the terminal of a running job, see what it prints, and type."""

import os
import signal
from collections.abc import Sequence
from contextlib import closing

from mocker.isolation import ExitStatus

from ..foreground import (
    Watch,
    are_one_terminal,
    attend,
    block_signals,
    fill_standard_descriptors,
)
from ..options import Option, Parsed
from ..stderr import write_line
from .arguments import Command
from .attached_job import AttachedJob
from .attached_terminal import AttachedTerminal
from .client import Client
from .detach_keys import DEFAULT, DetachKeys
from .run import FAILED, NO_SUCH_JOB, run, tell_version
from .signalled import announce, wait_started

COMMAND = Command(
    "attach",
    "JOB",
    "Be at the terminal of a job that has tty = true: see what it prints from now on, and type.\n"
    "The job goes on when the keys to detach are pressed, and however else this ends.",
    (
        Option(
            "--detach-keys",
            "KEYS",
            f"leave it by pressing these, one after another (default: {DEFAULT})",
        ),
    ),
    count=range(1, 2),
    more="""\
exit status:
  that of the job if it ends meanwhile; 128+N if signal N ended it
  0    the keys to detach were pressed
  1    it has no terminal or does not run, or no supervisor answers
  2    wrong usage
  4    there is no such job""",
)


def attach(words: Sequence[str]) -> int:
    """Carry out the words after `mocker attach` and return the exit status."""
    fill_standard_descriptors()
    return run(COMMAND, words, _carry_out)


async def _carry_out(parsed: Parsed, client: Client) -> int:
    (job,) = parsed.words
    keys = DetachKeys(parsed.last("--detach-keys", DEFAULT))
    attached = client.attach(job)
    async with client:
        if not are_one_terminal(0, 1):
            text = f"cannot attach to {job}: stdin and stdout are not a terminal"
            _tell(f"{text}; 'mocker logs -f {job}' needs none")
            return FAILED
        await attached.connect()
        with closing(attached):
            # These two keep their action, see `terminal_run`.
            signals = block_signals({signal.SIGTTIN, signal.SIGTTOU})
            attached.ask()
            announce(attached)
            return _attend(attached, keys, signals)


def _attend(attached: AttachedJob, keys: DetachKeys, signals: set[int]) -> int:
    """Be there until it is over, say why that is, and return the exit status."""
    watch = Watch(attached, None)
    started = wait_started(attached, watch, signals)
    tell_version(COMMAND.name, attached.version)
    if started:
        _relay(attached, keys, watch, signals)
    if keys.pressed:
        _tell(f"detached from {attached.job}, which goes on")
        return os.EX_OK
    status = attend(attached, watch, signals)
    if attached.failure is None:
        return status.shell_code
    _tell(str(attached.failure))
    return NO_SUCH_JOB if getattr(attached.failure, "code", "") == "no-such-job" else FAILED


def _relay(attached: AttachedJob, keys: DetachKeys, watch: Watch, signals: set[int]) -> None:
    """Carry bytes until the keys are pressed, the job ends, or the terminal hangs up."""
    terminal = AttachedTerminal(attached, keys)
    with terminal:
        terminal.take()
        from ..terminal_relay import run_relay

        run_relay(attached, terminal, watch, signals, outlives=True)
        if terminal.hung_up:
            attached.leave(ExitStatus(signal=signal.SIGHUP))


def _tell(text: str) -> None:
    write_line(f"mocker attach: {text}")
