"""`mocker exec`: a command in a running job, in the foreground, as `mocker run` has it.

The process has the caller's own descriptors, but no terminal among them: it has one of the
container's, which is relayed, or a pipe.
"""

import os
import signal
from collections.abc import Sequence
from contextlib import closing

from mocker.isolation import IsolationError

from ..foreground import (
    Watch,
    are_one_terminal,
    attend,
    block_signals,
    fill_standard_descriptors,
    let_go_of,
    replace_terminals,
)
from ..options import Option, Parsed
from ..run_options import parse_env
from ..stderr import write_line
from ..terminal_pipes import TerminalPipes
from .address import NoSupervisorError
from .arguments import Command
from .client import Client
from .executed import Executed
from .run import run, tell_version
from .signalled import announce, wait_started

COMMAND = Command(
    "exec",
    "JOB COMMAND [ARG...]",
    "Execute a command in a job that runs: in its container, as its user, with its environment\n"
    "and within its limits.",
    (
        Option("-e --env", "KEY[=VALUE]", "set a variable, or take it from the caller"),
        Option(
            "-u --user",
            "USER[:GROUP]",
            "run as another user, of a job that runs as root (default: the job's)",
        ),
        Option("-w --workdir", "DIR", "start there (default: the job's)"),
        Option("-i --interactive", "", "accepted; stdin is always connected"),
        Option(
            "-t --tty",
            "",
            "give it a terminal even where stdout is none; who calls from a terminal gets one",
        ),
    ),
    count=range(2, 10**6),
    more="""\
exit status:
  that of the command; 128+N if signal N ended it
  2    wrong usage
  125  it could not be started, or no supervisor answers
  126  the command cannot be executed
  127  the command is not there""",
)
_STDIO = (0, 1, 2)


def execute(words: Sequence[str]) -> int:
    """Carry out the words after `mocker exec` and return the exit status."""
    fill_standard_descriptors()
    return run(COMMAND, words, _carry_out)


async def _carry_out(parsed: Parsed, client: Client) -> int:
    job, *argv = parsed.words
    if argv[0] == "--":  # as kubectl's stands before the command
        del argv[0]
    env = dict[str, str]()
    for word in parsed.all("--env"):
        env |= parse_env(word, "--env")
    terminal = are_one_terminal(0, 1) or (parsed.has("--tty") and os.isatty(0))
    if terminal:
        env.setdefault("TERM", os.environ.get("TERM") or "xterm")
    user, workdir = parsed.maybe("--user"), parsed.maybe("--workdir")
    executed = client.exec(job, argv, env=env, user=user, workdir=workdir, tty=terminal)
    try:
        async with client:
            await executed.connect()
            with closing(executed):
                # On a terminal these two keep their action, see `terminal_run`.
                signals = block_signals({signal.SIGTTIN, signal.SIGTTOU} if terminal else ())
                pipes = replace_terminals(_STDIO, terminal=terminal)
                executed.ask(_STDIO if pipes is None else pipes.stdio)
                announce(executed)
                return _attend(executed, pipes, signals)
    except NoSupervisorError as error:
        _tell(str(error))
        return IsolationError.exit_code


def _attend(executed: Executed, pipes: TerminalPipes | None, signals: set[int]) -> int:
    """Wait until it has ended, say what there is to say, and return the exit status."""
    watch = Watch(executed, None)
    if pipes is not None:
        pipes.start()
    started = wait_started(executed, watch, signals)
    tell_version(COMMAND.name, executed.version)
    if started:
        if executed.spec.terminal:
            _relay(executed, watch, signals)
        else:
            let_go_of(0, 1)
    status = attend(executed, watch, signals)
    if pipes is not None:
        pipes.finish(signals, watch.asks_to_end)
    if executed.failure:
        _tell(str(executed.failure))
    return status.shell_code


def _relay(executed: Executed, watch: Watch, signals: set[int]) -> None:
    from ..terminal import Terminal

    with Terminal() as terminal:
        terminal.take()
        from ..terminal_relay import run_relay

        run_relay(executed, terminal, watch, signals, outlives=True)
    # If the caller's terminal has hung up, the command's now does too.
    executed.close_terminal()


def _tell(text: str) -> None:
    write_line(f"mocker exec: {text}")
