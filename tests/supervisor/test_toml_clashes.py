import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.mistakes import render_key
from mocker.supervisor.toml_clashes import Arrangement
from mocker.supervisor.toml_statements import cut_statements


def arrange(text: str) -> Arrangement:
    return Arrangement(list(cut_statements(text)))


def clashes_of(text: str) -> list[str]:
    """Return "KEY: LINE, LINE" of each name that is there twice."""
    return [
        f"{render_key(clash.key)}: {clash.first_line}, {clash.line}"
        for clash in arrange(text).clashes
    ]


@pytest.mark.parametrize(
    ("text", "clashes"),
    [
        ("a = 1\nb = 2\na = 3\na = 4", ["a: 1, 3", "a: 1, 4"]),
        ("a.b = 1\na.b = 2", ["a.b: 1, 2"]),
        ("a = 1\na.b = 2", ["a: 1, 2"]),
        ("a.b = 1\na = 2", ["a: 1, 2"]),
        ("a = {}\na.b = 2", ["a: 1, 2"]),
        ("[a.b]\n[a]\nb.c = 1", ["a.b: 1, 3"]),
        ("[a]\n[b]\n['a']", ["a: 1, 3"]),
        ("[a.b]\n[a]\n[a]", ["a: 2, 3"]),
        ("a = 1\n[a]\n[a.b]\n[a.c]", ["a: 1, 2"]),
        ("a = 1\n[a.b]", ["a: 1, 2"]),
        ("a.b = 1\n[a]", ["a: 1, 2"]),
        ("a = []\n[[a]]", ["a: 1, 2"]),
        ("[a]\n[[a]]", ["a: 1, 2"]),
        ("[[a]]\n[a]", ["a: 1, 2"]),
        ("[[a]]\n[a.b]\n[a.b]\n[[a]]\n[a.b]\nc = 1\nc = 2", ["a[0].b: 2, 3", "a[1].b.c: 6, 7"]),
        ("[a]\nb = 1\n[a]\nb = 2", ["a: 1, 3"]),
        ("[a]\nb = 1\n[a]\nb = 2\nb = 3", ["a: 1, 3", "a.b: 4, 5"]),
        ("a = \na = 1", ["a: 1, 2"]),
    ],
)
def test_names_that_are_there_twice_are_found_with_both_lines(
    text: str, clashes: list[str]
) -> None:
    assert clashes_of(text) == clashes


@pytest.mark.parametrize(
    "text",
    [
        "[a.b]\n[a]\nc = 1\n[a.d]",
        "a.b = 1\na.c = 2",
        "[a]\nb.c = 1\n[a.b.d]",
        "[[a]]\nb = 1\n[a.c]\n[[a]]\nb = 1\n[a.c]\n[[a.d]]\n[[a.d]]",
        "a = {}\nb = []",
    ],
)
def test_names_that_only_look_alike_do_not_clash(text: str) -> None:
    tomllib.loads(text)

    assert clashes_of(text) == []


def test_header_that_cannot_be_read_is_kept_as_text() -> None:
    assert arrange("[a b]\nc = 1\n[d]\n").unread == ["[a b]"]


keys = st.sampled_from(["a", "b", "a.b", "b.a", "a.b.c", "'a'.a"])
values = st.sampled_from(["1", "[]", "{}", "[{ a = 1 }]", "{ b.c = 1 }"])
lines = st.one_of(
    st.builds("{} = {}".format, keys, values),
    keys.map("[{}]".format),
    keys.map("[[{}]]".format),
)


@given(text=st.lists(lines, max_size=12).map("\n".join))
def test_clashes_are_where_tomllib_finds_them(text: str) -> None:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        tables = None

    arrangement = arrange(text)

    assert bool(arrangement.clashes) == (tables is None)
    for reading in range(arrangement.number_of_readings):
        found = tomllib.loads(arrangement.render_tables(reading))
        assert tables is None or found == tables
