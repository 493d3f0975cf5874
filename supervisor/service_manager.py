"""What the supervisor tells whoever keeps it, such as systemd, as one of its services.

The supervisor is ready once each job has been started: it is ready itself, has ended, or has failed
for the first time. From then on its status has how many jobs are in which state.

Nothing waits for the manager. Messages are sent by a task of their own, and those that it cannot
have are lost: there is nobody else who could use them.

Source: sd_notify(3), systemd.service(5) on Type=notify-reload, sd_watchdog_enabled(3).
"""

import os
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import structlog
import trio

from mocker.isolation.errors import render_reason

from .changes import Changes
from .jobs import Job
from .lifecycle import State

log = structlog.get_logger("mocker.supervisor")

_STARTING_PAUSE_S = 0.1  # between two looks at the jobs, however much becomes of them
_STATUS_PAUSE_S = 1.0  # each status goes on to all who follow the manager
_NOT_STARTED = frozenset({State.STARTING, State.STOPPING})


class ServiceManager:
    """The manager of the service that this process is; nobody, if it is none."""

    def __init__(self, env: Mapping[str, str]) -> None:
        """Find it; nothing is sent yet.

        Args:
            env: The caller's, with NOTIFY_SOCKET if there is a manager.
        """
        self._address = env.get("NOTIFY_SOCKET", "")
        self._watchdog_s = _find_watchdog(env)
        self._send, self._messages = trio.open_memory_channel[str](float("inf"))
        self._has_begun = False  # to be ready
        self._status = ""

    async def run(self, jobs: Mapping[str, Job], changes: Changes) -> None:
        """Tell how the jobs are, until cancelled.

        Args:
            jobs: Those that there are, by name; whoever is to be started is asked to by now.
            changes: Theirs.
        """
        if not self._address:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver)
            if self._watchdog_s:
                nursery.start_soon(self._show_life, self._watchdog_s / 2)
            while True:
                news = changes.news
                self._look(jobs)
                await trio.sleep(_STATUS_PAUSE_S if self._has_begun else _STARTING_PAUSE_S)
                await news.wait()

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Tell that the file is read again, and after the block that what it says is followed."""
        has_begun = self._has_begun
        if has_begun:
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            self._tell(f"RELOADING=1\nMONOTONIC_USEC={now}")
        try:
            yield
        finally:
            if has_begun:
                self._tell("READY=1")

    def stop(self, reason: str, jobs: Mapping[str, Job]) -> None:
        """Tell that the supervisor ends, and nothing more."""
        self._look(jobs)
        self._tell(f"STOPPING=1\nSTATUS=stopping: {reason}")
        self._send.close()

    def _look(self, jobs: Mapping[str, Job]) -> None:
        """Tell what is new about the jobs."""
        status = _render_status(jobs)
        if status != self._status:
            self._status = status
            self._tell(f"STATUS={status}")
        if not self._has_begun and all(map(_is_started, jobs.values())):
            self._has_begun = True
            self._tell("READY=1")

    def _tell(self, message: str) -> None:
        with suppress(trio.ClosedResourceError):
            self._send.send_nowait(message)

    async def _deliver(self) -> None:
        """Send each message, until cancelled."""
        address = self._address
        if address.startswith("@"):  # the abstract namespace: unix(7)
            address = "\0" + address[1:]
        is_told = False
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            async for message in self._messages:
                try:
                    await manager.sendto(message.encode(), address)
                except OSError as error:
                    if not is_told:
                        reason = f"cannot notify {self._address}{render_reason(error.errno or 0)}"
                        log.warning("service_manager.unreachable", reason=reason)
                        is_told = True

    async def _show_life(self, interval: float) -> None:
        while True:
            self._tell("WATCHDOG=1")
            await trio.sleep(interval)


def _find_watchdog(env: Mapping[str, str]) -> float:
    """Return the seconds without a word after which the manager takes the supervisor for dead."""
    if env.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    number = env.get("WATCHDOG_USEC", "")
    return int(number) / 1e6 if number.isascii() and number.isdecimal() else 0.0


def _is_started(job: Job) -> bool:
    """Tell whether it is known what became of the first run of a job, or there is none for now."""
    return job.life.state not in _NOT_STARTED or job.life.attempt > 1


def _render_status(jobs: Mapping[str, Job]) -> str:
    """Return how many jobs there are of each state, as in "3 RUNNING, 1 FATAL"."""
    counts = Counter(job.life.state for job in jobs.values())
    return ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])
