import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.toml_statements import cut_statements


def cut(text: str) -> list[tuple[int, str, bool]]:
    """Return the line and text of each statement, and whether it is one."""
    return [(found.line, found.text, not found.problem) for found in cut_statements(text)]


def test_statement_ends_where_its_line_does() -> None:
    assert cut("a = 1 # [\n\n # b\n[t] # x\n b = '''[''' \nc = 2") == [
        (1, "a = 1 # [", True),
        (4, "[t] # x", True),
        (5, " b = '''[''' ", True),
        (6, "c = 2", True),
    ]


@pytest.mark.parametrize(
    "value",
    [
        "[\n1,\n2\n]",
        "[ # ]\n ']', \"]\" ]",
        "[\n[true],\n[ nan ]\n]",
        "[\n['a'],\n[[1,\n2]]\n]",
        '[\n"""\n[t]\na = 1\n"""\n]',
        "'''\n[t]\nb = 1'''",
        '"""\n[t]\\"""\nb = 1"""""',
        "{ a = [\n{ b = 1 },\n] }",
    ],
)
def test_value_of_several_lines_is_one_statement(value: str) -> None:
    text = f"a = {value}"

    assert cut(f"{text}\nb = 1\n") == [
        (1, text, True),
        (text.count("\n") + 2, "b = 1", True),
    ]


@pytest.mark.parametrize(
    "broken",
    [
        "a = ",
        "a",
        "= 1",
        'a = "b',
        'a = "b\\',
        "a = 'b",
        "a = ]",
        "a = {",
        "a = [1, 2",
        "a = [\n 1,\n 2,",
        'a = ["b, "c"]',
        "a = { b = 1",
        "a = {\n b = 1,\n c = 2\n}",
        "a = [\n{ b = 1 },\n{ c = 2",
    ],
)
def test_broken_statement_leaves_the_next_one_alone(broken: str) -> None:
    rest = "b = 1\n[t]\nc = [2]"

    assert cut(f"{broken}\n{rest}") == [
        (1, broken, False),
        *[(n, text, True) for n, text in enumerate(rest.split("\n"), broken.count("\n") + 2)],
    ]


@pytest.mark.parametrize("quotes", ['"""', "'''"])
def test_string_that_is_not_closed_ends_before_the_next_table(quotes: str) -> None:
    assert cut(f"a = {quotes}\nb = 1\n[t]\nc = 1") == [
        (1, f"a = {quotes}\nb = 1", False),
        (3, "[t]", True),
        (4, "c = 1", True),
    ]


def test_array_that_another_table_closes_ends_where_it_should() -> None:
    assert cut("a = [\nb = 1\n[t]\nc = 1]\n")[:3] == [
        (1, "a = [", False),
        (2, "b = 1", True),
        (3, "[t]", True),
    ]


def test_inline_table_that_goes_on_for_too_long_is_not_closed() -> None:
    lines = "b = 1\n" * 200

    assert cut(f"a = {{\n{lines}}}\n")[:2] == [(1, "a = {", False), (2, "b = 1", True)]


@pytest.mark.parametrize(
    ("text", "mended", "key"),
    [
        ("[a.b", "[a.b]", ("a", "b")),
        (" [ a . 'b c' # d", "[a . 'b c' ]", ("a", "b c")),
        ("[a] b = 1", "[a]", ("a",)),
        ("[a]]", "[a]", ("a",)),
        ("[[a]", "[a]", ("a",)),
        ("[[a]] b", "[[a]]", ("a",)),
        ("[a b]", "[a b]", ()),
        ("[a = 1", "[a = 1", ()),
        ("[]", "[]", ()),
        ("[a.]", "[a.]", ()),
        ("['a]", "['a]", ()),
    ],
)
def test_header_is_mended_where_there_is_no_doubt(
    text: str, mended: str, key: tuple[str, ...]
) -> None:
    (found,) = cut_statements(text)

    assert found.problem
    assert (found.text, found.key) == (mended, key)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("a.'b' = ", ("a", "b")),
        ("a b = 1", ()),
        ("a 1", ()),
        ("= 1", ()),
        ("“a” = 1", ()),
        ("a. = 1", ()),
    ],
)
def test_key_of_a_broken_statement_is_known_if_an_equals_sign_follows(
    text: str, key: tuple[str, ...]
) -> None:
    (found,) = cut_statements(text)

    assert found.problem
    assert found.key == key


pieces = st.sampled_from(
    ["a", "=", " ", "\n", "[", "]", "{", "}", '"', "'", '"""', "'''", ",", "#", "\\", "1", "."]
)


@given(text=st.lists(pieces, max_size=40).map("".join))
def test_statements_of_any_text_follow_one_another(text: str) -> None:
    line = 0
    for found in cut_statements(text):
        assert found.line > line
        line = found.line + found.text.count("\n")
    assert line <= text.count("\n") + 1
