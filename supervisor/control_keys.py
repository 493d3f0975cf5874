"""The table `[control]` of a file: who else may ask a running supervisor, and where."""

import grp
import os
import pwd
import re
import socket
import stat
from typing import Any

from .config import ControlConfig
from .interpolation import Expanded
from .mistakes import MistakeError, Place, ToldError, render_value, suggest
from .text_file import read_text_file
from .values import Parse, one_or_each_of, parse_path, parse_text, table_of

_ADDRESS = re.compile(r"(?:\[(?P<six>[^]]+)\]|(?P<four>[^][:]+)):(?P<port>[0-9]{1,5})")
_MAX_PORT = 65535
_MAX_ID = 2**32 - 2  # 2**32 - 1 means "no ID" to the kernel
_TOKEN = re.compile(r"[!-~]{1,1024}")  # what the head of a request can carry
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_KINDS = ("user", "group")


def parse_control(value: object, place: Place) -> ControlConfig:
    """Return what the table says.

    Raises:
        ToldError: It has mistakes, which were noted.
    """
    values = _TABLE(value, place)
    token = values.get("token", values.get("token_file", ""))
    if "token" in values and "token_file" in values:
        _refuse(place.at("token"), "is there twice; have either it or token_file")
    if token and "listen" not in values:
        key = "token" if "token" in values else "token_file"
        _refuse(place.at(key), "is for listen, which is missing")
    if not token and "listen" in values:
        if not place.mistakes.may_have("token"):
            place.at("listen").refuse("needs token_file, or token = '${VARIABLE}'")
        raise ToldError
    readers = values.get("read", ())
    return ControlConfig(
        uids=frozenset(number for kind, number in readers if kind == "user"),
        gids=frozenset(number for kind, number in readers if kind == "group"),
        listen=values.get("listen"),
        token=token,
    )


def _refuse(place: Place, text: str) -> None:
    place.refuse(text)
    raise ToldError


def _parse_reader(value: object, place: Place) -> tuple[str, int]:
    """Return "user" or "group", and its number."""
    text = parse_text(value, place)
    kind, colon, name = text.partition(":")
    if kind not in _KINDS or not colon or not name:
        near = suggest(kind, _KINDS) if kind not in _KINDS else ""
        raise MistakeError(f"must be 'user:NAME' or 'group:NAME', not {render_value(text)}{near}")
    if name.isascii() and name.isdecimal():
        number = int(name[:20])
        if number > _MAX_ID:
            raise MistakeError(f"must have a number from 0 to {_MAX_ID}, not {render_value(name)}")
        return kind, number
    try:
        number = pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except (KeyError, UnicodeError):
        raise MistakeError(f"must be a {kind} of this host, not {render_value(name)}") from None
    return kind, number


def _parse_listen(value: object, place: Place) -> tuple[str, int]:
    """Return an address, as the kernel writes it, and a port."""
    text = parse_text(value, place)
    match = _ADDRESS.fullmatch(text)
    if match is not None and 0 < int(match["port"]) <= _MAX_PORT:
        family = socket.AF_INET6 if match["six"] else socket.AF_INET
        try:
            packed = socket.inet_pton(family, match["six"] or match["four"])
            return socket.inet_ntop(family, packed), int(match["port"])
        except (OSError, UnicodeError):
            pass
    raise MistakeError(
        "must be an address and a port, such as '127.0.0.1:9000' or '[::1]:9000', "
        f"not {render_value(text)}"
    )


def _parse_token(value: object, place: Place) -> str:
    """Return the token that a variable stands for, or the file itself, if nobody else reads it."""
    token = _check_token(parse_text(value, place))
    if not isinstance(value, Expanded):
        _check_private(place.mistakes.path, "is in a file that must be")
    return token


def _parse_token_file(value: object, place: Place) -> str:
    """Return the token that a file holds."""
    path = parse_path(value, place)
    text = read_text_file(path)
    _check_private(path, "must be")
    return _check_token(text.strip())


def _check_token(token: str) -> str:
    # Without the value, which is nobody else's business.
    if not _TOKEN.fullmatch(token):
        raise MistakeError("must hold 1 to 1024 visible ASCII characters, without spaces")
    return token


def _check_private(path: str, what: str) -> None:
    """Raise MistakeError unless nobody but its owner, the caller or root, can read a file."""
    try:
        status = os.stat(path)
    except OSError:
        return  # it was read before, and is gone by now
    if status.st_uid not in {0, os.geteuid()}:
        raise MistakeError(f"{what} this user's or root's, not user {status.st_uid}'s")
    if status.st_mode & _OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise MistakeError(f"{what} its owner's alone, not of mode {mode:04o}; chmod 600 it")


CONTROL_KEYS: dict[str, Parse] = {
    "read": one_or_each_of(_parse_reader),
    "listen": _parse_listen,
    "token": _parse_token,
    "token_file": _parse_token_file,
}
_TABLE: Any = table_of(CONTROL_KEYS)
