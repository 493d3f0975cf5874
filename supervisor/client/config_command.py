"""`mocker config`: what a job is like, with all that the file does not say of it."""

import json
import os
from collections.abc import Mapping, Sequence

from ..options import Option, Parsed
from . import resources
from .arguments import Command
from .client import Client
from .exchange import ProtocolError, get_value, list_objects
from .run import run
from .toml_table import render_tables

COMMAND = Command(
    "config",
    "JOB",
    "Show what a job is like, or several: a name, a pattern such as 'web-*', or all.",
    (Option("--json", "", "print what the supervisor answers, for programs"),),
    count=range(1, 2),
    more="""\
What is shown is TOML, and means the same in a file. The variables of files and of the supervisor's
environment have their values, which only the owner and root see here; 'mocker ps' shows those in
commands to all who may look.

exit status:
  0  all is well
  1  no supervisor answers
  2  wrong usage
  4  there is no such job""",
)


def config(words: Sequence[str]) -> int:
    """Carry out the words after `mocker config` and return the exit status."""
    return run(COMMAND, words, _show)


async def _show(parsed: Parsed, client: Client) -> int:
    async with client:
        answer = await client.ask(*resources.get_config(parsed.words[0]))
    jobs = list_objects(answer, "jobs")
    if parsed.has("--json"):
        print(json.dumps(answer))
    else:
        print("\n".join(map(_render, jobs)), end="")
    return os.EX_OK


def _render(job: Mapping[str, object]) -> str:
    config = get_value(job, "config")
    if not isinstance(config, dict):
        raise ProtocolError("its 'config' is no object")
    return render_tables(("jobs", str(get_value(job, "name"))), config)
