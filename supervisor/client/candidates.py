"""Which words may stand in a place of a command line of mocker, for who presses Tab.

What there is to choose from is read from what --help says. So there is no second list of commands
and options that one could forget to write them into.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

from .address import NoSupervisorError, find_sockets
from .answer_lines import Object
from .blocking_transport import BlockingTransport, run_blocking
from .client import Client
from .exchange import AnswerError, ProtocolError, get_value

_PROGRAM = "mocker"
_WHICH = {"-s", "--supervisor"}
_SIGNALS = "HUP INT QUIT USR1 USR2 TERM CONT WINCH"
# Bounds what a line may show, and a shell takes a word that is none of these for something else.
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-=")

ReadHelp = Callable[[str], str]


class _Help:
    """What the help of a command says.

    Attributes:
        words: What its words are, such as ["SIGNAL", "JOB..."].
        options: What the value of each is, by its spelling; empty for a flag.
    """

    def __init__(self, text: str) -> None:
        lines = text.splitlines()
        usage = lines[0].split()[3:] if lines else []  # after "usage: mocker NAME"
        self.words = [word.strip("[]") for word in usage if word != "[OPTIONS]"]
        self.options = dict[str, str]()
        for line in lines:
            # Two blanks, the names, the value; after two blanks more, what it does.
            if line.startswith("  -"):
                *names, last = line.strip().split("  ")[0].split(", ")
                last, _, value = last.partition(" ")
                self.options |= dict.fromkeys([*names, last], value)


def find_candidates(
    line: Sequence[str], read_help: ReadHelp, env: Mapping[str, str] = os.environ
) -> list[str] | None:
    """Return what the last word of a line may be; None if that is for the shell to know.

    Args:
        line: The words after `mocker`; the last one has been begun, and may be empty.
        read_help: Returns the help of a command; that of mocker for "".
        env: The caller's.
    """
    *before, begun = _join_values(line)
    if not before:
        return _choose([*list_commands(read_help("")), "--help", "--version"], begun)
    name, *given = before
    known = _Help(read_help(name))
    option, equals, value = begun.partition("=")
    if given and known.options.get(given[-1]):
        return _choose_of_kind(known.options[given[-1]], begun, known, given, env)
    if equals and option in known.options:
        found = _choose_of_kind(known.options[option], value, known, given, env)
        # What is put in place is the whole word, or for bash what comes after "=".
        is_whole = begun == line[-1]
        return [f"{option}={word}" for word in found] if found and is_whole else found
    if begun.startswith("-"):
        return _choose(known.options, begun)
    return _choose_of_kind(_find_kind(known, given), begun, known, given, env)


def list_commands(usage: str) -> list[str]:
    """Return the commands that the help of mocker names, each once."""
    lines = [line.removeprefix("usage:").split() for line in usage.splitlines()]
    words = [words[1] for words in lines if words[:1] == [_PROGRAM] and len(words) > 1]
    named = [command for word in words for command in word.split("|")]
    return list(dict.fromkeys(command for command in named if command[0].isalpha()))


def _join_values(line: Sequence[str]) -> list[str]:
    """Return the words of a line in which bash has made words of "=" and what is around it."""
    joined = list[str]()
    for word in line:
        is_value = joined and joined[-1].startswith("--") and joined[-1].endswith("=")
        if joined and (is_value or (word == "=" and joined[-1].startswith("--"))):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def _find_kind(known: _Help, given: Sequence[str]) -> str:
    """Return what the next word of a command is: "JOB", "SIGNAL"; empty if it takes no more."""
    count, takes_value = 0, False
    for word in given:
        if not takes_value and not word.startswith("-"):
            count += 1
        takes_value = not takes_value and bool(known.options.get(word))
    if count < len(known.words):
        return known.words[count]
    is_endless = known.words and known.words[-1].endswith("...")
    return known.words[-1] if is_endless else ""


def _choose_of_kind(
    kind: str, begun: str, known: _Help, given: Sequence[str], env: Mapping[str, str]
) -> list[str] | None:
    kind = kind.removesuffix("...").strip("[]")
    if kind.startswith("JOB"):
        return _choose(_list_jobs(_find_supervisor(known, given), env), begun)
    if kind == "NAME|SOCKET":
        return _choose(find_sockets(env), begun) or None
    if kind == "SIGNAL":
        return _choose(_SIGNALS.split(), begun)
    if kind and kind == kind.lower():
        return _choose(kind.split("|"), begun)  # the very words
    return None if kind else []


def _find_supervisor(known: _Help, given: Sequence[str]) -> str | None:
    for word, following in pairwise([*given, ""]):
        option, equals, value = word.partition("=")
        if option in _WHICH and option in known.options:
            return value if equals else following
    return None


def _list_jobs(supervisor: str | None, env: Mapping[str, str]) -> list[str]:
    """Return the names of jobs, and those that mean several; none if no supervisor answers."""
    client = Client(supervisor, transport=BlockingTransport(env))
    try:
        jobs = run_blocking(_ask_for_jobs(client))
        names = [str(get_value(job, "name")) for job in jobs]
        groups = [str(job.get("group", "")) for job in jobs]
    except (NoSupervisorError, AnswerError, ProtocolError):
        return []  # this is no place to say so
    return [*names, *groups, "all"] if names else []


async def _ask_for_jobs(client: Client) -> list[Object]:
    async with client:
        return await client.jobs()


def _choose(words: Iterable[str], begun: str) -> list[str]:
    matching = (word for word in dict.fromkeys(words) if word.startswith(begun))
    return [word for word in matching if word and set(word) <= _SAFE]
