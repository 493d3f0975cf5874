import time
import tomllib

import pytest

from mocker.supervisor.mistakes import LOST
from mocker.supervisor.toml_text import read_toml


def mistakes_of(text: str) -> list[str]:
    """Return the mistakes of a text, without its path: "LINE: KEY: TEXT"."""
    _, mistakes = read_toml("jobs.toml", text)
    return [line.removeprefix("jobs.toml:") for line in mistakes.render()]


def test_tables_are_what_the_text_says() -> None:
    text = "a = 1\r\n[b]\r\nc = '''\r\nd'''\r\n"

    readings, mistakes = read_toml("jobs.toml", text)

    assert [reading.tables for reading in readings] == [{"a": 1, "b": {"c": "d"}}]
    assert not mistakes
    mistakes.read_as(readings[0].text)
    assert mistakes.find_line(("b", "c")) == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a = 1\nb = \n", "2: b: not TOML: invalid value"),
        ("a = b\n", "1: a: not TOML: invalid value (column 5)"),
        ("a = 1 2\n", "1: a: not TOML: expected newline or end of document after a statement "),
        ("a 1\n", "1: not TOML: expected '=' after a key in a key/value pair (column 3)"),
        ("\n[jobs.web\n", "2: jobs.web: not TOML: expected ']' at the end of a table declaration"),
        ("[jobs web]\n", "1: not TOML: expected ']' at the end of a table declaration (column 7)"),
        ("a = '''\n\n", "1: a: not TOML: a string is not closed"),
        ('a = "\nb = 1\n', "1: a: not TOML: a string is not closed"),
        ("[b]\na = 'b\n", "2: b.a: not TOML: a string is not closed"),
        ("a = [\n1,\n", "1: a: not TOML: an array is not closed"),
        ("a = { b = 1\n", "1: a: not TOML: an inline table is not closed"),
        ("a = {\n b = 1\n}\n", "1: a: not TOML: an inline table is not in one line (column 6)"),
        ("a = { b = 1, b = 2 }", "1: a: not TOML: duplicate inline table key 'b' (column 19)"),
        ('a = "\\x"\n', "1: a: not TOML: unescaped '\\' in a string (column 8)"),
        ("a = 1\x00", "1: a: not TOML: expected newline or end of document after a statement"),
        ("# \x01\n", "1: not TOML: found invalid character '\\x01' (column 3)"),
        ("\x7fELF", "1: not TOML: invalid statement (column 1)"),
        ("a = 'b\udce4'", "1: a: is not UTF-8: byte 0xe4"),
        ("# \udce4\n", "1: is not UTF-8: byte 0xe4"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(text: str, sentence: str) -> None:
    (mistake,) = mistakes_of(text)

    assert mistake.startswith(sentence)


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("a = \nb = 1\n", {"a": LOST, "b": 1}),
        ("[a]\nb = [1,\n2\nc = 1\n", {"a": {"b": LOST, "": LOST, "c": 1}}),
        ("[a]\nb.c = [\n[d]\n", {"a": {"b": {"c": LOST}}, "d": {}}),
        ("[a]\n= 1\n", {"a": {"": LOST}}),
        ("[a\nb = 1\n", {"a": {"b": 1}}),
        ("[a b]\nb = 1\n[c]\n", {"c": {}}),
        ("[[a]]\n[[a]]\nb = \n[a.c]\nd = \n", {"a": [{}, {"b": LOST, "c": {"d": LOST}}]}),
        ("a = 1\na.b = 2\n", {"a": 1}),
        ("a = 1\n[a]\nb = 2\n", {"a": 1}),
    ],
)
def test_what_cannot_be_read_is_lost_and_the_rest_is_not(
    text: str, tables: dict[str, object]
) -> None:
    (reading,), mistakes = read_toml("jobs.toml", text)

    assert (reading.tables, bool(mistakes)) == (tables, True)


def test_each_value_of_a_name_is_in_one_reading_with_its_line() -> None:
    text = "[a]\nb = 1\nc = 2\n[d]\n[a]\nb = [\n3]\ne = 4\n"

    readings, mistakes = read_toml("jobs.toml", text)

    assert [reading.tables for reading in readings] == [
        {"a": {"b": 1, "c": 2, "e": 4, "": LOST}, "d": {}},
        {"a": {"b": [3], "c": 2, "e": 4, "": LOST}, "d": {}},
    ]
    lines = []
    for reading in readings:
        mistakes.read_as(reading.text)
        lines.append([mistakes.find_line(("a", key)) for key in "bce"])
    assert lines == [[2, 3, 8], [6, 3, 8]]
    assert mistakes.render() == ("jobs.toml:5: a: is there twice, in line 1 and in line 5",)


def test_no_name_is_read_in_more_ways_than_five() -> None:
    readings, mistakes = read_toml("jobs.toml", "a = 1\n" * 1000)

    assert (len(readings), len(mistakes.render())) == (5, 999)


def test_text_that_is_none_at_all_is_read_up_to_its_fiftieth_mistake() -> None:
    found = mistakes_of("a = 1\n" + "this is prose\n" * 1000)

    assert len(found) == 51
    assert found[-1] == "52: more than 50 lines are not TOML; nothing is read from here on"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"a = {'[' * 5000}", "1: a: cannot be read: it is nested too deeply"),
        (f"a = {'{b=' * 5000}", "1: a: cannot be read: it is nested too deeply"),
        (f"a = {'9' * 5000}", "1: a: cannot be read: a number has too many digits, or a date is"),
        (f"b = 1\n{'a.' * 100_000}a = 1", "2: a key has more than 100 parts"),
        (f"b = {{ {'a.' * 100_000}a = 1 }}", "1: a key has more than 100 parts"),
        ("'a'." * 100_000 + "a = 1", "1: a key has more than 100 parts"),
        (f"[{'a.' * 100_000}a]", "1: a key has more than 100 parts"),
    ],
)
def test_text_that_would_take_all_memory_is_a_sentence(text: str, sentence: str) -> None:
    (mistake,) = mistakes_of(text)

    assert mistake.startswith(sentence)


def test_long_text_with_dots_is_no_long_key() -> None:
    words = "1." * 1000

    (reading,), _ = read_toml("jobs.toml", f'a = ["b", "{words}", \'{words}\']\n')

    assert reading.tables == {"a": ["b", words, words]}


@pytest.mark.parametrize(
    "broken",
    ["b = [", "b = {", 'b = "', "b", "[a", "[a]", "a = 2", "b = [ # ]", 'b = ["]'],
)
def test_ten_thousand_lines_with_two_hundred_mistakes_take_no_second(broken: str) -> None:
    part = "".join(f'a{n} = ["x", "y"]\n' for n in range(48))
    text = "".join(f"[t{n}]\na = 1\n{part}{broken}\n" for n in range(200))
    began = time.process_time()

    found = mistakes_of(text)

    assert time.process_time() - began < 1
    assert len(found) >= 50


@pytest.mark.slow
@pytest.mark.parametrize("line", ["a = [\n", "a = {\n", 'a = """\n', "[a\n", "a = 1\n[b]\n", "a\n"])
def test_long_text_that_is_broken_all_over_takes_no_time_with_its_square(line: str) -> None:
    began = time.process_time()

    assert mistakes_of(line * 50_000)
    assert time.process_time() - began < 5


def test_text_that_tomllib_takes_is_not_looked_at_again() -> None:
    text = 'a = [ "]", # [\n [true],\n]\n[b]\nc = """\n[d]\nx = 1"""\n'

    (reading,), mistakes = read_toml("jobs.toml", text)

    assert (reading.tables, reading.text) == (tomllib.loads(text), text)
    assert not mistakes
