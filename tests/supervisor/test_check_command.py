from pathlib import Path

import pytest

from tests.configs import write_config
from tests.conftest import Mocker
from tests.requirements import requires_busybox

SLEEPER = '[jobs.{0}]\nrootfs = "host"\ncommand = "/bin/sleep 1000"\n'


@pytest.mark.parametrize(
    ("names", "summary"), [("a", "ok, 1 job"), ("ab", "ok, 2 jobs"), ("abc", "ok, 3 jobs")]
)
def test_file_without_a_mistake_is_ok(
    mocker: Mocker, tmp_path: Path, names: str, summary: str
) -> None:
    path = write_config(tmp_path, "".join(map(SLEEPER.format, names)))

    result = mocker("check", str(path))

    assert (result.stdout, result.stderr) == (f"{path}: {summary}\n", "")
    assert result.returncode == 0


@requires_busybox
def test_mistakes_of_the_file_and_of_the_host_are_told_in_one_go(
    mocker: Mocker, tmp_path: Path
) -> None:
    write_config(
        tmp_path,
        """
        [jobs.web]
        command = "nosuch"
        env = { PATH = "/bin" }
        user = "me"
        volumes = ["site:/srv"]
        [jobs.db]
        command = "true"
        grace = -1
        """,
    )

    result = mocker("check", "jobs.toml", cwd=tmp_path)

    assert result.stderr.splitlines() == [
        "jobs.toml:2: jobs.web.command: cannot execute 'nosuch': "
        "it is in no directory of the container's PATH, /bin",
        "jobs.toml:4: jobs.web.user: there is no user 'me' in the container's /etc/passwd",
        f"jobs.toml:5: jobs.web.volumes[0]: cannot find '{tmp_path}/site': "
        "No such file or directory (ENOENT)",
        "jobs.toml:8: jobs.db.grace: must be a duration such as '500ms', '10s' or '2m', not -1",
    ]
    assert (result.stdout, result.returncode) == ("", 2)


def test_cycle_is_told_with_its_path(mocker: Mocker, tmp_path: Path) -> None:
    path = write_config(
        tmp_path,
        """
        [defaults]
        rootfs = "host"
        command = "/bin/true"
        [jobs.a]
        depends_on = { b = "started" }
        [jobs.b]
        depends_on = { c = "started" }
        [jobs.c]
        depends_on = { a = "started" }
        """,
    )

    result = mocker("check", str(path))

    assert result.stderr == (
        f"{path}:5: jobs.a.depends_on: must have no cycle, and has a -> b -> c -> a\n"
    )
    assert result.returncode == 2


def test_every_file_is_checked(mocker: Mocker, tmp_path: Path) -> None:
    good = write_config(tmp_path, SLEEPER.format("a"), "good.toml")
    bad = write_config(tmp_path, "", "bad.toml")

    result = mocker("check", str(bad), str(good))

    assert result.stdout == f"{good}: ok, 1 job\n"
    assert result.stderr.startswith(f"{bad}: there are no jobs")
    assert result.returncode == 2


def test_variables_are_those_of_the_caller(mocker: Mocker, tmp_path: Path) -> None:
    path = write_config(tmp_path, SLEEPER.format("a") + 'env = { A = "${MOCKER_TEST}" }\n')

    assert mocker("check", str(path)).returncode == 2
    assert mocker("check", str(path), env={"MOCKER_TEST": "1"}).returncode == 0


def test_file_that_is_not_there_is_a_sentence(mocker: Mocker) -> None:
    result = mocker("check", "nosuch.toml")

    assert result.stderr == "nosuch.toml: cannot be read: No such file or directory (ENOENT)\n"
    assert result.returncode == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "a file is needed"),
        (["--"], "a file is needed"),
        (["--nosuch", "a"], "unknown option '--nosuch'"),
        (["a", "-x"], "unknown option '-x'"),
    ],
)
def test_wrong_usage_is_a_sentence(mocker: Mocker, words: list[str], sentence: str) -> None:
    result = mocker("check", *words)

    assert result.stderr == f"mocker check: {sentence}; see 'mocker check --help'\n"
    assert result.returncode == 2


def test_file_may_begin_with_a_dash(mocker: Mocker, tmp_path: Path) -> None:
    write_config(tmp_path, SLEEPER.format("a"), "-a.toml")

    assert mocker("check", "--", "-a.toml", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_says_how_it_is_used(mocker: Mocker, word: str) -> None:
    result = mocker("check", word)

    assert result.stdout.startswith("usage: mocker check FILE...\n")
    assert result.returncode == 0


def test_nothing_is_started(mocker: Mocker, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = f'[jobs.a]\nisolate = false\ncommand = ["/bin/sh", "-c", "echo > {mark}"]\n'

    result = mocker("check", str(write_config(tmp_path, text)))

    assert (result.stderr, result.returncode) == ("", 0)
    assert not mark.exists()
