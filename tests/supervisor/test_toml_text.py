import pytest

from mocker.supervisor.errors import ConfigError
from mocker.supervisor.toml_text import parse_toml


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_toml("jobs.toml", text)
    return str(caught.value)


def test_tables_are_what_the_text_says() -> None:
    tables, mistakes = parse_toml("jobs.toml", "a = 1\r\n[b]\r\nc = '''\r\nd'''\r\n")

    assert tables == {"a": 1, "b": {"c": "d"}}
    assert not mistakes
    assert mistakes.find_line(("b", "c")) == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a = 1\nb = \n", "2: not TOML: invalid value (column 5)"),
        ("a = 1\na = 2\n", "2: not TOML: a key is there twice (column 6)"),
        ("a = 1\na = 2", "2: not TOML: a key is there twice"),
        ("a.b = 1\na = 2\n", "2: not TOML: a key is there twice (column 6)"),
        ("\n[jobs.web\n", "2: not TOML: expected ']' at the end of a table declaration"),
        ("a = '''\n\n", "1: not TOML: expected "),
        ("a = [\n1,\n", "2: not TOML: "),
        ("a = 1\x00", "1: not TOML: expected newline or end of document after a statement"),
        ("\x7fELF", "1: not TOML: invalid statement (column 1)"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(text: str, sentence: str) -> None:
    assert refusal(text).startswith(f"jobs.toml:{sentence}")


def test_second_table_of_a_name_is_told_and_passed_over() -> None:
    tables, mistakes = parse_toml("jobs.toml", "[a.b]\nc = 1\n[a.b]\nc = 2\n[d]\n['a'.b.e]\n[d]\n")

    assert tables == {"a": {"b": {"c": 1, "e": {}}}, "d": {}}
    assert mistakes.render() == (
        "jobs.toml:3: a.b: is there twice",
        "jobs.toml:7: d: is there twice",
    )


def test_text_that_has_everything_twice_is_given_up() -> None:
    assert refusal("[a]\n" * 1000).startswith(
        "jobs.toml:102: not TOML: cannot declare ('a',) twice"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"a = {'[' * 5000}", ": cannot be read: it is nested too deeply"),
        (f"a = {'{b=' * 5000}", ": cannot be read: it is nested too deeply"),
        (f"a = {'9' * 5000}", ": cannot be read: a number has too many digits, or a date is none"),
        (f"b = 1\n{'a.' * 100_000}a = 1", ":2: a key has more than 100 parts"),
        (f"b = {{ {'a.' * 100_000}a = 1 }}", ":1: a key has more than 100 parts"),
        ("'a'." * 100_000 + "a = 1", ":1: a key has more than 100 parts"),
        (f"[{'a.' * 100_000}a]", ":1: a key has more than 100 parts"),
    ],
)
def test_text_that_would_take_all_memory_is_a_sentence(text: str, sentence: str) -> None:
    assert refusal(text) == f"jobs.toml{sentence}"


def test_long_text_with_dots_is_no_long_key() -> None:
    words = "1." * 1000

    tables, _ = parse_toml("jobs.toml", f'a = ["b", "{words}", \'{words}\']\n')

    assert tables == {"a": ["b", words, words]}
