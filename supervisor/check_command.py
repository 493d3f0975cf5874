"""`mocker check`: whether the jobs of a file could start here, its mistakes a line each."""

import os
from collections.abc import Sequence

from .config_file import read_config
from .errors import ConfigError
from .preflight import check_jobs
from .stderr import make_printable, write_line

_USAGE = """\
usage: mocker check FILE...

Check files of jobs without starting anything: what they say, and whether this host has the roots,
volumes, files, users and commands that the jobs need.

exit status:
  0  every job could start
  2  there are mistakes, or wrong usage
"""
_WRONG_USAGE = 2


def check(arguments: Sequence[str]) -> int:
    """Carry out the words after `mocker check` and return the exit status."""
    if arguments and arguments[0] in {"--help", "-h"}:
        print(_USAGE, end="")
        return os.EX_OK
    paths = arguments[1:] if arguments[:1] == ["--"] else arguments
    options = [word for word in arguments if word.startswith("-")] if paths is arguments else []
    if options or not paths:
        what = f"unknown option {options[0]!r}" if options else "a file is needed"
        write_line(f"mocker check: {what}; see 'mocker check --help'")
        return _WRONG_USAGE
    return max([_check_file(path) for path in paths])


def _check_file(path: str) -> int:
    try:
        config, mistakes = read_config(path, os.environ)
    except ConfigError as error:
        _tell_all(error.mistakes)
        return error.exit_code
    check_jobs(config, mistakes)
    if mistakes:
        _tell_all(mistakes.render())
        return ConfigError.exit_code
    count = len(config.jobs)
    print(f"{make_printable(path)}: ok, {count} job{'s' if count != 1 else ''}")
    return os.EX_OK


def _tell_all(mistakes: Sequence[str]) -> None:
    for mistake in mistakes:
        write_line(mistake)
