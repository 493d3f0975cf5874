"""The sinks that are open: each target once, however many jobs write to it.

A sink is open while a run writes to it, and until all that is on its way is written.
"""

from collections.abc import Iterable

import trio

from .config import JobConfig, SinkConfig
from .journal_entries import JournalEntries
from .line_formats import make_format
from .lines import Format, Source
from .outage import Outage
from .outlets import Outlet
from .sink_console import FINAL, INHERITED, Console
from .sink_file import LogFile, Rotation
from .sink_health import SinkHealth
from .sink_journald import Journal
from .sinks import Sink
from .traffic import Traffic

_ENTRY = b"\nMESSAGE="  # in each once, as a line has no newline inside


class SinkTable:
    """All sinks of a supervisor.

    Attributes:
        traffic: What they share.
        journald_outage: Of journald, whoever writes to it.
    """

    def __init__(
        self, *, stdout: int, console_format: str, supervisor: str, journald_socket: str
    ) -> None:
        """Make a table without open sinks.

        Args:
            stdout: The descriptor of the console.
            console_format: What lines look like there, see `line_formats`.
            supervisor: Its name.
            journald_socket: A path.
        """
        self.traffic = Traffic()
        self.journald_outage = Outage("journald", path=journald_socket)
        self._console_format = console_format
        self._supervisor = supervisor
        self._journald_socket = journald_socket
        self._console = Sink("console", Console(stdout), self.traffic, final=FINAL)
        self._sinks: dict[str, Sink] = {self._console.name: self._console}
        self._files: dict[str, LogFile] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the sinks, until cancelled."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._keep, self._console)
            self._console.users += 1  # for good
            task_status.started()

    def expect(self, jobs: Iterable[JobConfig]) -> None:
        """Share the memory among the sinks of these jobs."""
        sinks = (sink for job in jobs for sinks in job.channels.values() for sink in sinks)
        self.traffic.sinks = len({_name(sink) for sink in sinks})

    def open_outlets(self, job: JobConfig, source: Source) -> list[Outlet]:
        """Return the ways from one channel of a run to its sinks; each is to be closed."""
        drops = job.on_full == "drop"
        return [
            Outlet(
                self._open(config), self._choose_format(config, source), job=job.name, drops=drops
            )
            for config in job.channels[source.channel]
        ]

    def reopen(self) -> int:
        """Have all that is open opened anew, and return how many log files that are."""
        for sink in self._sinks.values():
            sink.reopen()
        return len(self._sinks.keys() - {"console", "journald"})

    async def drain(self, patience: float) -> None:
        """Write what is on its way; tell what is lost because it takes more seconds."""
        async with trio.open_nursery() as nursery:
            for sink in self._sinks.values():
                nursery.start_soon(sink.drain, patience)

    def _open(self, config: SinkConfig) -> Sink:
        name = _name(config)
        sink = self._sinks.get(name)
        if sink is None:
            sink = self._sinks[name] = self._make_sink(name, config)
            if self._nursery is None:
                raise AssertionError("the table does not run")
            self._nursery.start_soon(self._keep, sink)
        if name in self._files:
            # As the file says by now: two jobs that name it have the same there, so whatever else
            # it was opened with is that of a run which is about to end.
            self._files[name].rotate_as(_choose_rotation(config))
        sink.users += 1
        return sink

    def _make_sink(self, name: str, config: SinkConfig) -> Sink:
        if config.kind == "journald":
            sink = Sink(name, Journal(self._journald_socket), self.traffic, entry=_ENTRY)
            sink.health = SinkHealth(name, self.journald_outage)
            return sink
        if config.path in INHERITED:
            sink = Sink(name, Console(INHERITED[config.path]), self.traffic, final=FINAL)
            # For good, as the console: what becomes of it is told once, what it loses at the end.
            sink.users += 1
            return sink
        file = self._files[name] = LogFile(config.path, _choose_rotation(config))
        return Sink(name, file, self.traffic, find_trouble=lambda: file.trouble)

    def _choose_format(self, config: SinkConfig, source: Source) -> Format:
        match config.kind:
            case "journald":
                return JournalEntries(self._supervisor, source).render
            case "file":
                return make_format(config.format, source)
            case _:
                return make_format(self._console_format, source)

    async def _keep(self, sink: Sink) -> None:
        """Write to a sink for as long as it has users, and until everything is written."""
        await sink.run()
        del self._sinks[sink.name]
        self._files.pop(sink.name, None)


def _name(config: SinkConfig) -> str:
    return config.path or config.kind


def _choose_rotation(config: SinkConfig) -> Rotation:
    return Rotation(config.max_size or None, config.backups, compress=config.compress)
