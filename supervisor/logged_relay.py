"""What carries the output of a `mocker run` to its sinks, in an event loop.

Apart because it imports what a container is started without.
"""

from collections.abc import Iterable, Mapping, Sequence

import trio

from mocker.isolation import Container

from .config import ContainerConfig, JobConfig, SinkConfig
from .line_ring import RingSpace
from .lines import Source
from .log import choose_line_format
from .output import Output
from .relay import Relay, Ways
from .run_options import RunRequest
from .sink_sentences import tell_in_sentences
from .sink_table import SinkTable
from .sink_words import JOURNALD_SOCKET, SinkWord
from .sinks import Sink

_SUPERVISOR = "mocker-run"  # as entries of the journal have it
_STDOUT, _STDERR = 1, 2
_PATIENCE_S = 5.0  # with a sink that takes nothing, once nobody is left who could print
_LAST_TRY_S = 0.2
_LAST_WORD_S = 0.2


def relay_to_sinks(
    request: RunRequest, container: Container, read_ends: Mapping[str, int], give_up_fd: int
) -> None:
    """Carry lines until the container is gone and all of them are written.

    A sink that takes nothing for a while then is given up, and what is lost is told.

    Args:
        request: What was asked for.
        container: Is only looked at.
        read_ends: Of the pipes, by channel; closed here.
        give_up_fd: Becomes readable when nobody wants to wait for slow sinks any more.
    """
    trio.run(_relay, request, container, read_ends, give_up_fd)


async def _relay(
    request: RunRequest, container: Container, read_ends: Mapping[str, int], give_up_fd: int
) -> None:
    job = _make_job(request, tuple(read_ends))
    stderr = Output(_STDERR)
    tell_in_sentences("mocker run", stderr)
    table = SinkTable(
        stdout=_STDOUT,
        console_format=choose_line_format("auto", _STDOUT),
        supervisor=_SUPERVISOR,
        journald_socket=_find_socket(request.sinks),
    )
    table.expect([job])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stderr.run)
        await nursery.start(table.run)
        relays, sinks = list[Relay](), list[Sink]()
        ring = RingSpace().make_ring()
        for channel, fd in read_ends.items():
            source = Source(job.name, channel, container.pid, 1)
            outlets = table.open_outlets(job, source)
            sinks += [outlet.sink for outlet in outlets]
            relays.append(Relay(fd, source, Ways(outlets, ring, table.traffic), job.max_line))
        async with trio.open_nursery() as waiting:
            waiting.start_soon(_give_up_when_stuck, container, relays, sinks, waiting.cancel_scope)
            waiting.start_soon(_give_up_when_over, sinks, waiting.cancel_scope)
            waiting.start_soon(_give_up_when_asked, give_up_fd, waiting.cancel_scope)
            await _write_all(relays, sinks)
            waiting.cancel_scope.cancel()
        await table.drain(_LAST_TRY_S)
        await stderr.drain(_LAST_WORD_S)
        nursery.cancel_scope.cancel()


async def _write_all(relays: Iterable[Relay], sinks: Iterable[Sink]) -> None:
    async with trio.open_nursery() as nursery:
        for relay in relays:
            nursery.start_soon(relay.run)
    for sink in sinks:
        await sink.wait_written()


async def _give_up_when_stuck(
    container: Container, relays: Iterable[Relay], sinks: Iterable[Sink], scope: trio.CancelScope
) -> None:
    """Give up once the container is gone and one of the sinks takes nothing for a while."""
    await trio.lowlevel.wait_readable(container.fileno())
    for relay in relays:
        relay.end_when_silent()  # what the command handed out to others may be open for ever
    left = _PATIENCE_S
    while left > 0:
        await trio.sleep(left)
        left = _PATIENCE_S - max(sink.standstill_s for sink in sinks)
    scope.cancel()


async def _give_up_when_over(sinks: Iterable[Sink], scope: trio.CancelScope) -> None:
    """Give up once no sink will ever take anything; the command finds its output closed then."""
    for sink in sinks:
        await sink.over.wait()
    scope.cancel()


async def _give_up_when_asked(fd: int, scope: trio.CancelScope) -> None:
    await trio.lowlevel.wait_readable(fd)
    scope.cancel()


def _make_job(request: RunRequest, channels: Iterable[str]) -> JobConfig:
    """Return the job that it would be in a file."""
    spec = request.spec
    container = ContainerConfig(argv=spec.argv, rootfs=spec.rootfs, hostname=spec.hostname)
    sinks = tuple(map(_make_config, request.sinks))
    return JobConfig(
        name=request.name,
        group=request.name,
        container=container,
        channels=dict.fromkeys(channels, sinks),
    )


def _make_config(word: SinkWord) -> SinkConfig:
    if word.kind != "file":
        return SinkConfig(kind=word.kind)
    return SinkConfig(
        kind="file",
        path=word.path,
        format=word.format,
        max_size=word.max_size,
        backups=word.backups,
        compress=word.compress,
    )


def _find_socket(sinks: Sequence[SinkWord]) -> str:
    return next((sink.path for sink in sinks if sink.kind == "journald"), JOURNALD_SOCKET)
