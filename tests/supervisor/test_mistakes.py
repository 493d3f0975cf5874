import pytest

from mocker.supervisor.mistakes import (
    Mistakes,
    Place,
    find_job_place,
    render_key,
    render_value,
    suggest,
)
from mocker.supervisor.toml_lines import Key

TEXT = '[jobs.web]\ncommand = "true"\nvolumes = [\n  "a:/b",\n]\n[defaults]\ngrace = 1\n'


def test_mistakes_are_told_in_the_order_of_the_file() -> None:
    mistakes = Mistakes("some/jobs.toml", TEXT)

    mistakes.add(("jobs", "web", "volumes", 0), "must be absolute")
    mistakes.add(("jobs", "web", "command"), "must be a list")

    assert mistakes.render() == (
        "some/jobs.toml:2: jobs.web.command: must be a list",
        "some/jobs.toml:4: jobs.web.volumes[0]: must be absolute",
    )


def test_missing_key_is_told_where_its_table_is() -> None:
    mistakes = Mistakes("jobs.toml", TEXT)

    mistakes.add(("jobs", "web", "ready", "tcp"), "must be there")

    assert mistakes.render() == ("jobs.toml:1: jobs.web.ready.tcp: must be there",)


def test_mistake_of_the_whole_file_has_neither_line_nor_key() -> None:
    mistakes = Mistakes("jobs.toml", TEXT)

    mistakes.add((), "there are no jobs")

    assert mistakes.render() == ("jobs.toml: there are no jobs",)


def test_lines_are_those_of_the_reading() -> None:
    mistakes = Mistakes("jobs.toml", "a = 1\n")

    mistakes.add(("a",), "must be 2")
    mistakes.read_as("\na = 3\n")
    mistakes.add(("a",), "must be 2")

    assert mistakes.render() == ("jobs.toml:1: a: must be 2", "jobs.toml:2: a: must be 2")


@pytest.mark.parametrize(
    ("name", "expected"), [("web", True), ("db-2", True), ("db", False), ("my-db-2", False)]
)
def test_what_cannot_be_read_may_have_names(name: str, expected: bool) -> None:
    mistakes = Mistakes("jobs.toml", TEXT)
    mistakes.unread.append("[jobs web]")
    mistakes.unnumbered.add("db")

    assert mistakes.may_have(name) is expected


def test_same_mistake_is_told_once() -> None:
    mistakes = Mistakes("jobs.toml", TEXT)

    for _ in range(3):
        mistakes.add(("defaults", "grace"), "must be a duration")

    assert len(mistakes.render()) == 1


def test_mistakes_are_true_once_there_is_one() -> None:
    mistakes = Mistakes("jobs.toml", TEXT)
    assert not mistakes

    Place(mistakes, ("jobs",)).at("web").refuse("must go")

    assert mistakes


def test_what_a_mistake_quotes_means_nothing_to_a_terminal() -> None:
    mistakes = Mistakes("a\x1b.toml", "")

    mistakes.add(("jobs", "\x1b[31m"), "must be \n")

    assert mistakes.render() == (r'a\x1b.toml: jobs."\x1b[31m": must be \n',)


@pytest.mark.parametrize(
    ("path", "absolute"),
    [("a", "/srv/conf/a"), ("./a", "/srv/conf/a"), ("../a", "/srv/a"), ("/a/", "/a")],
)
def test_relative_path_is_relative_to_the_file(path: str, absolute: str) -> None:
    place = Place(Mistakes("/srv/conf/jobs.toml", ""), ())

    assert place.make_absolute(path) == absolute


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("command", ("jobs", "web", "command")),
        ("grace", ("defaults", "grace")),
        ("nosuch", ("jobs", "web", "nosuch")),
    ],
)
def test_key_of_a_job_is_where_it_was_said(key: str, place: Key) -> None:
    assert find_job_place(Mistakes("jobs.toml", TEXT), "web", key).key == place


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (("jobs", "web", "volumes", 1), "jobs.web.volumes[1]"),
        (("jobs", "my web", "env"), 'jobs."my web".env'),
        (("a.b", 'c"\\'), '"a.b"."c\\"\\\\"'),
    ],
)
def test_key_is_written_as_in_the_file(key: Key, text: str) -> None:
    assert render_key(key) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        ("a'b", '"a\'b"'),
        ("a" * 61, f"'{'a' * 60}'…"),
        (1.5, "1.5"),
        (10**4000, "a huge number"),
        (-(10**60), "a huge number"),
        (10**59, "1" + "0" * 59),
        (float("inf"), "inf"),
        ({"a": {}}, "a table"),
        ([1], "an array"),
    ],
)
def test_value_is_shown_in_short(value: object, text: str) -> None:
    assert render_value(value) == text


def test_nearest_word_is_suggested() -> None:
    assert suggest("alway", ["never", "always"]) == "; did you mean 'always'?"
    assert suggest("xyz", ["never", "always"]) == ""
