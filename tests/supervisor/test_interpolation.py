import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.interpolation import Expanded, expand, expand_all
from mocker.supervisor.mistakes import ToldError
from tests.configs import make_place

VARIABLES = {"NAME": "value", "EMPTY": "", "_x1": "under", "DOLLAR": "${NAME} $$"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("", ""),
        ("plain", "plain"),
        ("${NAME}", "value"),
        ("a${NAME}b${_x1}c", "avaluebunderc"),
        ("${EMPTY}", ""),
        ("${NAME:-default}", "value"),
        ("${EMPTY:-default}", "default"),
        ("${NOSUCH:-}", ""),
        ("${NOSUCH:-a:-b $ c}", "a:-b $ c"),
        ("${DOLLAR}", "${NAME} $$"),
        ("$$", "$"),
        ("$${NAME}", "${NAME}"),
        ("$$${NAME}", "$value"),
        ("$$$$", "$$"),
        ("$HOME $1 $(date) $", "$HOME $1 $(date) $"),
    ],
)
def test_variables_are_replaced(text: str, expanded: str) -> None:
    assert expand(text, VARIABLES) == expanded


def test_undefined_variable_is_a_mistake_that_says_what_helps() -> None:
    with pytest.raises(ValueError, match=r"^variable NOSUCH is not defined; .* gives it a default"):
        expand("a ${NOSUCH}", VARIABLES)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("a ${x%y} b", "'${x%y}'"),
        ("${}", "'${}'"),
        ("${1}", "'${1}'"),
        ("${#x}", "'${#x}'"),
        ("${x-y}", "'${x-y}'"),
        ("${a b}", "'${a b}'"),
        ("${ä}", "'${ä}'"),
        ("${a:-${b}}", "'${a:-${b}'"),
        ("${NAME", "'${NAME'"),
        ("${", "'${'"),
    ],
)
def test_what_a_shell_would_understand_is_a_mistake(text: str, quoted: str) -> None:
    with pytest.raises(ValueError, match="must have variables as") as caught:
        expand(text, VARIABLES)

    assert quoted in str(caught.value)


@pytest.mark.parametrize(
    ("text", "may_be_a_number"), [("8080", False), ("$$8", False), ("${NOSUCH:-8080}", True)]
)
def test_text_that_had_a_variable_is_marked(text: str, may_be_a_number: bool) -> None:
    assert isinstance(expand(text, VARIABLES), Expanded) == may_be_a_number


def test_strings_are_expanded_wherever_they_are() -> None:
    value = {"${NAME}": ["${NAME}", {"a": "$$"}, 1, True, None], "b": 1.5}

    expanded = expand_all(value, VARIABLES, make_place("jobs"))

    assert expanded == {"${NAME}": ["value", {"a": "$"}, 1, True, None], "b": 1.5}


def test_each_mistake_is_noted_at_its_place() -> None:
    place = make_place("env")

    with pytest.raises(ToldError):
        expand_all({"a": "${A}", "b": ["x", "${B"], "c": "ok"}, {}, place)

    first, second = place.mistakes.render()
    assert first.startswith("/srv/jobs.toml: env.a: variable A is not defined")
    assert second.startswith("/srv/jobs.toml: env.b[1]: must have variables as")


@given(text=st.text(), name=st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True))
def test_any_text_comes_through_if_its_dollars_are_doubled(text: str, name: str) -> None:
    assert expand(text.replace("$", "$$"), {}) == text
    assert expand(f"${{{name}}}", {name: text}) == text


@given(text=st.text("${}:-aA_ "))
def test_any_text_is_expanded_or_a_value_error(text: str) -> None:
    try:
        assert isinstance(expand(text, VARIABLES), str)
    except ValueError as error:
        assert "variable" in str(error)  # noqa: PT017
