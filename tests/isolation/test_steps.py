import os
from pathlib import Path

import pytest

from mocker.isolation.calls import fchdir, perform
from mocker.isolation.mounts import TreeSource
from mocker.isolation.steps import ROOT, Setup, Step
from mocker.isolation.syscalls import Cell
from tests.in_namespaces import InNewNamespaces, run_in_child
from tests.requirements import requires_user_namespaces


def test_step_says_what_it_does_and_where() -> None:
    step = Step("mount proc", "/proc", lambda setup: None)

    assert str(step) == "mount proc on /proc"


def test_step_without_a_place_says_what_it_does() -> None:
    assert str(Step("bring lo up", "", lambda setup: None)) == "bring lo up"


def test_step_hands_its_arguments_on() -> None:
    calls: list[object] = []
    setup = Setup(None, [])

    perform(Step("do", "/x", lambda *arguments: calls.append(arguments), 1, "two").prepare(setup))

    assert calls == [(setup, 1, "two")]


def test_step_that_is_only_described_does_nothing() -> None:
    calls: list[object] = []

    str(Step("do", "/x", calls.append))

    assert calls == []


def test_step_that_is_only_prepared_does_nothing() -> None:
    calls: list[object] = []

    Step("do", "/x", calls.append).prepare(Setup(None, []))

    assert calls == []


def test_step_that_is_known_in_advance_has_its_calls() -> None:
    calls = [fchdir(Cell(0)), fchdir(Cell(1))]

    assert Step("go", "/x", calls=calls).prepare(Setup(None, [])) == calls


def test_new_root_is_where_every_step_finds_it() -> None:
    def act() -> tuple[int, int, int]:
        setup = Setup(None, [])
        before = setup.root_fd
        setup.root_fd = 7
        return before, setup.root_fd, ROOT.value

    assert run_in_child(act) == (-1, 7, 7)


def test_failure_of_a_step_is_the_kernels() -> None:
    step = Step("make a directory", "/x", lambda setup: Path("/proc/x").mkdir())

    with pytest.raises(OSError, match="/proc/x"):
        perform(step.prepare(Setup(None, [])))


def test_tree_is_the_one_that_the_parent_sent() -> None:
    sources = [TreeSource(path, recursive=False, attributes=0) for path in ("/no", "/nor")]

    setup = Setup(None, sources)
    setup.trees = [7, 8]

    assert (setup.open_tree(0), setup.open_tree(1)) == (7, 8)


@requires_user_namespaces
def test_tree_is_opened_by_the_init_where_the_parent_sent_none(
    in_new_namespaces: InNewNamespaces,
) -> None:
    def act() -> bool:
        setup = Setup(None, [TreeSource("/usr", recursive=False, attributes=0)])
        return Path(f"/proc/self/fd/{setup.open_tree(0)}").samefile("/usr")

    assert in_new_namespaces(act)


@requires_user_namespaces
def test_source_goes_below_the_root_by_number_or_by_itself(
    in_new_namespaces: InNewNamespaces,
) -> None:
    def act() -> list[str]:
        source = TreeSource("/usr", recursive=False, attributes=0)
        setup = Setup(None, [source])
        setup.root_fd = os.open("/mnt", os.O_PATH)
        setup.mount_new("/", "tmpfs")
        setup.root_fd = os.open("/mnt", os.O_PATH)
        setup.attach(0, "/by/number")
        setup.attach(source, "/by/itself")
        return sorted(path.name for path in Path("/mnt/by").iterdir() if path.samefile("/usr"))

    assert in_new_namespaces(act) == ["itself", "number"]
