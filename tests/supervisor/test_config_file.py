import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.config_file import load_config, read_config
from mocker.supervisor.errors import ConfigError
from tests.configs import WEB, find_mistakes, load, write_config


def refusal(path: str | Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(str(path), {})
    return str(caught.value)


def test_file_says_what_the_supervisor_is_like(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        f"""
        [supervisor]
        name = "${{NAME}}"
        stop_timeout = "30s"
        log_format = "json"
        log_level = "debug"
        {WEB.replace(chr(10), chr(10) + " " * 8)}
        """,
        {"NAME": "demo"},
    )

    assert (config.name, config.stop_timeout) == ("demo", 30.0)
    assert (config.log_format, config.log_level) == ("json", "debug")
    assert config.path == f"{tmp_path}/jobs.toml"
    assert list(config.jobs) == ["web"]


def test_file_that_says_nothing_of_it_has_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, WEB)

    assert (config.name, config.stop_timeout) == ("jobs", 60.0)
    assert (config.log_format, config.log_level) == ("auto", "info")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("web.toml", "web"),
        ("my jobs.v2.toml", "my-jobs.v2"),
        (".toml", "toml"),
        ("ä.toml", "mocker"),
        ("jobs", "jobs"),
    ],
)
def test_supervisor_is_named_after_the_file(tmp_path: Path, file: str, name: str) -> None:
    assert load_config(str(write_config(tmp_path, WEB, file)), {}).name == name


def test_mistakes_are_told_with_the_path_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path, "[jobs.web]\n")
    monkeypatch.chdir(tmp_path)

    assert refusal("./jobs.toml") == "./jobs.toml:1: jobs.web: needs a command"


def test_all_mistakes_are_told_in_one_go_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = find_mistakes(
        tmp_path,
        """
        [supervisr]
        [supervisor]
        log_level = "inf"
        stop_timeout = -1
        name = "a/b"

        [jobs."my web"]
        command = "true"

        [jobs.web]
        restart = "alway"
        command = "true"
        depends_on = { dbb = "ready" }

        [jobs.db]
        command = 3
        ready = {
        tcp = "x" }
        """.replace("{\n        tcp", "{ tcp"),
    )

    assert found == [
        "1: supervisr: unknown key; did you mean 'supervisor'?",
        "3: supervisor.log_level: must be one of 'debug', 'info', 'warning', 'error', not 'inf'; "
        "did you mean 'info'?",
        "4: supervisor.stop_timeout: must be a duration such as '500ms', '10s' or '2m', not -1",
        "5: supervisor.name: must be 1 to 63 letters, digits, '-', '_' and '.', "
        "a letter or digit first, not 'a/b'",
        "7: jobs.\"my web\": must be 1 to 63 letters, digits, '-', '_' and '.', "
        "a letter or digit first, not 'my web'",
        "11: jobs.web.restart: must be one of 'always', 'on-failure', 'never', not 'alway'; "
        "did you mean 'always'?",
        "13: jobs.web.depends_on.dbb: there is no job 'dbb'; did you mean 'db'?",
        "16: jobs.db.command: must be text or an array of words, not 3",
        "17: jobs.db.ready.tcp: must be a whole number from 1 to 65535, not 'x'",
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("", "there are no jobs; each is a table such as [jobs.web] with a command"),
        ("[jobs]", "there are no jobs; each is a table such as [jobs.web] with a command"),
        ("jobs = 1", "1: jobs: must be a table, not 1"),
        ("[[jobs]]", "1: jobs: must be a table, not an array"),
        ("jobs.web = 1", "1: jobs.web: must be a table, not 1"),
        (f"defaults = 1\n{WEB}", "1: defaults: must be a table, not 1"),
        (f"supervisor = []\n{WEB}", "1: supervisor: must be a table, not an array"),
        (f"[job]\n{WEB}", "1: job: unknown key; did you mean 'jobs'?"),
        (
            f'[supervisor]\nname = "${{A}}"\n{WEB}',
            "2: supervisor.name: variable A is not defined; ${A:-…} gives it a default",
        ),
    ],
)
def test_table_that_is_none_is_a_mistake(tmp_path: Path, text: str, mistake: str) -> None:
    assert find_mistakes(tmp_path, text) == [mistake]


def test_tables_of_one_name_are_told_along_with_other_mistakes(tmp_path: Path) -> None:
    found = find_mistakes(
        tmp_path,
        """
        [jobs.web]
        command = "a"
        [jobs.db]
        command = 1
        [jobs.web]
        command = "b"
        [jobs.web.env]
        A = "1"
        [jobs.db]
        """,
    )

    assert found == [
        "4: jobs.db.command: must be text or an array of words, not 1",
        "5: jobs.web: is there twice",
        "9: jobs.db: is there twice",
    ]


def test_missing_file_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "no\nsuch.toml"

    assert refusal(path) == (
        rf"{tmp_path}/no\nsuch.toml: cannot be read: No such file or directory (ENOENT)"
    )


def test_directory_is_a_sentence(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: cannot be read: it is a directory"


def test_fifo_is_a_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    assert refusal(tmp_path / "fifo").endswith("cannot be read: it is not a regular file")


def test_file_that_is_not_utf_8_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_bytes(b"# \xe4\n")

    assert refusal(tmp_path / "jobs.toml").endswith("is not UTF-8: byte 0xe4 in line 1")


def test_same_file_means_the_same(tmp_path: Path) -> None:
    text = f'{WEB}env = {{ A = "1" }}\nready = {{ tcp = 1 }}\nvolumes = ["a:/b"]\n'

    assert load(tmp_path, text) == load(tmp_path, text)


def test_only_what_was_changed_is_different(tmp_path: Path) -> None:
    before = load(tmp_path, '[jobs.a]\ncommand = "a"\n[jobs.b]\ncommand = "b"\n').jobs
    after = load(tmp_path, '[jobs.a]\ncommand = "a"\n[jobs.b]\ncommand = "b c"\n').jobs

    assert before["a"] == after["a"]
    assert before["b"] != after["b"]


def test_jobs_without_mistakes_are_there_nevertheless(tmp_path: Path) -> None:
    path = write_config(tmp_path, f'{WEB}[jobs.db]\ncommand = ""\n')

    config, mistakes = read_config(str(path), {})

    assert list(config.jobs) == ["web"]
    assert len(mistakes.render()) == 1


def test_a_thousand_jobs_are_read_at_once(tmp_path: Path) -> None:
    text = "".join(
        f'[jobs.job{n}]\ncommand = ["sleep", "{n}"]\ndepends_on = {{ job{n + 1} = "started" }}\n'
        for n in range(1000)
    )

    assert len(load(tmp_path, f'{text}[jobs.job1000]\ncommand = "true"\n').jobs) == 1001


keys = st.sampled_from(
    ["command", "env", "ready", "volumes", "replicas", "restart", "schedule", "x"]
)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("a${}: =.1\0", max_size=6)
)
anything = st.recursive(
    scalars, lambda inside: st.lists(inside, max_size=3) | st.dictionaries(keys, inside, max_size=3)
)


def render(value: object) -> str:
    """Return a value as TOML."""
    match value:
        case None:
            return "2026-01-02"
        case bool():
            return str(value).lower()
        case dict():
            return f"{{ {', '.join(f'{key} = {render(item)}' for key, item in value.items())} }}"
        case list():
            return f"[{', '.join(map(render, value))}]"
        case str():
            return '"' + value.replace("\0", "\\u0000") + '"'
        case _:
            return str(value)


@given(job=st.dictionaries(keys, anything, max_size=4))
def test_any_toml_is_a_config_or_mistakes_with_lines(
    tmp_path: Path, job: dict[str, object]
) -> None:
    text = "[jobs.web]\n" + "".join(f"{key} = {render(value)}\n" for key, value in job.items())
    tomllib.loads(text)
    path = write_config(tmp_path, text)

    config, mistakes = read_config(str(path), {})

    assert bool(mistakes) != bool(config.jobs)
    assert all(line.startswith(f"{path}:") for line in mistakes.render())


def test_what_is_no_toml_is_told_with_its_line(tmp_path: Path) -> None:
    assert find_mistakes(tmp_path, "[jobs.web]\n= 1\n") == [
        "2: not TOML: invalid statement (column 1)"
    ]
