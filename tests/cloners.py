"""A cloner of one's own, and containers that it makes."""

import _socket
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mocker.isolation import ContainerSpec
from mocker.isolation.applets import AppletTrees
from mocker.isolation.cloner import Cloner
from mocker.isolation.cloning import run_cloner
from mocker.isolation.container import Container
from mocker.isolation.launch import Launch
from mocker.isolation.plan import make_plan
from mocker.isolation.transport import render_spec

NOTHING = os.open(os.devnull, os.O_RDWR)  # for all of the tests


def be_planner(peer: _socket.socket, cloner: Cloner, trees: AppletTrees) -> None:
    """Answer each message, and say that a clone does."""
    while message := peer.recv(100):
        peer.send(message + b" from a clone")
    os._exit(0)


@contextmanager
def open_cloner(
    run_planner: Callable[[_socket.socket, Cloner, AppletTrees], None],
) -> Iterator[tuple[Cloner, int]]:
    """Fork a cloner; yield it and its pid."""
    requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = os.fork()
    if pid == 0:
        run_cloner(theirs.fileno(), run_planner)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    theirs.close()
    cloner = Cloner(requests, os.pidfd_open(pid))
    try:
        yield cloner, pid
    finally:
        cloner.close()
        os.waitpid(pid, 0)


def launch(cloner: Cloner, argv: list[str], **fields: object) -> Launch:
    spec = ContainerSpec(argv, **fields)  # type: ignore[arg-type]
    return cloner.launch(make_plan(spec), render_spec(spec), [NOTHING] * 3)


def run(cloner: Cloner, argv: list[str], **fields: object) -> int | None:
    """Return the exit code of a container that the cloner makes."""
    launched = launch(cloner, argv, **fields)
    spec = ContainerSpec(argv, **fields)  # type: ignore[arg-type]
    with Container(spec, launched) as container:
        container.wait_started()
        return container.wait().code
