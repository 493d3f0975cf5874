"""The command line of `mocker run`: what was asked for, as a spec.

Spellings are docker run(1)'s where it has the option.
"""

import os
from _collections_abc import Callable, Sequence

from mocker.isolation import (
    DEFAULT_HOSTNAME,
    ContainerSpec,
    Limits,
    Rlimit,
    SpecError,
    Tmpfs,
    Volume,
)
from mocker.isolation.checks import NICE_VALUES, OOM_SCORES, check_word
from mocker.isolation.errors import render_reason

from .container_words import (
    parse_affinity,
    parse_capability,
    parse_count,
    parse_cpus,
    parse_limits,
    parse_signal,
    parse_tmpfs,
    parse_umask,
    parse_volume,
    parse_whole,
    read_seccomp,
)
from .options import Option, Parsed, parse_options, render_options
from .quantities import parse_duration, parse_size
from .sink_words import SinkWord, check_together, parse_sink
from .stderr import make_printable

TYPE_CHECKING = False  # for who checks types: `typing` costs as much as a container
if TYPE_CHECKING:
    from typing import TypeVar

    Result = TypeVar("Result")

_OPTIONS = (
    Option(
        "--rootfs",
        "ROOT",
        "busybox (a fresh root), host (the host's files, nothing lasts) or a directory "
        "(default: busybox where there is one, else host)",
    ),
    Option(
        "--rootfs-mode",
        "MODE",
        "what becomes of writes to the directory: overlay (they vanish) or rw (default: overlay)",
    ),
    Option("--read-only", "", "forbid writing to the root"),
    Option("-v --volume", "SRC:DST[:ro]", "show a directory or file of the host"),
    Option(
        "--tmpfs",
        "DST[:size=64m]",
        "mount a fresh file system in memory (default size: 20 % of it)",
    ),
    Option("-e --env", "KEY[=VALUE]", "set a variable, or take it from the caller"),
    Option("--env-file", "FILE", "read variables, a KEY=VALUE a line"),
    Option("-w --workdir", "DIR", "start there; made if it is missing"),
    Option("-u --user", "USER[:GROUP]", "run as a user of the container (default: root)"),
    Option("--name", "NAME", "name the container; also its host name"),
    Option("-h --hostname", "NAME", "set the host name (default: containerhostname)"),
    Option("--net --network", "MODE", "none (lo alone) or host (default: none)"),
    Option(
        "--userns",
        "MODE",
        "private (root inside is nobody outside) or host, for root only (default: private)",
    ),
    Option("--cap-add", "NAME", "give root a capability that it does not have by default, or all"),
    Option("--cap-drop", "NAME", "take a capability from root, or all"),
    Option("--allow-new-privs", "", "let setuid programs and file capabilities grant rights"),
    Option(
        "--seccomp",
        "FILTER",
        "which system calls may be made: default (docker's, and no user namespaces), unconfined "
        "(any), or a file in docker's format (default: default)",
    ),
    Option("--umask", "MODE", "set the permissions that new files do not get (default: 022)"),
    Option("--nice", "N", "set the nice value, -20 to 19 (default: the caller's)"),
    Option(
        "--oom-score-adj",
        "N",
        "how soon it is killed when memory runs out, -1000 to 1000 (default: the caller's)",
    ),
    Option("--cpu-affinity", "CPUS", "start on these CPUs, such as 0-1,3 (default: the caller's)"),
    Option("--ulimit", "NAME=SOFT[:HARD]", "limit a resource, such as nofile=1024:4096"),
    Option("-m --memory", "SIZE", "let it have so much memory at most, such as 256m, and no swap"),
    Option("--cpus", "NUMBER", "let it use so many CPUs at most, such as 1.5"),
    Option("--pids-limit", "NUMBER", "let it have so many processes at most, its init included"),
    Option("--timeout", "TIME", "stop the command after this long, such as 30s; 0 is never"),
    Option("--stop-signal", "SIGNAL", "what is sent first at the timeout (default: TERM)"),
    Option(
        "--grace",
        "TIME",
        "wait this long between that and SIGKILL, and for what the command leaves (default: 10s)",
    ),
    Option(
        "--log",
        "SINK",
        "where stdout and stderr go, again for each further sink: journald, file:PATH, console "
        "(stdout, with times and names), null or inherit (default: inherit); a file takes "
        ",format=raw|text|json ,max_size=50M ,backups=10 ,compress and journald ,socket=PATH",
    ),
    Option("-i --interactive", "", "accepted; stdin is always connected"),
    Option("-t --tty", "", "accepted; who calls from a terminal gets a terminal, but with --log"),
    Option("--dry-run", "", "print what would be done, a step a line, and do nothing"),
    Option("--explain", "", "print which walls are on, off or not available, and do nothing"),
    Option("--rm", "", "accepted; nothing is ever kept"),
    Option("--init", "", "accepted; there is always one"),
    Option("--help", "", "print this; so does -h alone"),
)
# What people type who know docker run(1).
_DOCKERS = {
    "--cpuset-cpus": "what comes nearest is --cpu-affinity",
    "--detach": "mocker-supervise keeps jobs in the background",
    "--device": "no device of the host's can be had",
    "--entrypoint": "the command is what is executed",
    "--gpus": "no device of the host's can be had",
    "--memory-reservation": "--memory is the only limit of it",
    "--memory-swap": "with --memory nothing is swapped",
    "--mount": "-v and --tmpfs do that",
    "--privileged": "what comes nearest is --cap-add all --seccomp unconfined --allow-new-privs",
    "--publish": "with --network host its ports are the host's",
    "--restart": "mocker-supervise starts jobs again",
    "--security-opt": "--seccomp FILTER does its seccomp=FILTER; no-new-privileges is on anyway",
    "-d": "mocker-supervise keeps jobs in the background",
    "-p": "with --network host its ports are the host's",
}
_NETWORKS = ("none", "host")  # a command line has no other container to share that of
_HELP = """\
usage: mocker run [OPTIONS] COMMAND [ARG...]

Run a command in a container of its own.

options:
{options}

exit status:
  that of the command; 128+N if signal N ended it
  124  the command ran into --timeout
  125  mocker could not make the container
  126  the command is not executable
  127  the command was not found
  2    wrong usage
"""


class RunRequest:
    """What a command line of `mocker run` asks for.

    Attributes:
        spec: The container.
        timeout: Seconds the command may take; None for as long as it likes.
        sinks: Where its output goes; none for where the caller's own goes.
        name: What lines there have as their job.
        dry_run: Whether the plan is wanted.
        explain: Whether the walls are wanted; with either, nothing is run.
    """

    __slots__ = ("dry_run", "explain", "name", "sinks", "spec", "timeout")

    def __init__(
        self,
        spec: ContainerSpec,
        timeout: float | None = None,
        sinks: Sequence[SinkWord] = (),
        *,
        name: str = "",
        dry_run: bool = False,
        explain: bool = False,
    ) -> None:
        self.spec, self.timeout, self.sinks = spec, timeout, sinks
        self.name, self.dry_run, self.explain = name, dry_run, explain


def render_help() -> str:
    """Return what `mocker run --help` prints."""
    return _HELP.format(options=render_options(_OPTIONS))


def parse_run_arguments(
    arguments: Sequence[str], default_rootfs: Callable[[], str], *, terminal: bool
) -> RunRequest | None:
    """Read the words after `mocker run`.

    Args:
        arguments: The words.
        default_rootfs: Asked if no root was asked for.
        terminal: Whether the command gets a terminal of its own, unless its output is logged.

    Returns:
        None if help is wanted.

    Raises:
        SpecError: They cannot be meant.
    """
    if list(arguments) == ["-h"]:  # with anything after it, it is docker's for --hostname
        return None
    given = parse_options(arguments, _OPTIONS, elsewhere=_DOCKERS)
    if given.has("--help"):
        return None
    if not given.words:
        raise SpecError("a command is needed; see 'mocker run --help'")
    sinks = _parse_sinks(given.all("--log"))
    if sinks and given.has("--tty"):
        raise SpecError("--tty cannot be had with --log, which is for lines; leave one of them out")
    terminal = terminal and not sinks
    env = dict[str, str]()
    for path in given.all("--env-file"):
        env |= _read_env_file(path)
    for word in given.all("--env"):
        env |= parse_env(word, "--env")
    if terminal:
        env.setdefault("TERM", os.environ.get("TERM") or "xterm")
    rootfs = given.maybe("--rootfs")
    if rootfs is None:
        rootfs = default_rootfs()
    elif not rootfs:
        raise SpecError("--rootfs must be busybox, host or a directory, not ''")
    spec = ContainerSpec(
        given.words,
        rootfs=rootfs if rootfs in {"busybox", "host"} else _make_absolute(rootfs, "--rootfs"),
        rootfs_mode=given.last("--rootfs-mode", "overlay"),
        read_only=given.has("--read-only"),
        volumes=map(_parse_volume, given.all("--volume")),
        tmpfs=[Tmpfs(*_parse("--tmpfs", parse_tmpfs, word)) for word in given.all("--tmpfs")],
        env=env,
        workdir=given.maybe("--workdir"),
        user=given.maybe("--user"),
        hostname=given.last("--hostname", given.last("--name", DEFAULT_HOSTNAME)),
        network=check_word(given.last("--network", "none"), _NETWORKS, "network"),
        userns=given.last("--userns", "private"),
        cap_add=[_parse("--cap-add", parse_capability, word) for word in given.all("--cap-add")],
        cap_drop=[_parse("--cap-drop", parse_capability, word) for word in given.all("--cap-drop")],
        allow_new_privs=given.has("--allow-new-privs"),
        seccomp=_find(given, "--seccomp", lambda word: read_seccomp(word, word)),
        umask=_parse("--umask", parse_umask, given.last("--umask", "022")),
        nice=_find(given, "--nice", parse_whole, *NICE_VALUES),
        oom_score_adj=_find(given, "--oom-score-adj", parse_whole, *OOM_SCORES),
        cpu_affinity=_find(given, "--cpu-affinity", parse_affinity),
        # Of the same one twice, the last counts.
        rlimits={r.name: r for r in map(_parse_ulimit, given.all("--ulimit"))}.values(),
        limits=_find_limits(given),
        grace=_parse("--grace", parse_duration, given.last("--grace", "10s")),
        stop_signal=_parse("--stop-signal", parse_signal, given.last("--stop-signal", "TERM")),
        terminal=terminal,
    )
    return RunRequest(
        spec,
        _find(given, "--timeout", parse_duration) or None,
        sinks,
        name=given.last("--name", make_printable(os.path.basename(given.words[0]))),
        dry_run=given.has("--dry-run"),
        explain=given.has("--explain"),
    )


def _parse(option: str, parse: "Callable[..., Result]", word: str, *more: int) -> "Result":
    """Return what a word means; who knows what it should be does not know the option."""
    try:
        return parse(word, *more)
    except ValueError as error:
        raise SpecError(f"{option} {error}") from None


def _find(
    given: Parsed, option: str, parse: "Callable[..., Result]", *more: int
) -> "Result | None":
    """Return what the word of an option means; None if it is not given."""
    word = given.maybe(option)
    return None if word is None else _parse(option, parse, word, *more)


def _make_absolute(path: str, option: str) -> str:
    try:
        return os.path.abspath(path)
    except OSError as error:  # the current directory was removed
        reason = render_reason(error.errno or 0)
        raise SpecError(f"cannot find {option} {path!r} from here{reason}") from None


def _parse_sinks(words: Sequence[str]) -> list[SinkWord]:
    sinks = [_parse("--log", parse_sink, word) for word in words]
    for sink in sinks:
        if sink.path:
            sink.path = _make_absolute(sink.path, "--log")
    try:
        check_together(sinks)
    except ValueError as error:
        raise SpecError(f"--log {error}") from None
    return [] if [sink.kind for sink in sinks] == ["inherit"] else sinks


def _parse_volume(word: str) -> Volume:
    source, destination, read_only = _parse("--volume", parse_volume, word)
    return Volume(_make_absolute(source, "--volume"), destination, read_only=read_only)


def _parse_ulimit(word: str) -> Rlimit:
    name, _, limits = word.partition("=")
    try:
        values = parse_limits(limits)
    except ValueError:
        raise SpecError(f"--ulimit must be NAME=SOFT[:HARD], not {word!r}") from None
    return Rlimit(name, *values)


def _find_limits(given: Parsed) -> Limits | None:
    memory = _find(given, "--memory", parse_size)
    cpus = _find(given, "--cpus", parse_cpus)
    pids = _find(given, "--pids-limit", parse_count)
    if memory is None and cpus is None and pids is None:
        return None
    return Limits(memory=memory, cpus=cpus, pids=pids)


def parse_env(word: str, where: str) -> dict[str, str]:
    """Return the variable that KEY=VALUE sets; that KEY takes from the caller, who may have none.

    Raises:
        SpecError: It is neither; `where` says where it stands.
    """
    key, equals, value = word.partition("=")
    if not key or (where != "--env" and any(map(str.isspace, key))):
        raise SpecError(f"{where} must be KEY or KEY=VALUE, not {word!r}")
    if equals:
        return {key: value}
    return {key: os.environ[key]} if key in os.environ else {}


def _read_env_file(path: str) -> dict[str, str]:
    env = dict[str, str]()
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            for number, line in enumerate(file, 1):
                text = line.rstrip("\r\n").lstrip()  # spaces behind a value belong to it
                if text and not text.startswith("#"):
                    env |= parse_env(text, f"{path}:{number}")
    except OSError as error:
        reason = render_reason(error.errno or 0)
        raise SpecError(f"cannot read --env-file {path!r}{reason}") from error
    return env
