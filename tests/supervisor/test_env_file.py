import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.env_file import parse_env_file


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", {}),
        ("\n \n\t\n", {}),
        ("# A=1\n  ; B=2\n", {}),
        ("A=1", {"A": "1"}),
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("A=1\nA=2\n", {"A": "2"}),
        ("  A = 1  \n", {"A": "1"}),
        ("export A=1\nexport\tB=2", {"A": "1", "B": "2"}),
        ("export=1", {"export": "1"}),
        ("A=\nB=2", {"A": "", "B": "2"}),
        ("A=''\nB=\"\"", {"A": "", "B": ""}),
        ("A=a b  c", {"A": "a b  c"}),
        ("A=1 # one", {"A": "1"}),
        ("A=1# one", {"A": "1# one"}),
        ("A=# none", {"A": "# none"}),
        ("A='1' # one", {"A": "1"}),
        ("A= # none", {"A": ""}),
        ("A=a=b", {"A": "a=b"}),
        ("A=it's", {"A": "it's"}),
        ("A=$B ${C} %d;", {"A": "$B ${C} %d;"}),
        ("A='$B \\n # '", {"A": "$B \\n # "}),
        (r'A="a\tb\n\"\\\$\`\q"', {"A": 'a\tb\n"\\$`\\q'}),
        ("A=\"one\ntwo\"\nB='three\n# four'\n", {"A": "one\ntwo", "B": "three\n# four"}),
        ('A="one\\\ntwo"', {"A": "onetwo"}),
        ("a.b-c_1=ä", {"a.b-c_1": "ä"}),
        ("A=\\x", {"A": "\\x"}),
    ],
)
def test_variables_are_read(text: str, variables: dict[str, str]) -> None:
    assert parse_env_file(text, {}) == variables


def test_name_alone_takes_the_callers_value_if_there_is_one() -> None:
    assert parse_env_file("A\nexport B\nC\n", {"A": "1", "B": "2"}) == {"A": "1", "B": "2"}


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("A=1\n=2", "2: must be NAME=VALUE, not '=2'"),
        ("1A=2", "1: must be NAME=VALUE, not '1A=2'"),
        ("\n\nA B", "3: must be NAME=VALUE, and what has spaces in quotes, not 'A B'"),
        ("A='1' 2", "1: must be NAME=VALUE, and what has spaces in quotes, not \"A='1' 2\""),
        ("A='1'2", "1: must be NAME=VALUE, and what has spaces in quotes, not \"A='1'2\""),
        ("A=1\nB='2\nC=3", '2: must have a second quote, not "\'2"'),
        ('A="1\\"', "1: must have a second quote, not '\"1\\\\\"'"),
        ("A=\0", "1: must not contain a NUL byte, not 'A=\\x00'"),
        (
            "A" * 100 + " b",
            f"1: must be NAME=VALUE, and what has spaces in quotes, not '{'A' * 60}'",
        ),
    ],
)
def test_what_is_no_assignment_is_refused_with_its_line(text: str, mistake: str) -> None:
    with pytest.raises(ValueError, match=r"^\d") as caught:
        parse_env_file(text, {})

    assert str(caught.value) == mistake


@given(value=st.text().filter(lambda value: "\0" not in value and "\r" not in value))
def test_any_value_can_be_quoted(value: str) -> None:
    quoted = value
    for special in '\\"$`':
        quoted = quoted.replace(special, f"\\{special}")

    assert parse_env_file(f'A="{quoted}"\nB=2', {}) == {"A": value, "B": "2"}


@given(text=st.text("A=1'\"\\ \n#;\tx"))
def test_any_text_is_variables_or_a_value_error(text: str) -> None:
    try:
        variables = parse_env_file(text, {})
    except ValueError as error:
        line = int(str(error).partition(":")[0])
        assert 1 <= line <= text.count("\n") + 1
    else:
        assert all(variables)
