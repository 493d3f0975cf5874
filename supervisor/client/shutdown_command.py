"""`mocker shutdown`: stop a supervisor and all its jobs in order, and wait until it is gone."""

import os
from collections.abc import Sequence

from ..options import Option, Parsed
from ..stderr import make_printable, write_line
from .arguments import Command
from .client import Client
from .run import run

COMMAND = Command(
    "shutdown",
    "",
    "Stop all jobs in order, and the supervisor; wait until it is gone.",
    (Option("--no-wait", "", "do not wait"),),
    count=range(1),
    more="""\
exit status:
  0  it is gone, or is about to with --no-wait
  1  no supervisor answers
  2  wrong usage""",
)


def shutdown(words: Sequence[str]) -> int:
    """Carry out the words after `mocker shutdown` and return the exit status."""
    return run(COMMAND, words, _shut_down)


async def _shut_down(parsed: Parsed, client: Client) -> int:
    waits = not parsed.has("--no-wait")
    async with client:
        answer = await client.shutdown(wait=waits)
    outcome = "stopped" if answer["gone"] else "stopping"
    print(f"{make_printable(str(answer.get('name')))}: {outcome}", flush=True)
    if waits and not answer["gone"]:
        write_line("mocker shutdown: cannot wait for it: it is in a PID namespace further out")
    return os.EX_OK
