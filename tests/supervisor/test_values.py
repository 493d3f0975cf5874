import math
from datetime import date

import pytest

from mocker.supervisor import values
from mocker.supervisor.interpolation import Expanded
from mocker.supervisor.mistakes import MistakeError, ToldError
from mocker.supervisor.values import Parse
from tests.configs import make_place

PLACE = make_place("key")


def refusal(parse: Parse, value: object) -> str:
    with pytest.raises(MistakeError) as caught:
        parse(value, PLACE)
    return str(caught.value)


@pytest.mark.parametrize(
    ("parse", "value", "parsed"),
    [
        (values.parse_text, "ä %;#'\"", "ä %;#'\""),
        (values.parse_path, "a", "/srv/a"),
        (values.parse_path, "/a/../b", "/b"),
        (values.parse_boolean, False, False),
        (values.parse_boolean, Expanded("true"), True),
        (values.parse_duration_value, 0, 0.0),
        (values.parse_duration_value, 1.5, 1.5),
        (values.parse_duration_value, "500ms", 0.5),
        (values.parse_duration_value, Expanded("2"), 2.0),
        (values.parse_name, "web-1.a_b", "web-1.a_b"),
        (values.parse_name, "0" * 63, "0" * 63),
        (values.parse_command, "sh -c 'a  b' ä#%;", ("sh", "-c", "a  b", "ä#%;")),
        (values.parse_command, ["a b", "", "ä"], ("a b", "", "ä")),
        (values.parse_regex, "^a.*$", "^a.*$"),
        (values.whole(1, 3), 3, 3),
        (values.whole(1, 3), Expanded("2"), 2),
        (values.number(0, 1), 1, 1.0),
        (values.number(0, 1), Expanded("0.5"), 0.5),
        (values.one_of("a", "b"), "b", "b"),
        (values.each_of(values.parse_text), ["a", "b"], ("a", "b")),
        (values.each_of(values.parse_text), [], ()),
        (values.one_or_each_of(values.parse_text), "a", ("a",)),
        (values.one_or_each_of(values.parse_text), ["a"], ("a",)),
        (values.table_of({"a": values.parse_text}), {"a": "b"}, {"a": "b"}),
        (values.table_of({"a": values.parse_text}), {}, {}),
        (values.map_of(values.parse_text), {"x": "y"}, {"x": "y"}),
        (values.spec_field("user", values.parse_text), "nobody", "nobody"),
    ],
)
def test_value_is_what_it_means(parse: Parse, value: object, parsed: object) -> None:
    found = parse(value, PLACE)

    assert found == parsed
    assert type(found) is type(parsed)


@pytest.mark.parametrize(
    ("parse", "value", "sentence"),
    [
        (values.parse_text, 1, "must be text, not 1"),
        (values.parse_text, "a\0", "must not contain a NUL byte, as 'a\\x00' does"),
        (values.parse_text, date(2026, 1, 2), "must be text, not 2026-01-02"),
        (values.parse_path, "", "must be a path, not ''"),
        (values.parse_boolean, 1, "must be true or false, not 1"),
        (values.parse_boolean, "true", "must be true or false, not 'true'"),
        (values.parse_boolean, Expanded("yes"), "must be true or false, not 'yes'"),
        (values.parse_duration_value, 400000000, "must be at most ten years, not 400000000"),
        (values.parse_positive_duration, 0, "must be longer than 0"),
        (values.parse_positive_duration, "0ms", "must be longer than 0"),
        (values.parse_command, [], "must name a command"),
        (values.parse_command, "  ", "must name a command"),
        (values.parse_command, ["", "a"], "must name a command"),
        (values.parse_command, "'", "must be words as in a shell, and has no closing quotation"),
        (values.parse_command, 1, "must be text or an array of words, not 1"),
        (values.whole(1, 3), 4, "must be a whole number from 1 to 3, not 4"),
        (values.whole(1, 3), True, "must be a whole number from 1 to 3, not true"),
        (values.whole(1, 3), 2.0, "must be a whole number from 1 to 3, not 2.0"),
        (values.whole(1, 3), "2", "must be a whole number from 1 to 3, not '2'"),
        (values.whole(1, 3), Expanded("2.0"), "must be a whole number from 1 to 3, not '2.0'"),
        (values.whole(1, 3), 10**100, "must be a whole number from 1 to 3, not a huge number"),
        (values.number(0, 1), 1.5, "must be a number from 0 to 1, not 1.5"),
        (values.number(0, 1), math.nan, "must be a number from 0 to 1, not nan"),
        (values.number(0, 1), False, "must be a number from 0 to 1, not false"),
        (values.number(0, 1), "0.5", "must be a number from 0 to 1, not '0.5'"),
        (values.one_of("a", "b"), 1, "must be one of 'a', 'b', not 1"),
        (
            values.one_of("always", "never"),
            "alway",
            "must be one of 'always', 'never', not 'alway'; did you mean 'always'?",
        ),
        (values.each_of(values.parse_text), "a", "must be an array, not 'a'"),
        (values.table_of({}), [], "must be a table, not an array"),
        (values.map_of(values.parse_text), 1, "must be a table, not 1"),
    ],
)
def test_what_it_cannot_mean_is_refused(parse: Parse, value: object, sentence: str) -> None:
    assert refusal(parse, value) == sentence


@pytest.mark.parametrize("value", [-1, -0.5, True, math.nan, -math.inf, [], "ten", Expanded("x")])
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(
        ValueError, match=r"^must be a duration such as '500ms', '10s' or '2m', not"
    ):
        values.parse_duration_value(value, PLACE)


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a/b", "ä", "a\n", "a" * 64, "a:b"])
def test_what_could_be_no_file_or_host_name_is_refused_as_a_name(name: str) -> None:
    assert refusal(values.parse_name, name).startswith("must be 1 to 63 letters")


@pytest.mark.parametrize(
    "text", ["(", "[", "*", "a{999999999999}", "(?P<a>x)(?P<a>y)", "(?R)", "{i}"]
)
def test_what_is_no_regular_expression_is_refused(text: str) -> None:
    assert refusal(values.parse_regex, text).startswith("must be a regular expression: ")


def test_what_no_container_could_have_is_refused() -> None:
    parse = values.spec_field("workdir", values.parse_text)

    assert refusal(parse, "relative") == "workdir must be an absolute path, not 'relative'"


def test_all_mistakes_of_a_table_are_told_at_their_places() -> None:
    place = make_place("jobs")
    parse = values.table_of(
        {"ready": values.each_of(values.parse_text), "alive": values.whole(1, 2)}
    )

    with pytest.raises(ToldError):
        parse({"raedy": 1, "ready": ["a", 1, 2], "alive": 0}, place)

    assert place.mistakes.render() == (
        "/srv/jobs.toml: jobs.raedy: unknown key; did you mean 'ready'?",
        "/srv/jobs.toml: jobs.ready[1]: must be text, not 1",
        "/srv/jobs.toml: jobs.ready[2]: must be text, not 2",
        "/srv/jobs.toml: jobs.alive: must be a whole number from 1 to 2, not 0",
    )


def test_table_that_lacks_keys_is_told_which() -> None:
    with pytest.raises(MistakeError, match=r"^needs b and c$"):
        values.require({"a": 1}, "a", "b", "c")
