"""`mocker shutdown`: stop a supervisor and all its jobs in order, and wait until it is gone.

What is waited for is the end of its process, and not of the connection, which ends before. A pidfd
tells it; so nothing has to be looked at again and again.

Source: pidfd_open(2), unix(7) SO_PEERCRED.
"""

import os
import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..options import Option, Parsed
from ..stderr import make_printable, write_line
from . import resources
from .arguments import Command
from .run import Ask, run

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


def _shut_down(parsed: Parsed, ask: Ask) -> int:
    # Who connects before it runs to a socket of systemd's has that as its peer.
    ask().ask(*resources.get_supervisor())
    asker = ask()
    # Before it is asked, as the number might be another process's afterwards.
    with _open_process(asker.find_pid()) as pidfd:
        name = make_printable(str(asker.ask(*resources.shut_down()).get("name")))
        if parsed.has("--no-wait"):
            print(f"{name}: stopping")
        elif pidfd is None:
            print(f"{name}: stopping", flush=True)
            write_line("mocker shutdown: cannot wait for it: it is in a PID namespace further out")
        else:
            select.select([pidfd], [], [])
            print(f"{name}: stopped")
    return os.EX_OK


@contextmanager
def _open_process(pid: int) -> Iterator[int | None]:
    """Give a pidfd for a block; None of a process that cannot be seen from here, or is gone."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield pidfd
    finally:
        os.close(pidfd)
