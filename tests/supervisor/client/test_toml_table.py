import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.client.toml_table import render_tables
from mocker.supervisor.interpolation import expand

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)
)


def without_dollars(value: object) -> object:
    """Return a value as who replaces variables has it."""
    match value:
        case str():
            return expand(value, {})
        case list():
            return [without_dollars(one) for one in value]
        case dict():
            return {key: without_dollars(one) for key, one in value.items()}
        case _:
            return value


@given(st.dictionaries(TEXTS, VALUES, max_size=5))
def test_whatever_is_rendered_is_read_as_the_same(values: dict[str, object]) -> None:
    read = tomllib.loads(render_tables(("jobs", "web"), values))

    assert without_dollars(read["jobs"]["web"]) == values


@given(st.text("${}A", max_size=10))
def test_no_variable_is_made(text: str) -> None:
    read = tomllib.loads(render_tables(("t",), {"key": text}))

    assert expand(read["t"]["key"], {}) == text


def test_shell_variables_are_left_as_they_are() -> None:
    assert render_tables(("t",), {"a": "echo $HOME"}) == '[t]\na = "echo $HOME"\n'


def test_long_table_is_one_of_its_own() -> None:
    env = {"A": "x" * 100}

    text = render_tables(("jobs", "web"), {"env": env, "grace": 10, "ulimits": {}})

    value = "x" * 100
    assert text == f'[jobs.web]\ngrace = 10\nulimits = {{}}\n\n[jobs.web.env]\nA = "{value}"\n'


@pytest.mark.parametrize(
    ("key", "shown"), [("a-b_1", "a-b_1"), ("a.b", '"a.b"'), ("", '""'), ('"', r'"\""')]
)
def test_keys_are_quoted_where_they_must_be(key: str, shown: str) -> None:
    assert render_tables(("t",), {key: 1}) == f"[t]\n{shown} = 1\n"
