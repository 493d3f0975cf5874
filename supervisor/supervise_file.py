"""A file's jobs in an event loop: what surrounds them, and how it all ends."""

import fcntl
import gc
import os
import resource
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import structlog
import trio

from mocker.isolation import ForkServer
from mocker.isolation.library import use_one_arena

from .config import SupervisorConfig
from .config_file import load_config
from .control.exec_server import ExecServer
from .control.guard import Guard
from .control.server import ControlServer
from .errors import ConfigError
from .event_journal import EventJournal
from .inherited_sockets import InheritedSocketError, take_sockets
from .log import choose_line_format, configure_logging
from .name_lock import NameNotHeldError, find_runtime_directory, hold_name
from .output import Output
from .reaper import Reaper, become_subreaper
from .runs import Means
from .service_manager import ServiceManager
from .signals import open_signals
from .sink_journald import Journal
from .sink_table import SinkTable
from .starter import Starter
from .supervise import Supervisor

log = structlog.get_logger("mocker.supervisor")

# For the last lines of jobs, and for the supervisor's own, if nobody takes them. With what those
# that are still in the pipes of runs are given before, it is less than two seconds.
_DRAIN_S = 0.8
_LAST_WORD_S = 0.2
_SERVER_GONE = 1
# What a job has open at most, and what the supervisor itself has.
_JOB_DESCRIPTORS, _OTHER_DESCRIPTORS = 5, 64
# Objects that are made before the next look for garbage among them. Most of what a job makes as it
# starts is to stay: with the 700 of Python 3.11, a tenth of that time is spent looking.
_GARBAGE = 10_000


def supervise_file(path: str, server: ForkServer, tell: Callable[[str], None]) -> int:
    """Keep the jobs of a file, and return the exit status.

    Args:
        path: Of the file.
        server: Makes the containers.
        tell: Says why nothing was started.
    """
    env = dict(os.environ)
    _allow_many_descriptors()
    use_one_arena()  # before the first thread
    try:
        sockets = take_sockets(env)
        config = load_config(path, env)
        gc.freeze()  # what is there by now stays, and need not be looked at ever again
        gc.set_threshold(_GARBAGE)
        gc.enable()
        directory = find_runtime_directory(env, os.geteuid())
        with hold_name(config.name, directory):
            # By its absolute path, so that it is found again.
            load = partial(load_config, config.path, env)
            _make_room_for_descriptors(len(config.jobs))
            return trio.run(_supervise, config, server, load, directory, sockets)
    except ConfigError as error:
        for mistake in error.mistakes:
            tell(mistake)
        return error.exit_code
    except (InheritedSocketError, NameNotHeldError) as error:
        tell(str(error))
        return error.exit_code


async def _supervise(
    config: SupervisorConfig,
    server: ForkServer,
    load: Callable[[], SupervisorConfig],
    directory: str,
    sockets: Mapping[int, socket.socket],
) -> int:
    become_subreaper()
    reaper = Reaper()
    for pid in filter(None, (*server.pids, server.applets_pid)):
        reaper.watch(pid)
    stderr = Output(2)
    sinks = SinkTable(
        stdout=1,
        console_format=choose_line_format(config.log_format, 1),
        supervisor=config.name,
        journald_socket=config.journald_socket,
    )
    entries = Journal(config.journald_socket)
    journal = EventJournal(config.name, entries, stderr, sinks.journald_outage)
    configure_logging(config.log_format, config.log_level, stderr, journal)
    async with open_signals() as signals, trio.open_nursery() as nursery:
        nursery.start_soon(stderr.run)
        nursery.start_soon(journal.run)
        await nursery.start(reaper.run)
        await nursery.start(sinks.run)
        log.info("config.loaded", path=config.path, jobs=len(config.jobs))

        def watch(pid: int) -> None:
            reaper.watch(pid)
            nursery.start_soon(_watch_server, pid, means, supervisor)

        means = Means(Starter(server, watch), reaper, sinks)
        await nursery.start(means.outputs.run)
        abandon = partial(_abandon, sinks, stderr, journal)
        manager = ServiceManager(os.environ)
        supervisor = Supervisor(config, means, load, abandon, manager)
        for pid in server.pids:
            nursery.start_soon(_watch_server, pid, means, supervisor)
        nursery.start_soon(_watch_applets, server.applets_pid, reaper)
        guard = Guard(config.control)
        stream, packets = sockets.get(socket.SOCK_STREAM), sockets.get(socket.SOCK_SEQPACKET)
        control = ControlServer(directory, config.name, supervisor, guard, stream)
        nursery.start_soon(control.run)
        nursery.start_soon(ExecServer(directory, config.name, supervisor, guard, packets).run)
        status = await supervisor.run(signals)
        with trio.move_on_after(_LAST_WORD_S):
            await supervisor.wait_unfollowed()
        await _say_last(status, sinks, stderr, journal)
        nursery.cancel_scope.cancel()
    return status


async def _say_last(status: int, sinks: SinkTable, stderr: Output, journal: EventJournal) -> None:
    await sinks.drain(_DRAIN_S)
    log.info("supervisor.stopped", exit_code=status)
    await journal.drain(_LAST_WORD_S)  # what it does not take goes to stderr
    await stderr.drain(_LAST_WORD_S)


async def _abandon(sinks: SinkTable, stderr: Output, journal: EventJournal, status: int) -> None:
    """End the process at once; what is left of its containers the kernel kills, if it can."""
    await _say_last(status, sinks, stderr, journal)
    os._exit(status)


async def _watch_server(pid: int, means: Means, supervisor: Supervisor) -> None:
    """End everything if a part of the fork server dies: what it was making, nobody would hold."""
    await means.reaper.wait(pid)
    if pid in means.starter.given_up:
        means.starter.given_up.remove(pid)  # the next one with this number is another one
    else:
        log.error("fork_server.exited", pid=pid)
        supervisor.end("the fork server is gone", _SERVER_GONE)


async def _watch_applets(pid: int, reaper: Reaper) -> None:
    """Say how the server of applets has ended, without which containers take longer."""
    status = await reaper.wait(pid)
    if status is None:
        return
    if status.signal is not None:
        log.warning("applet_server.exited", pid=pid, signal=str(status))
    else:  # it could not do here what it is for
        log.debug("applet_server.exited", pid=pid, exit_code=status.code)


def _allow_many_descriptors() -> None:
    """Raise the soft limit, as each job takes a handful; what the jobs inherit stays as it was."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _make_room_for_descriptors(jobs: int) -> None:
    """Have the kernel make its table of them long enough for so many jobs.

    Once there are threads, it waits at each doubling until no processor looks at the old one: some
    ten milliseconds, in which nothing else is done.
    """
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = min(jobs * _JOB_DESCRIPTORS + _OTHER_DESCRIPTORS, most - 1)
    with suppress(OSError):  # of no use then, but it goes without
        os.close(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, last))
