"""Write configuration files from a test, and see what becomes of them."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from mocker.supervisor.config import JobConfig, SupervisorConfig
from mocker.supervisor.config_file import load_config
from mocker.supervisor.errors import ConfigError
from mocker.supervisor.mistakes import Mistakes, Place

WEB = '[jobs.web]\ncommand = "true"\n'


def write_config(directory: Path, text: str, name: str = "jobs.toml") -> Path:
    """Write a file whose first line is line 1 of the text."""
    path = directory / name
    path.write_text(dedent(text).lstrip("\n"))
    return path


def load(directory: Path, text: str, env: Mapping[str, str] | None = None) -> SupervisorConfig:
    """Return what a file with this text says."""
    return load_config(str(write_config(directory, text)), env or {})


def load_job(directory: Path, keys: str, env: Mapping[str, str] | None = None) -> JobConfig:
    """Return the job that has these keys, `command` apart."""
    jobs = load(directory, f"{WEB}{dedent(keys)}", env).jobs
    return next(iter(jobs.values()))


def find_mistakes(directory: Path, text: str, env: Mapping[str, str] | None = None) -> list[str]:
    """Return the mistakes of a file with this text, without its path: "LINE: KEY: TEXT"."""
    with pytest.raises(ConfigError) as caught:
        load(directory, text, env)
    return [line.removeprefix(f"{directory}/jobs.toml:").lstrip() for line in caught.value.mistakes]


def find_job_mistakes(
    directory: Path, keys: str, env: Mapping[str, str] | None = None
) -> list[str]:
    """Return the mistakes of a job that has these keys, `command` apart: "KEY: TEXT"."""
    found = find_mistakes(directory, f"{WEB}{dedent(keys)}", env)
    return [line.partition(" jobs.web.")[2] for line in found]


def make_place(*key: str | int) -> Place:
    """Return a place in a file of its own, in the directory /srv."""
    return Place(Mistakes("/srv/jobs.toml", ""), key)
