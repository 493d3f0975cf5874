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
        journald_socket = "journal/socket"
        {WEB.replace(chr(10), chr(10) + " " * 8)}
        """,
        {"NAME": "demo"},
    )

    assert (config.name, config.stop_timeout) == ("demo", 30.0)
    assert (config.log_format, config.log_level) == ("json", "debug")
    assert config.journald_socket == f"{tmp_path}/journal/socket"
    assert config.path == f"{tmp_path}/jobs.toml"
    assert list(config.jobs) == ["web"]


def test_file_that_says_nothing_of_it_has_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, WEB)

    assert (config.name, config.stop_timeout) == ("jobs", 60.0)
    assert (config.log_format, config.log_level) == ("auto", "info")
    assert config.journald_socket == "/run/systemd/journal/socket"


def test_path_of_a_socket_is_short(tmp_path: Path) -> None:
    path = "/" + "x" * 107

    mistakes = find_mistakes(tmp_path, f"[supervisor]\njournald_socket = '{path}'\n{WEB}")

    assert mistakes == [
        f"2: supervisor.journald_socket: must be a path of at most 107 bytes, not {path!r}"
    ]


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
        "5: jobs.web: is there twice, in line 1 and in line 5",
        "9: jobs.db: is there twice, in line 3 and in line 9",
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
    (tmp_path / "jobs.toml").write_bytes(b"\x7fELF\0\xe4\n\0")

    assert refusal(tmp_path / "jobs.toml") == (
        f"{tmp_path}/jobs.toml: is not UTF-8: byte 0xe4 in line 1"
    )


def test_text_in_another_encoding_hides_no_other_mistake(tmp_path: Path) -> None:
    text = '# ä\n[jobs.web]\ncommand = "ä"\ngrace = "x"\n'
    (tmp_path / "jobs.toml").write_bytes(text.encode("latin-1"))

    assert refusal(tmp_path / "jobs.toml").replace(f"{tmp_path}/jobs.toml:", "").split("\n") == [
        "1: is not UTF-8: byte 0xe4",
        "3: jobs.web.command: is not UTF-8: byte 0xe4",
        f"4: jobs.web.grace: {NO_DURATION}",
    ]


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


NO_DURATION = "must be a duration such as '500ms', '10s' or '2m', not 'x'"
NO_EQUALS = "not TOML: expected '=' after a key in a key/value pair"


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        pytest.param(
            """
            [jobs.web]
            command = "httpd
            grace = "x"
            [jobs.db]
            grace = "x"
            """,
            [
                "2: jobs.web.command: not TOML: a string is not closed",
                f"3: jobs.web.grace: {NO_DURATION}",
                "4: jobs.db: needs a command",
                f"5: jobs.db.grace: {NO_DURATION}",
            ],
            id="string",
        ),
        pytest.param(
            """
            [jobs.db]
            grace = "x"
            [jobs.web]
            command = [
              "httpd",
            """,
            [
                "1: jobs.db: needs a command",
                f"2: jobs.db.grace: {NO_DURATION}",
                "4: jobs.web.command: not TOML: an array is not closed",
            ],
            id="array at the end",
        ),
        pytest.param(
            """
            [jobs.web]
            volumes = [
              "a:/b",
            command = "httpd"
            [jobs.db]
            grace = "x"
            """,
            [
                "2: jobs.web.volumes: not TOML: an array is not closed",
                "5: jobs.db: needs a command",
                f"6: jobs.db.grace: {NO_DURATION}",
            ],
            id="array",
        ),
        pytest.param(
            """
            [jobs.web]
            command = '''
            a = 1
            [jobs.db]
            grace = "x"
            """,
            [
                "2: jobs.web.command: not TOML: a string is not closed",
                "4: jobs.db: needs a command",
                f"5: jobs.db.grace: {NO_DURATION}",
            ],
            id="text of several lines",
        ),
        pytest.param(
            """
            [jobs.web]
            command "httpd"
            grace = "x"
            """,
            [
                f"2: jobs.web: {NO_EQUALS} (column 9)",
                f"3: jobs.web.grace: {NO_DURATION}",
            ],
            id="equals sign",
        ),
        pytest.param(
            """
            [jobs.web]
            command = httpd
            isolate = False
            network = "job:wob"
            """,
            [
                "2: jobs.web.command: not TOML: invalid value (column 11)",
                "3: jobs.web.isolate: not TOML: invalid value (column 11)",
                "4: jobs.web.network: there is no job 'wob'; did you mean 'web'?",
            ],
            id="bare value",
        ),
        pytest.param(
            """
            [jobs.web]
            command = "httpd"
            grace = "x"
            grace = "1s"
            restart = "never"
            restart = "nevr"
            """,
            [
                f"3: jobs.web.grace: {NO_DURATION}",
                "4: jobs.web.grace: is there twice, in line 3 and in line 4",
                "6: jobs.web.restart: is there twice, in line 5 and in line 6",
                "6: jobs.web.restart: must be one of 'always', 'on-failure', 'never', not 'nevr'; "
                "did you mean 'never'?",
            ],
            id="key twice",
        ),
        pytest.param(
            """
            [jobs.web]
            command = "httpd"
            [jobs.db]
            [jobs.web]
            command = 1
            grace = "x"
            [jobs.web.ready]
            tcp = 0
            """,
            [
                "3: jobs.db: needs a command",
                "4: jobs.web: is there twice, in line 1 and in line 4",
                "5: jobs.web.command: must be text or an array of words, not 1",
                f"6: jobs.web.grace: {NO_DURATION}",
                "8: jobs.web.ready.tcp: must be a whole number from 1 to 65535, not 0",
            ],
            id="table twice",
        ),
        pytest.param(
            """
            [jobs.web]
            grace = "1s"
            [jobs.web]
            command = "httpd"
            """,
            ["3: jobs.web: is there twice, in line 1 and in line 3"],
            id="table in two parts",
        ),
        pytest.param(
            """
            [jobs.web]
            command = "backup"
            schedule = "@daily"
            [jobs.web]
            command = "httpd"
            restart = "always"
            """,
            ["4: jobs.web: is there twice, in line 1 and in line 4"],
            id="two jobs of a name",
        ),
        pytest.param(
            """
            [jobs]
            web.grace = "x"
            web.env = 1
            web.env.A = "1"
            [jobs.web]
            command = "httpd"
            """,
            [
                f"2: jobs.web.grace: {NO_DURATION}",
                "3: jobs.web.env: must be a table, not 1",
                "4: jobs.web.env: is there twice, in line 3 and in line 4",
                "5: jobs.web: is there twice, in line 2 and in line 5",
            ],
            id="dotted keys",
        ),
        pytest.param(
            r"""
            [jobs.web]
            command = "C:\httpd"
            grace = "x"
            """,
            [
                r"2: jobs.web.command: not TOML: unescaped '\' in a string (column 16)",
                f"3: jobs.web.grace: {NO_DURATION}",
            ],
            id="escape",
        ),
        pytest.param(
            """
            [jobs.web]
            command = "a\0"
            grace = "x"
            """,
            [
                r"2: jobs.web.command: not TOML: illegal character '\x00' (column 13)",
                f"3: jobs.web.grace: {NO_DURATION}",
            ],
            id="NUL",
        ),
        pytest.param(
            """
            [defaults my]
            command = "httpd"
            [jobs.web
            grace = "x"
            [jobs my db]
            command =
            [jobs.app]
            command = "app"
            depends_on = { db = "ready", dbb = "ready" }
            """,
            [
                "1: not TOML: expected ']' at the end of a table declaration (column 11)",
                "3: jobs.web: not TOML: expected ']' at the end of a table declaration",
                f"4: jobs.web.grace: {NO_DURATION}",
                "5: not TOML: expected ']' at the end of a table declaration (column 7)",
                "6: not TOML: invalid value",
                "9: jobs.app.depends_on.dbb: there is no job 'dbb'",
            ],
            id="headers",
        ),
        pytest.param(
            """
            [jobs.web]
            command = "httpd ${PORT}"
            env_file = "web.env
            schedule = "@daily
            overlap = "skip"
            replicas = 2x
            give_up = {
              failures = 5,
            }
            [jobs.db]
            command = "db"
            depends_on = ["web-2"]
            """,
            [
                "3: jobs.web.env_file: not TOML: a string is not closed",
                "4: jobs.web.schedule: not TOML: a string is not closed",
                "6: jobs.web.replicas: not TOML: expected newline or end of document after a "
                "statement (column 13)",
                "7: jobs.web.give_up: not TOML: an inline table is not in one line (column 12)",
            ],
            id="what others need",
        ),
        pytest.param(
            """
            [jobs.web.give_up]
            failures = 5
            within = 60 s
            [defaults]
            command = true false
            [supervisor]
            log_level = debug
            """,
            [
                "3: jobs.web.give_up.within: not TOML: expected newline or end of document after a "
                "statement (column 13)",
                "5: defaults.command: not TOML: expected newline or end of document after a "
                "statement (column 16)",
                "7: supervisor.log_level: not TOML: invalid value (column 13)",
            ],
            id="tables",
        ),
        pytest.param(
            """
            [jobs.web]
            [jobs.web command = "httpd"]
            """,
            ["2: not TOML: expected ']' at the end of a table declaration (column 11)"],
            id="header that may have the command",
        ),
        pytest.param("jobs = [", ["1: jobs: not TOML: an array is not closed"], id="no jobs"),
        pytest.param("<!doctype html>", ["1: not TOML: invalid statement (column 1)"], id="HTML"),
        pytest.param(
            "{\n  'jobs': {\n}}\n", ["1: not TOML: invalid statement (column 1)"], id="JSON"
        ),
        pytest.param(
            "#!/bin/sh\nset -e\nA=1\n",
            [f"2: {NO_EQUALS} (column 5)", "3: A: unknown key"],
            id="script",
        ),
    ],
)
def test_what_is_no_toml_hides_no_other_mistake_and_makes_none(
    tmp_path: Path, text: str, mistakes: list[str]
) -> None:
    found = find_mistakes(tmp_path, text)

    assert found == mistakes
