import os
from pathlib import Path

import pytest

from mocker.isolation import ContainerSpec, Volume, describe
from mocker.supervisor.run_command import tell
from tests.conftest import Mocker
from tests.containers import in_container


@in_container
def test_command_of_the_container_has_the_callers_descriptors(mocker: Mocker) -> None:
    result = mocker("run", "sh", "-c", "cat; echo err >&2; exit 7", stdin="in\n")

    assert (result.stdout, result.stderr, result.returncode) == ("in\n", "err\n", 7)


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_is_an_answer_and_not_an_error(mocker: Mocker, word: str) -> None:
    result = mocker("run", word)

    assert result.stdout.startswith("usage: mocker run [OPTIONS] COMMAND [ARG...]\n")
    assert max(map(len, result.stdout.splitlines())) <= 100
    assert (result.stderr, result.returncode) == ("", 0)


@in_container
def test_dry_run_prints_the_plan_and_does_nothing(mocker: Mocker, tmp_path: Path) -> None:
    spec = ContainerSpec(["touch", "/data/new"], volumes=[Volume(str(tmp_path), "/data")])

    result = mocker("run", "--dry-run", "-v", f"{tmp_path}:/data", "touch", "/data/new")

    assert tuple(result.stdout.splitlines()) == describe(spec)
    assert (result.stderr, result.returncode) == ("", 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["new\nline", "escape\x1b[31m", "\udcff", "ä"])
@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_dry_run_prints_a_step_a_line_whatever_a_file_is_called(
    mocker: Mocker, tmp_path: Path, name: str, encoding: str
) -> None:
    volume = tmp_path / name
    volume.mkdir()
    words = ["--rootfs", "host", "-v", f"{volume}:/data", "true"]
    env = {**os.environ, "PYTHONIOENCODING": encoding}

    result = mocker("run", "--dry-run", *words, env=env)

    spec = ContainerSpec(["true"], rootfs="host", volumes=[Volume(str(volume), "/data")])
    assert (result.stderr, result.returncode) == ("", 0)
    assert len(result.stdout.splitlines()) == len(describe(spec))
    assert all(char.isprintable() for char in result.stdout.replace("\n", ""))


@pytest.mark.parametrize(
    ("words", "sentence", "code"),
    [
        (["--nosuch", "true"], "mocker run: unknown option '--nosuch'", 2),
        (
            ["--rootfs", "/no\x1bsuch", "true"],
            r"mocker run: cannot open the rootfs /no\x1bsuch",
            125,
        ),
        (
            ["--rootfs", "/no\nsuch", "true"],
            r"mocker run: cannot open the rootfs /no\nsuch",
            125,
        ),
    ],
)
def test_refusal_is_one_line_that_cannot_deceive_a_terminal(
    mocker: Mocker, words: list[str], sentence: str, code: int
) -> None:
    result = mocker("run", *words)

    assert result.stderr.startswith(sentence)
    assert (result.stderr.count("\n"), result.stdout, result.returncode) == (1, "", code)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain ä", "mocker run: plain ä\n"),
        ("two\nlines\r\tand a tab", r"mocker run: two\nlines\r\tand a tab" + "\n"),
        ("\x1b]0;title\x07", r"mocker run: \x1b]0;title\x07" + "\n"),
        ("\u202eright to left", r"mocker run: \u202eright to left" + "\n"),
        ("\udcff", r"mocker run: \udcff" + "\n"),
        ("back\\slash", "mocker run: back\\slash\n"),
    ],
)
def test_sentence_is_told_on_one_line(
    capfd: pytest.CaptureFixture[str], text: str, line: str
) -> None:
    tell(text)

    assert capfd.readouterr() == ("", line)
