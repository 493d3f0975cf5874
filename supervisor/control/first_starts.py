"""The start of jobs, which comes before all that may wait a moment.

To load what answers takes the time of dozens of starts. It is loaded when somebody asks, and that
may be in the midst of them: whoever waits for the supervisor asks at once, and where the socket is
systemd's, it is a question that starts all.
"""

from collections.abc import Mapping

import trio

from .. import lifecycle
from ..jobs import Job
from ..lifecycle import State

_LONGEST_S = 5.0  # for some thousand jobs; a host may be stuck, and somebody wants to know why


async def wait_started(jobs: Mapping[str, Job]) -> None:
    """Wait until no job is about to be executed for the first time, or for some seconds.

    One that waits for what it depends on is not about to be: that may take for ever.

    Args:
        jobs: By name.
    """
    with trio.move_on_after(_LONGEST_S):
        has_waited = True
        while has_waited:  # for who was waited for may be what others depend on
            has_waited = False
            for job in list(jobs.values()):
                while _is_about_to_start(job, jobs):
                    has_waited = True
                    await job.wait_changed()


def _is_about_to_start(job: Job, jobs: Mapping[str, Job]) -> bool:
    life = job.life
    return (
        life.state is State.STARTING
        and life.attempt == 1
        and life.began is None
        and all(
            lifecycle.meets(jobs[other].life, condition)
            for other, condition in job.config.depends_on.items()
        )
    )
