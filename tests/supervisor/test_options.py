import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.isolation import SpecError
from mocker.supervisor.options import Option, parse_options, render_options

OPTIONS = (
    Option("-v --volume", "SRC:DST", "show a directory"),
    Option("--name", "NAME", "name it"),
    Option("-i --interactive", "", "accepted"),
    Option("-t --tty", "", "accepted"),
    Option("--read-only", "", "forbid writing"),
)


def parse(*words: str) -> tuple[dict[str, list[str]], list[str]]:
    parsed = parse_options(words, OPTIONS)
    names = [option.names[-1] for option in OPTIONS]
    return {name: parsed.all(name) for name in names if parsed.has(name)}, list(parsed.words)


@pytest.mark.parametrize(
    ("words", "values", "rest"),
    [
        ([], {}, []),
        (["echo", "hi"], {}, ["echo", "hi"]),
        (["--name", "web", "echo"], {"--name": ["web"]}, ["echo"]),
        (["--name=web", "echo"], {"--name": ["web"]}, ["echo"]),
        (["--name=", "echo"], {"--name": [""]}, ["echo"]),
        (["--name", "", "echo"], {"--name": [""]}, ["echo"]),
        (["--name=a=b", "echo"], {"--name": ["a=b"]}, ["echo"]),
        (["--name", "--tty", "echo"], {"--name": ["--tty"]}, ["echo"]),
        (["--name", "--", "echo"], {"--name": ["--"]}, ["echo"]),
        (["-v", "/a:/b", "echo"], {"--volume": ["/a:/b"]}, ["echo"]),
        (["-v/a:/b", "echo"], {"--volume": ["/a:/b"]}, ["echo"]),
        (["-v=/a:/b", "echo"], {"--volume": ["/a:/b"]}, ["echo"]),
        (["-v", "1", "--volume", "2", "-v3"], {"--volume": ["1", "2", "3"]}, []),
        (["-i", "-t", "sh"], {"--interactive": [""], "--tty": [""]}, ["sh"]),
        (["-it", "sh"], {"--interactive": [""], "--tty": [""]}, ["sh"]),
        (
            ["-itv", "/a:/b", "sh"],
            {"--interactive": [""], "--tty": [""], "--volume": ["/a:/b"]},
            ["sh"],
        ),
        (["-itv/a:/b"], {"--interactive": [""], "--tty": [""], "--volume": ["/a:/b"]}, []),
        (["--read-only", "sh"], {"--read-only": [""]}, ["sh"]),
        (["--", "-it"], {}, ["-it"]),
        (["-i", "--", "--", "x"], {"--interactive": [""]}, ["--", "x"]),
        (["echo", "-i", "--name", "--"], {}, ["echo", "-i", "--name", "--"]),
        (["-", "-i"], {}, ["-", "-i"]),
        (["", "-i"], {}, ["", "-i"]),
    ],
)
def test_words_before_the_command_are_options(
    words: list[str], values: dict[str, list[str]], rest: list[str]
) -> None:
    assert parse(*words) == (values, rest)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nam", "web"], "unknown option '--nam'; did you mean '--name'?"),
        (["--nmae=web"], "unknown option '--nmae'; did you mean '--name'?"),
        (["--readonly"], "unknown option '--readonly'; did you mean '--read-only'?"),
        (["--xyzzy"], "unknown option '--xyzzy'; see 'mocker run --help'"),
        (["-x"], "unknown option '-x'"),
        (["-ix"], "unknown option '-x'"),
        (["-i-"], "unknown option '-' in '-i-'"),
        (["-i--name"], "unknown option '-' in '-i--name'"),
        (["---"], "unknown option '---'"),
        (["--=x"], "unknown option '--'"),
        (["--name"], "--name needs a value, NAME"),
        (["-v"], "-v needs a value, SRC:DST"),
        (["-iv"], "-v needs a value, SRC:DST"),
        (["--tty=yes"], "--tty takes no value, not 'yes'"),
        (["--tty="], "--tty takes no value, not ''"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(SpecError) as info:
        parse(*words)

    assert str(info.value).startswith(message)


def test_last_value_counts_where_one_is_wanted() -> None:
    parsed = parse_options(["--name", "a", "--name", "b"], OPTIONS)

    assert (parsed.last("--name", "x"), parsed.maybe("--name")) == ("b", "b")


def test_option_that_was_not_given_has_its_default() -> None:
    parsed = parse_options(["echo"], OPTIONS)

    assert (parsed.last("--name", "x"), parsed.maybe("--name"), parsed.all("--name")) == (
        "x",
        None,
        [],
    )
    assert not parsed.has("--name")


@pytest.mark.slow
@given(st.lists(st.text("-vit=n ", max_size=4) | st.sampled_from(["--name", "--tty", "--", "x"])))
def test_any_words_are_understood_or_refused(words: list[str]) -> None:
    try:
        _, rest = parse(*words)
    except SpecError:
        return

    assert rest == words[len(words) - len(rest) :]


def test_help_has_every_option_with_its_value_and_its_text() -> None:
    lines = render_options(OPTIONS).splitlines()

    assert lines[0].split() == ["-v,", "--volume", "SRC:DST", "show", "a", "directory"]
    assert [line.split()[0] for line in lines] == ["-v,", "--name", "-i,", "-t,", "--read-only"]


def test_help_fits_on_a_terminal() -> None:
    options = [Option("-l --long-option", "A-LONG-METAVAR-INDEED", "word " * 40)]

    lines = render_options(options).splitlines()

    assert lines[0] == "  -l, --long-option A-LONG-METAVAR-INDEED"
    assert max(map(len, lines)) <= 100
    assert len({len(line) - len(line.lstrip()) for line in lines[1:]}) == 1
    assert " ".join(lines[1:]).split() == ["word"] * 40
