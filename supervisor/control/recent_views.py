"""The state of jobs as text, made once for all who ask for the same within a moment.

A dashboard in each of many terminals must not cost the supervisor, which has jobs to attend to, the
same work again and again. Whatever of a job has changed is seen at once; only how long it has been
so, and how long it still will be, may be a moment old.
"""

import json
from collections.abc import Sequence

from ..jobs import Job
from .job_views import describe_job

_MOMENT_S = 0.01


class RecentViews:
    """What was answered last."""

    def __init__(self) -> None:
        self._of: Sequence[tuple[object, ...]] = ()
        self._made_at = 0.0
        self._text = b""

    def render(self, jobs: Sequence[Job], now: float) -> bytes:
        """Return the state of jobs as JSON.

        Args:
            jobs: Which.
            now: In trio's time.
        """
        of = [
            (job.config, job.life, job.pid, job.notice.status, job.kill_at, job.is_paused)
            for job in jobs
        ]
        if not self._text or now - self._made_at > _MOMENT_S or of != self._of:
            described = {"jobs": [describe_job(job, now) for job in jobs]}
            # As ASCII: half a surrogate has no UTF-8.
            self._text = json.dumps(described, separators=(",", ":")).encode()
            self._made_at, self._of = now, of
        return self._text
