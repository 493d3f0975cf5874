import sys
from importlib.metadata import version
from pathlib import Path

from mocker.supervisor.installed_version import find_version


def test_version_is_that_of_the_metadata() -> None:
    assert find_version(sys.path) == version("mocker-supervise")


def test_version_of_what_is_not_installed_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "mocker_supervised-2.0.dist-info").mkdir()

    assert find_version([str(tmp_path), str(tmp_path / "no.zip"), ""]) == ""


def test_first_on_the_path_counts(tmp_path: Path) -> None:
    for place, number in (("one", "1.0"), ("two", "2.0+local.1")):
        (tmp_path / place / f"mocker_supervise-{number}.dist-info").mkdir(parents=True)

    assert find_version([str(tmp_path / "two"), str(tmp_path / "one")]) == "2.0+local.1"
