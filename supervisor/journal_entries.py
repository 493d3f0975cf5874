"""Entries of the journal, as the datagrams that journald takes: each line of a job's is one.

An entry is lines of NAME=value. A value may hold any byte but a newline; one that has newlines
comes with its length. What journald does not like it drops in silence: fields whose names are over
64 characters long, have other characters than A-Z, 0-9 and "_" or begin with one that is no letter;
entries of more than 1,024 fields; and one that does not end in a newline.

Several entries in one datagram, with an empty line between them, would cost journald half as much.
But the protocol does not know them, and journald from systemd 253 on keeps the first and drops the
others (tried with 257).

Source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
"""

import os
import re
import struct
from collections.abc import Mapping
from hashlib import sha256

from .lines import Lines, Source
from .priorities import Piece, Priorities, may_say

_LONGEST_NAME = 64
_IDENTIFIER = "mocker-supervise"
_PARTIAL = b"CONTAINER_PARTIAL_MESSAGE=true\n"
_NO_NAME = re.compile(r"[^A-Z0-9_]")

# In the ID of each container, so that no other life of a supervisor has the same.
_OWN = os.urandom(16)

Fact = str | bytes | int | float


class JournalEntries:
    """Makes entries of what comes by one channel of a run."""

    def __init__(self, supervisor: str, source: Source) -> None:
        """Make none yet.

        Args:
            supervisor: Its name.
            source: Which channel.
        """
        fields: dict[str, Fact] = {
            "SYSLOG_IDENTIFIER": source.job,
            "SYSLOG_PID": source.pid,
            "CONTAINER_NAME": source.job,
            "CONTAINER_ID": _make_container_id(source),
            "MOCKER_JOB": source.job,
            "MOCKER_SUPERVISOR": supervisor,
            "MOCKER_ATTEMPT": source.attempt,
            "MOCKER_CHANNEL": source.channel,
        }
        self._heads = [f"PRIORITY={priority}\nMESSAGE=".encode() for priority in range(8)]
        self._tail = b"\n" + _render_fields(fields)
        self._priorities = Priorities(source)

    def render(self, lines: Lines) -> list[bytes]:
        """Return a datagram for each piece of a line."""
        if may_say(lines) or lines.partial or lines.continues:
            return [self._render_piece(piece) for piece in self._priorities.tell_apart(lines)]
        head, tail = self._heads[self._priorities.usual], self._tail
        return [head + line + tail for line in lines.split()]

    def _render_piece(self, piece: Piece) -> bytes:
        mark = _PARTIAL if piece.goes_on else b""
        return b"".join([self._heads[piece.priority], piece.text, self._tail, mark])


def render_event(message: str, priority: int, facts: Mapping[str, Fact]) -> bytes:
    """Return the entry of something that the supervisor itself has to say.

    Args:
        message: What people read.
        priority: As in syslog(3).
        facts: Become fields; "exit_code" is MOCKER_EXIT_CODE.
    """
    fields: dict[str, Fact] = {
        "MESSAGE": message,
        "PRIORITY": priority,
        "SYSLOG_IDENTIFIER": _IDENTIFIER,
        "SYSLOG_PID": os.getpid(),
        **{_make_name(key): fact for key, fact in facts.items()},
    }
    return _render_fields(fields)


def _render_fields(fields: Mapping[str, Fact]) -> bytes:
    return b"".join(_render_field(name.encode(), fact) for name, fact in fields.items())


def _render_field(name: bytes, fact: Fact) -> bytes:
    value = fact if isinstance(fact, bytes) else str(fact).encode(errors="backslashreplace")
    if b"\n" in value:
        return b"%b\n%b%b\n" % (name, struct.pack("<Q", len(value)), value)
    return b"%b=%b\n" % (name, value)


def _make_name(key: str) -> str:
    return ("MOCKER_" + _NO_NAME.sub("_", key.upper()))[:_LONGEST_NAME]


def _make_container_id(source: Source) -> str:
    """Return an ID for a run's container, as short as docker shows its own."""
    run = f"{source.job} {source.attempt} {source.pid}".encode()
    return sha256(_OWN + run).hexdigest()[:12]
