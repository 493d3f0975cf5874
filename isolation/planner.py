"""The process that a fork server is asked by: it decides what is to be done, and has it cloned.

Requests are served one at a time and in order; none waits for a command to be executed. What looks
at the host may take its time, such as a file server that does not answer: then the program opens
another planner, see `forkserver`.
"""

import _socket as socket
import marshal
import os

from .applets import AppletTrees
from .cloner import Cloner
from .errors import ForkServerError, IsolationError, SetupError
from .launch import Launch, check_handed_on, launch
from .plan import make_plan
from .syscalls import set_process_name
from .transport import parse_spec, receive_message, send_message

_TITLE = "mocker-fork"


def run_planner(requests: socket.socket, cloner: Cloner, applet_trees: AppletTrees) -> None:
    """Answer requests until the program closes its end; does not return."""
    try:
        set_process_name(_TITLE)
        while True:
            text, fds = receive_message(requests)
            _answer(requests, cloner, applet_trees, text, fds)
    except EOFError:
        os._exit(0)
    finally:
        os._exit(1)


def _answer(
    requests: socket.socket, cloner: Cloner, applet_trees: AppletTrees, text: bytes, fds: list[int]
) -> None:
    try:
        launched = _launch(cloner, applet_trees, text, fds)
    except ForkServerError:
        os._exit(1)  # without the cloner nothing can be done
    except SetupError as error:
        fields = (error.step, error.errno, error.path, error.hint)
        send_message(requests, marshal.dumps(fields))
    except (IsolationError, OSError) as error:
        send_message(requests, marshal.dumps((f"use the spec: {error}",)))
    except Exception as error:  # noqa: BLE001 - one start fails, and others go on
        send_message(requests, marshal.dumps((f"go on after {error!r}",)))
    else:
        held = [launched.pidfd, launched.control.fileno(), launched.report]
        send_message(requests, marshal.dumps((launched.pid, launched.helper, launched.notes)), held)
        launched.close()
    finally:
        for fd in fds:
            os.close(fd)


def _launch(cloner: Cloner, applet_trees: AppletTrees, text: bytes, fds: list[int]) -> Launch:
    spec = parse_spec(text)
    count = 3 if spec.ready_fd is None else 4
    stdio, rest = fds[:count], fds[count:]
    cgroup = -1
    if spec.limits is not None and rest:
        *rest, cgroup = rest
    # Some are missing where there was no room for them.
    check_handed_on(spec, stdio, rest, cgroup)
    if spec.network == "shared":
        # Who has joined another container's namespaces has to clone by itself.
        return launch(make_plan(spec), stdio, sibling=True, join=rest, cgroup=cgroup)
    plan = make_plan(spec, applet_trees)
    tree = applet_trees.take() if plan.shares_applets else -1
    try:
        return cloner.launch(plan, text, stdio, cgroup, tree)
    finally:
        if tree >= 0:
            os.close(tree)
