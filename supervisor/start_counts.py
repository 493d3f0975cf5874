"""How often each job was started, as long as there is such a job: for tables and for graphs.

The number of a run, which `lifecycle` has, begins anew with each time that somebody asks.
"""

from weakref import WeakKeyDictionary

from .jobs import Job


class StartCount:
    """How often one job was started.

    Attributes:
        starts: Runs whose command was executed.
        restarts: Those of them that nobody asked for.
    """

    def __init__(self) -> None:
        self.starts = self.restarts = 0
        self._runs = False

    def see(self, job: Job) -> None:
        """Take note of a change of its state."""
        life = job.life
        if life.began is not None and not self._runs:
            self.starts += 1
            self.restarts += life.attempt > 1
        self._runs = life.began is not None  # until the next one begins


class StartCounts:
    """How often all jobs were started."""

    def __init__(self) -> None:
        self._counts: WeakKeyDictionary[Job, StartCount] = WeakKeyDictionary()

    def see(self, job: Job) -> None:
        """Take note of a change of a job's state."""
        self.find(job).see(job)

    def find(self, job: Job) -> StartCount:
        """Return how often a job was started."""
        return self._counts.setdefault(job, StartCount())
