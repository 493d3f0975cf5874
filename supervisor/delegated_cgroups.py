"""The cgroups of jobs: made where this supervisor may, in which case and with which limits.

Where that is, is looked for once, when the first job needs it: looking takes the supervisor into a
cgroup of its own, so who has no limits is spared that. If a cgroup is delegated to it anyway, such
as by Delegate=yes in its unit, each job gets one: then any can be paused, and is accounted for.
"""

from collections.abc import Callable, Iterable
from errno import EAGAIN, EBUSY, EMFILE, ENFILE, ENOMEM, ETIMEDOUT

import structlog
import trio

from mocker.isolation import Limits, SetupError
from mocker.isolation.cgroups import Cgroup
from mocker.isolation.delegation import Delegation, find_delegation, is_delegated

from .threads import run_in_thread

log = structlog.get_logger("mocker.supervisor")

_PASSING = {EAGAIN, EBUSY, EMFILE, ENFILE, ENOMEM, ETIMEDOUT}


class NoLimitsError(SetupError):
    """A limit that cannot be had on this host, or as it is set up: trying again is of no use."""

    def __init__(self, error: SetupError) -> None:
        super().__init__(error.step, error.errno, error.path, error.hint)


class JobCgroups:
    """What makes them."""

    def __init__(self, list_pids: Callable[[], Iterable[int]]) -> None:
        """Make it; nothing is looked at yet.

        Args:
            list_pids: Returns the processes that make containers, which have to come along.
        """
        self._list_pids = list_pids
        self._looking = trio.Lock()
        self._are_everybodys: bool | None = None  # not known yet
        self._found: Delegation | SetupError | None = None

    async def make(self, limits: Limits | None) -> Cgroup | None:
        """Return a cgroup for a container, whose spec has its limits then; None if it needs none.

        Whoever asks has to remove it, or to give it to the container.

        Args:
            limits: What the job says about that.

        Raises:
            NoLimitsError: There are limits, and they cannot be had.
            SetupError: There is not enough left of something to make one.
        """
        if limits is None and not await self._are_for_everybody():
            return None
        try:
            return (await self._find()).make_cgroup(limits or Limits())
        except SetupError as error:
            if limits is None:
                return None  # nobody has asked for one
            if error.errno in _PASSING:
                raise
            raise NoLimitsError(error) from None

    async def _are_for_everybody(self) -> bool:
        """Return whether jobs without limits are to have one, too; it is looked at once."""
        if self._are_everybodys is None:
            async with self._looking:
                if self._are_everybodys is None:  # systemd may be asked, and be slow
                    self._are_everybodys = await run_in_thread(is_delegated)
        return self._are_everybodys

    async def _find(self) -> Delegation:
        """Return where cgroups are made.

        Raises:
            SetupError: Nowhere.
        """
        async with self._looking:
            if self._found is None:
                try:
                    self._found = await run_in_thread(find_delegation, self._list_pids())
                except SetupError as error:
                    if error.errno in _PASSING:
                        raise
                    self._found = error
                else:
                    log.info("cgroup.delegated", path=self._found.path)
        if isinstance(self._found, SetupError):
            raise self._found
        return self._found
