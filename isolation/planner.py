"""The process that a fork server is asked by: it decides what is to be done, and has it cloned.

Requests are served one at a time and in order; none waits for a command to be executed. What looks
at the host may take its time, such as a file server that does not answer: then the program opens
another planner, see `forkserver`.
"""

import _socket as socket
import marshal
import os
import time

from .busybox import find_busybox
from .cloner import Cloner
from .errors import ForkServerError, IsolationError, SetupError
from .launch import Launch, check_handed_on, launch
from .plan import Plan, make_plan
from .syscalls import set_process_name
from .transport import parse_spec, receive_message, send_message, split_spec
from .user_mapping import plan_user_mapping

_KEPT_S = 1.0  # how long the host is believed to be as it was
_MOST_KEPT = 100  # kinds of containers
_TITLE = "mocker-fork"


def run_planner(requests: socket.socket, cloner: Cloner) -> None:
    """Answer requests until the program closes its end; does not return."""
    try:
        set_process_name(_TITLE)
        plans = _Plans()
        while True:
            text, fds = receive_message(requests)
            _answer(requests, cloner, plans, text, fds)
    except EOFError:
        os._exit(0)
    finally:
        os._exit(1)


class _Plans:
    """Plans that were made, kept for other commands in the same kind of container.

    What makes a plan costs is not its time but the memory that it writes to: each container is a
    fork of the server, and keeps what the server has written to since as its own.
    """

    __slots__ = ("_looked_at", "_plans", "_sources")

    def __init__(self) -> None:
        self._plans: dict[bytes, Plan] = {}
        self._sources: tuple[object, ...] = ()
        self._looked_at = -_KEPT_S

    def make(self, spec: bytes) -> Plan:
        """Return the plan for a spec; raises as `make_plan`."""
        self._look_again()
        kind, *_ = command = split_spec(spec)
        plan = self._plans.get(kind)
        if plan is not None:
            return plan.with_command(*command[1:])
        plan = make_plan(parse_spec(spec))
        # Nothing else of what a plan depends on is the host's, or could have changed here.
        if not plan.sources and plan.spec.network != "host" and plan.spec.isolate:
            if len(self._plans) == _MOST_KEPT:
                self._plans.clear()
            self._plans[kind] = plan
        return plan

    def _look_again(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < _KEPT_S:
            return
        self._looked_at = now
        try:
            sources: tuple[object, ...] = (plan_user_mapping(), find_busybox())
        except SetupError:
            sources = ()  # then each plan says so itself
        if sources != self._sources or not sources:
            self._plans.clear()
        self._sources = sources


def _answer(
    requests: socket.socket, cloner: Cloner, plans: _Plans, spec: bytes, fds: list[int]
) -> None:
    try:
        launched = _launch(cloner, plans.make(spec), spec, fds)
    except ForkServerError:
        os._exit(1)  # without the cloner nothing can be done
    except SetupError as error:
        fields = (error.step, error.errno, error.path, error.hint)
        send_message(requests, marshal.dumps(fields))
    except (IsolationError, OSError) as error:
        send_message(requests, marshal.dumps((f"use the spec: {error}",)))
    else:
        held = [launched.pidfd, launched.control.fileno(), launched.report]
        send_message(requests, marshal.dumps((launched.pid, launched.helper, launched.notes)), held)
        launched.close()
    finally:
        for fd in fds:
            os.close(fd)


def _launch(cloner: Cloner, plan: Plan, spec: bytes, fds: list[int]) -> Launch:
    count = 3 if plan.spec.ready_fd is None else 4
    # Some are missing where there was no room for them.
    check_handed_on(plan.spec, fds[:count], fds[count:])
    if plan.spec.network == "shared":
        # Who has joined another container's namespaces has to clone by itself.
        return launch(plan, fds[:count], sibling=True, join=fds[count:])
    return cloner.launch(plan, spec, fds[:count])
