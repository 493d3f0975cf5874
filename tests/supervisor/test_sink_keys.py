from pathlib import Path

import pytest

from mocker.supervisor.config import CONSOLE, INHERIT, SinkConfig
from tests.configs import find_job_mistakes, find_mistakes, load, load_job

JOURNALD = SinkConfig(kind="journald")


def test_output_goes_to_the_console_if_nothing_is_said(tmp_path: Path) -> None:
    job = load_job(tmp_path, "")

    assert job.channels == {"stdout": (CONSOLE,), "stderr": (CONSOLE,)}
    assert (job.on_full, job.max_line) == ("block", 16_384)


@pytest.mark.parametrize(
    ("keys", "channels"),
    [
        ("stdout = 'journald'", {"stdout": (JOURNALD,), "stderr": (CONSOLE,)}),
        ("stderr = 'null'", {"stdout": (CONSOLE,), "stderr": ()}),
        ("output = 'console'", {"output": (CONSOLE,)}),
        ("output = ['console', 'journald']", {"output": (CONSOLE, JOURNALD)}),
        ("stdout = 'inherit'", {"stdout": (INHERIT,), "stderr": (CONSOLE,)}),
    ],
)
def test_sinks_have_names(
    keys: str, channels: dict[str, tuple[SinkConfig, ...]], tmp_path: Path
) -> None:
    assert load_job(tmp_path, keys).channels == channels


def test_file_has_a_path_that_is_relative_to_the_configuration(tmp_path: Path) -> None:
    job = load_job(tmp_path, "output = { file = 'logs/web.log' }")

    path = str(tmp_path / "logs/web.log")
    assert job.channels == {
        "output": (SinkConfig(kind="file", path=path, format="raw", max_size=50 * 2**20),)
    }


def test_file_has_all_its_keys(tmp_path: Path) -> None:
    job = load_job(
        tmp_path,
        """
        stderr = { file = "/e.log", format = "json", max_size = "1M", backups = 3, compress = true }
        """,
    )

    assert job.channels["stderr"] == (
        SinkConfig(
            kind="file", path="/e.log", format="json", max_size=2**20, backups=3, compress=True
        ),
    )


def test_both_bounds_can_be_said(tmp_path: Path) -> None:
    job = load_job(tmp_path, "on_full = 'drop'\nmax_line = '64k'")

    assert (job.on_full, job.max_line) == ("drop", 65_536)


@pytest.mark.parametrize(
    ("keys", "mistakes"),
    [
        (
            "stdout = 'consol'",
            [
                "stdout: must be 'console', 'journald', 'null', 'inherit', or { file = … }, "
                "not 'consol'; did you mean 'console'?"
            ],
        ),
        (
            "stdout = 3",
            ["stdout: must be 'console', 'journald', 'null', 'inherit', or { file = … }, not 3"],
        ),
        ("stdout = []", ["stdout: must have a sink; 'null' is for none"]),
        ("stdout = ['console', 'null']", ["stdout: must have 'null' alone"]),
        ("stdout = ['inherit', 'console']", ["stdout: must have 'inherit' alone"]),
        ("stdout = ['console', 'console']", ["stdout: must not have 'console' twice"]),
        (
            "stdout = [{ file = 'a' }, { file = 'a', format = 'json' }]",
            ["stdout: must not have 'a' twice"],
        ),
        ("stdout = {}", ["stdout: needs file"]),
        ("stdout = { file = '' }", ["stdout.file: must be a path, not ''"]),
        ("stdout = { path = 'a' }", ["stdout.path: unknown key"]),
        (
            "stdout = [{ file = 'a', format = 'xml' }]",
            ["stdout[0].format: must be one of 'raw', 'text', 'json', not 'xml'"],
        ),
        (
            "stdout = { file = 'a', max_size = '1X' }",
            ["stdout.max_size: must be a size such as '64k', '64M' or '1G', not '1X'"],
        ),
        (
            "stdout = { file = 'a', backups = -1 }",
            ["stdout.backups: must be a whole number from 0 to 1000, not -1"],
        ),
        (
            "max_line = 10",
            ["max_line: must be a whole number from 80 to 1048576, not 10"],
        ),
        ("on_full = 'wait'", ["on_full: must be one of 'block', 'drop', not 'wait'"]),
        (
            "output = 'null'\nstderr = 'null'",
            ["output: is both stdout and stderr; have either it or these"],
        ),
        (
            "output = 'inherit'\nready = { log = 'up' }",
            ["ready: needs output that passes through mocker, and all is inherited"],
        ),
    ],
)
def test_what_cannot_be_meant_is_told(keys: str, mistakes: list[str], tmp_path: Path) -> None:
    assert find_job_mistakes(tmp_path, keys) == mistakes


@pytest.mark.parametrize(
    ("defaults", "keys", "sinks"),
    [
        ("", "", (CONSOLE,)),
        ("", "output = 'journald'", (JOURNALD,)),
        ("output = 'journald'", "", (JOURNALD,)),
        ("stdout = 'journald'\nstderr = 'null'", "", (JOURNALD,)),
        ("stdout = 'inherit'", "output = 'null'", ()),
    ],
)
def test_terminal_has_one_channel(
    tmp_path: Path, defaults: str, keys: str, sinks: tuple[SinkConfig, ...]
) -> None:
    text = f"[defaults]\n{defaults}\n[jobs.web]\ncommand = 'true'\ntty = true\n{keys}"

    assert load(tmp_path, text).jobs["web"].channels == {"output": sinks}


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        (
            "stdout = 'null'",
            "stdout: is not to be had with tty = true: a terminal has one stream; have output",
        ),
        (
            "stderr = 'null'",
            "stderr: is not to be had with tty = true: a terminal has one stream; have output",
        ),
        (
            "output = 'inherit'",
            "tty: needs output that passes through mocker, and it is inherited",
        ),
    ],
)
def test_sinks_that_a_terminal_cannot_have_are_a_mistake(
    tmp_path: Path, keys: str, mistake: str
) -> None:
    assert find_job_mistakes(tmp_path, f"tty = true\n{keys}") == [mistake]


def test_readiness_can_be_seen_on_the_channel_that_passes_through(tmp_path: Path) -> None:
    job = load_job(tmp_path, "stdout = 'inherit'\nready = { log = 'up' }")

    assert job.channels["stdout"] == (INHERIT,)


@pytest.mark.parametrize(
    ("defaults", "keys", "channels"),
    [
        ("output = 'journald'", "", {"output": (JOURNALD,)}),
        ("output = 'journald'", "output = 'null'", {"output": ()}),
        ("output = 'journald'", "stdout = 'null'", {"stdout": (), "stderr": (JOURNALD,)}),
        ("stderr = 'journald'", "stdout = 'null'", {"stdout": (), "stderr": (JOURNALD,)}),
        ("stderr = 'journald'", "output = 'null'", {"output": ()}),
    ],
)
def test_job_takes_what_it_does_not_say_from_the_defaults(
    defaults: str, keys: str, channels: dict[str, tuple[SinkConfig, ...]], tmp_path: Path
) -> None:
    text = f"[defaults]\n{defaults}\n[jobs.web]\ncommand = 'true'\n{keys}\n"

    assert load(tmp_path, text).jobs["web"].channels == channels


def test_defaults_with_both_are_told_once(tmp_path: Path) -> None:
    text = "[defaults]\noutput = 'null'\nstdout = 'null'\n" + "".join(
        f"[jobs.{name}]\ncommand = 'true'\n" for name in ("web", "db")
    )

    assert find_mistakes(tmp_path, text) == [
        "2: defaults.output: is both stdout and stderr; have either it or these"
    ]


def test_file_of_two_jobs_is_rotated_in_one_way(tmp_path: Path) -> None:
    text = """
        [jobs.web]
        command = "true"
        output = { file = "all.log", format = "json", max_size = "1M" }
        [jobs.db]
        command = "true"
        stdout = [{ file = "all.log", format = "text", max_size = "1M" }, "console"]
        stderr = { file = "./all.log" }
        """

    assert find_mistakes(tmp_path, text) == [
        f"7: jobs.db.stderr: must be rotated as web has it, as '{tmp_path}/all.log' "
        "is the same file"
    ]


def test_replicas_may_share_a_file(tmp_path: Path) -> None:
    text = "[jobs.web]\ncommand = 'true'\nreplicas = 3\noutput = { file = 'web.log' }\n"

    assert len(load(tmp_path, text).jobs) == 3
