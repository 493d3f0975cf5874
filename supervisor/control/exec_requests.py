"""What is asked on the socket for what is executed in jobs, see `exec_server`.

Without anything of the server for HTTP, which need not be loaded for this.
"""

import json
import os
from collections.abc import Mapping

import attrs

from ..installed_version import VERSION
from .problems import RequestError

_MOST_CELLS = 2**16 - 1  # in a row or a column, ioctl_tty(2)
_KEYS = {"job", "argv", "env", "user", "workdir", "terminal"}


@attrs.frozen(kw_only=True)
class ExecRequest:
    """What is to be executed.

    Attributes:
        job: The name of the job.
        argv: The program and its arguments.
        env: Variables on top of the job's.
        user: Of the container; None for the job's.
        workdir: None for the job's.
        terminal: Whether it gets a terminal of the container's.
    """

    job: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    user: str | None
    workdir: str | None
    terminal: bool


def parse_attach(message: bytes) -> str | None:
    """Return at the terminal of which job somebody wants to be; None if they want something else.

    Raises:
        RequestError: It cannot be meant.
    """
    match _parse_object(message):
        case {"attach": str(name), **others} if not others:
            return name
        case _:
            return None


def parse_request(message: bytes) -> ExecRequest:
    """Return what a message asks for.

    Raises:
        RequestError: It cannot be meant.
    """
    values = _parse_object(message)
    unknown = sorted(values.keys() - _KEYS)
    if unknown:
        raise _refuse(f"unknown key {unknown[0]!r}")
    job, argv, env = values.get("job"), values.get("argv"), values.get("env", {})
    if not isinstance(job, str):
        raise _refuse("'job' is no name")
    if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
        raise _refuse("'argv' is no list of words")
    if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
        raise _refuse("'env' is no object of texts")
    user, workdir = _take_text(values, "user"), _take_text(values, "workdir")
    for text in (job, *argv, *env, *env.values(), user or "", workdir or ""):
        _check_text(text)
    terminal = values.get("terminal", False)
    if not isinstance(terminal, bool):
        raise _refuse("'terminal' is no true or false")
    return ExecRequest(
        job=job,
        argv=tuple(argv),
        env=env,
        user=user,
        workdir=workdir,
        terminal=terminal,
    )


def _check_text(text: str) -> None:
    """Refuse what no process can be told."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise _refuse("a text has half of a surrogate pair") from None


def parse_signal(message: bytes) -> int:
    """Return the number of the signal that a later message asks for.

    Raises:
        RequestError: It cannot be meant.
    """
    number = _parse_object(message).get("signal")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number <= 64:
        raise _refuse("'signal' is no number of a signal")
    return number


def parse_size(message: bytes) -> tuple[int, int]:
    """Return the rows and columns of a window that a later message tells.

    Raises:
        RequestError: They cannot be meant.
    """
    match _parse_object(message).get("size"):
        case [int(rows), int(columns)] if 0 < rows <= _MOST_CELLS and 0 < columns <= _MOST_CELLS:
            return rows, columns
        case _:
            raise _refuse("'size' is no number of rows and one of columns")


def render_message(values: Mapping[str, object]) -> bytes:
    """Return a message; texts that are no UTF-8 stay the bytes they were."""
    try:
        return json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair, which somebody has asked for
        return json.dumps(values).encode()


def render_start(pid: int) -> bytes:
    """Return the message that it has begun, and of which version the supervisor is.

    Args:
        pid: Of the process; 0 if it has ended already.
    """
    return render_message({"started": pid, "version": VERSION})


def render_problem(error: RequestError, exit_code: int) -> bytes:
    """Return the message that nothing was, or is, executed, and the exit status for that.

    It has the version too: who asks for what only another one knows is refused.
    """
    return render_message({**error.render(), "exit_code": exit_code, "version": VERSION})


def _parse_object(message: bytes) -> Mapping[str, object]:
    try:
        values = json.loads(message.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise _refuse(f"the message is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise _refuse("the message is no JSON object")
    return values


def _take_text(values: Mapping[str, object], key: str) -> str | None:
    value = values.get(key)
    if value is not None and not isinstance(value, str):
        raise _refuse(f"{key!r} is no text")
    return value


def _refuse(text: str) -> RequestError:
    return RequestError("bad-request", 400, text)
