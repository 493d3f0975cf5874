import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.isolation import SpecError
from mocker.supervisor.client.arguments import Command
from mocker.supervisor.options import Option

STOP = Command(
    "stop",
    "JOB...",
    "Stop jobs.",
    [Option("-f --force", "", "whoever needs them"), Option("-t --timeout", "DURATION", "give up")],
    count=range(1, 3),
    more="exit status:\n  0  done",
)


def parse(*words: str) -> tuple[tuple[str, ...], bool, str | None, str | None]:
    parsed = STOP.parse(words)
    which, timeout = parsed.maybe("--supervisor"), parsed.maybe("--timeout")
    return parsed.words, parsed.has("--force"), timeout, which


@pytest.mark.parametrize(
    ("words", "jobs", "force", "timeout", "which"),
    [
        (["web"], ("web",), False, None, None),
        (["-f", "web"], ("web",), True, None, None),
        (["web", "-f"], ("web",), True, None, None),
        (["web", "-t", "3s", "db", "--force"], ("web", "db"), True, "3s", None),
        (["-t1s", "web", "--timeout=2s"], ("web",), False, "2s", None),
        (["--", "-f"], ("-f",), False, None, None),
        (["web", "--", "-f"], ("web", "-f"), False, None, None),
        (["-t", "--", "web", "-f"], ("web", "-f"), False, "--", None),
        (["-t", "--", "-f", "web", "db"], ("web", "db"), True, "--", None),
        (["-", "-f"], ("-",), True, None, None),
        (["web", "-s", "demo"], ("web",), False, None, "demo"),
        (["-s", "/run/x.sock", "web"], ("web",), False, None, "/run/x.sock"),
    ],
)
def test_options_stand_before_and_after_names(
    words: list[str], jobs: tuple[str, ...], force: bool, timeout: str | None, which: str | None
) -> None:
    assert parse(*words) == (jobs, force, timeout, which)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "JOB... is needed"),
        (["-f"], "JOB... is needed"),
        (["a", "b", "c"], "there is no use for 'c'"),
        (["web", "--froce"], "unknown option '--froce'; did you mean '--force'?"),
        (["web", "-x"], "unknown option '-x'; see 'mocker stop --help'"),
        (["web", "-t"], "-t needs a value, DURATION"),
    ],
)
def test_what_it_does_not_take_is_told(words: list[str], reason: str) -> None:
    with pytest.raises(SpecError) as caught:
        STOP.parse(words)

    assert str(caught.value) == reason


@given(st.lists(st.one_of(st.sampled_from(["-f", "-t", "--", "-h", "-tf", "-ft", "-"]), st.text())))
def test_whatever_is_typed_is_understood_or_wrong(words: list[str]) -> None:
    try:
        parsed = STOP.parse(words)
    except SpecError:
        return

    assert set(parsed.words) <= set(words)


def test_who_asks_for_help_needs_no_job() -> None:
    assert STOP.parse(["--help"]).has("--help")


def test_help_shows_what_there_is() -> None:
    assert STOP.render_help() == (
        "usage: mocker stop [OPTIONS] JOB...\n"
        "\n"
        "Stop jobs.\n"
        "\n"
        "options:\n"
        "  -f, --force               whoever needs them\n"
        "  -t, --timeout DURATION    give up\n"
        "  -s, --supervisor NAME|SOCKET\n"
        "                            ask this one (default: MOCKER_SOCKET, or the only one)\n"
        "  -h, --help                print this\n"
        "\n"
        "exit status:\n"
        "  0  done\n"
    )
