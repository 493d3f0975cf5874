import tomllib
from collections.abc import Iterator
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.toml_lines import Key, find_lines, read_key


def lines_of(text: str) -> dict[Key, int]:
    text = dedent(text).lstrip("\n")
    tomllib.loads(text)  # a test with wrong TOML would say nothing
    return find_lines(text)


def test_keys_are_where_they_begin() -> None:
    lines = lines_of(
        """
        a = 1
        # a comment = 2

        [t]
          b = 2 # b = 3
        [t.u]
        c = true
        """
    )

    assert lines == {
        ("a",): 1,
        ("t",): 4,
        ("t", "b"): 5,
        ("t", "u"): 6,
        ("t", "u", "c"): 7,
    }


def test_table_is_where_it_is_first_spoken_of() -> None:
    lines = lines_of("[a.b]\n[a]\n[a.c]\n")

    assert lines == {("a",): 1, ("a", "b"): 1, ("a", "c"): 3}


def test_parts_of_a_dotted_key_are_found() -> None:
    lines = lines_of("a . b.c = 1\na.b.d = 2\n")

    assert lines == {("a",): 1, ("a", "b"): 1, ("a", "b", "c"): 1, ("a", "b", "d"): 2}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('"a.b" = 1', ("a.b",)),
        ("'a\"b' = 1", ('a"b',)),
        (r'"a\"\u00e4\n" = 1', ('a"ä\n',)),
        ('"" = 1', ("",)),
        ("[ 'x y' . z ]", ("x y", "z")),
        ("1.5 = 2", ("1", "5")),
        ("a-b_c = 2", ("a-b_c",)),
    ],
)
def test_quoted_key_is_what_it_means(text: str, key: Key) -> None:
    assert key in lines_of(text)


def test_key_alone_is_read_up_to_its_end() -> None:
    assert read_key("[ a . 'b c' ]", 1) == (("a", "b c"), 12)


@pytest.mark.parametrize("text", ["", "= 1", "a.", "'a = 1", '"\\x" = 1', "ä = 1"])
def test_what_is_no_key_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="at "):
        read_key(text, 0)


@pytest.mark.parametrize(
    "value",
    [
        "'''\n\n'''",
        '"""\n\n"""',
        '"""\\\n\n"""',
        "'''''\n\n'''''",
        '"""""\n\n"""""',
        "'''\n\\'''\n",
        '"""\n\\"""\n"""',
        '"""a\n""b\n"""',
        "[\n\n]",
        "[\n1, # ]\n]",
        '["]",\n\n]',
        "[[1,\n2], [\n]]",
        "[{a = 1},\n\n]",
        "1\n\n",
    ],
)
def test_value_of_several_lines_is_passed_over(value: str) -> None:
    lines = lines_of(f"a = {value}\nb = 1\n")

    assert lines["b",] == f"a = {value}".count("\n") + 2


@pytest.mark.parametrize("value", ['"# = ["', "'}'", '"\\"="', "2024-01-01 10:00:00", "1_000"])
def test_what_a_value_has_is_no_key(value: str) -> None:
    assert lines_of(f"a = {value} # c = 1\nb = 1\n") == {("a",): 1, ("b",): 2}


def test_elements_of_an_array_have_lines_of_their_own() -> None:
    lines = lines_of("a = [\n  1,\n  # two\n  [2,\n  3],\n]\n")

    assert lines == {("a",): 1, ("a", 0): 2, ("a", 1): 4, ("a", 1, 0): 4, ("a", 1, 1): 5}


def test_keys_of_an_inline_table_are_found() -> None:
    lines = lines_of("a = { b = 1, c.d = [ { e = 2 } ], 'f' = {} }\n")

    assert set(lines) == {
        ("a",),
        ("a", "b"),
        ("a", "c"),
        ("a", "c", "d"),
        ("a", "c", "d", 0),
        ("a", "c", "d", 0, "e"),
        ("a", "f"),
    }


def test_tables_of_an_array_are_numbered() -> None:
    lines = lines_of("[[a]]\nb = 1\n[[a.c]]\n[[a]]\n[a.d]\nb = 2\n")

    assert lines["a", 0, "b"] == 2
    assert lines["a", 0, "c", 0] == 3
    assert lines["a", 1] == 4
    assert lines["a", 1, "d", "b"] == 6


def test_lines_of_windows_count_the_same() -> None:
    assert lines_of("a = 1\r\n\r\n[b]\r\nc = '''\r\n'''\r\nd = 1\r\n")["b", "d"] == 6


def test_file_without_a_last_newline_is_read_to_the_end() -> None:
    assert lines_of("a = 1 # c") == {("a",): 1}


def test_no_text_has_no_keys() -> None:
    assert find_lines("") == {}


def keys_of(value: object, key: Key = ()) -> Iterator[Key]:
    """Yield what tomllib has found, in the way of find_lines."""
    pairs: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    for part, inside in pairs:
        yield (*key, part)
        yield from keys_of(inside, (*key, part))


words = st.sampled_from(["a", "b", '"c.d"', "'e'", "[", "]", "{", "}", "=", ".", ",", "\n", " "])
values = st.sampled_from(["1", '"x"', "'''\n'''", '"""#\n"""', "[1, 2]", "{a = 1}", "# k = 1\n"])


@given(text=st.lists(words | values, max_size=40).map("".join))
def test_keys_are_those_that_tomllib_finds(text: str) -> None:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return

    assert set(find_lines(text)) == set(keys_of(tables))
