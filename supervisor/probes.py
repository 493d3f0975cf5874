"""Whether a run is ready, which is told by what it prints.

Readiness gates those that depend on a job and never restarts it.
"""

import re

import attrs
import trio

from mocker.isolation import Container

from .config import Probe


class LogWatch:
    """Waits for something in what a run prints.

    Attributes:
        found: Set once it was there.
    """

    def __init__(self, pattern: str) -> None:
        self.found = trio.Event()
        self._pattern = re.compile(pattern.encode(), re.MULTILINE)

    def see(self, lines: bytes) -> None:
        """Take note of one or more whole lines."""
        if not self.found.is_set() and self._pattern.search(lines):
            self.found.set()


@attrs.frozen
class JobAccess:
    """What a probe may use of a run.

    Attributes:
        container: That of the run; its command is executed.
        log: What it prints; None unless the job has a log probe.
    """

    container: Container
    log: LogWatch | None


async def wait_ready(probe: Probe, access: JobAccess) -> str:
    """Wait until a run is ready.

    Returns:
        Why it never will be; "" if it is.
    """
    if access.log is None:
        await trio.lowlevel.checkpoint()
        return f"a {probe.kind} probe cannot be asked"
    await access.log.found.wait()
    return ""


async def wait_dead(probe: Probe, access: JobAccess) -> str:
    """Wait until a run does not answer any more, and return why it counts as dead."""
    await trio.lowlevel.checkpoint()
    return f"a {probe.kind} probe cannot be asked of container {access.container.pid}"
