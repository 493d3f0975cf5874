"""The state of jobs as text, made once for all who ask for the same within a moment.

A dashboard in each of many terminals must not cost the supervisor, which has jobs to attend to, the
same work again and again. Whatever of a job has changed is seen at once, and so is another look at
what the jobs use; only how long it has been so, and how long it still will be, may be a moment old.
"""

import json
from collections.abc import Mapping, Sequence

from ..jobs import Job
from ..start_counts import StartCounts
from .figures import Seen, describe_use
from .job_views import describe_job

_MOMENT_S = 0.01


class RecentViews:
    """What was answered last."""

    def __init__(self, counts: StartCounts) -> None:
        self._counts = counts
        self._of: Sequence[tuple[object, ...]] = ()
        self._seen: Mapping[int, Seen] | None = None
        self._made_at = 0.0
        self._text = b""

    def render(self, jobs: Sequence[Job], now: float, seen: Mapping[int, Seen] | None) -> bytes:
        """Return the state of jobs as JSON.

        Args:
            jobs: Which.
            now: In trio's time.
            seen: What was seen of them, by the pids of their inits, to tell what they use; None to
                leave that out. Each look has a mapping of its own.
        """
        # It is restarted only with another life.
        of = [
            (job.config, job.life, job.pid, job.notice.status, job.kill_at, job.is_paused)
            for job in jobs
        ]
        is_recent = self._text and now - self._made_at <= _MOMENT_S
        if not is_recent or seen is not self._seen or of != self._of:
            described = {"jobs": [self._describe(job, now, seen) for job in jobs]}
            # As ASCII: half a surrogate has no UTF-8.
            self._text = json.dumps(described, separators=(",", ":")).encode()
            self._made_at, self._of, self._seen = now, of, seen
        return self._text

    def _describe(self, job: Job, now: float, seen: Mapping[int, Seen] | None) -> dict[str, object]:
        described = describe_job(job, now, self._counts.find(job).restarts)
        return described if seen is None else described | describe_use(job, seen)
