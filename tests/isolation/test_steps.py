import os
import socket
from pathlib import Path

import pytest

from mocker.isolation.calls import fchdir
from mocker.isolation.memory import Cell, read_head, walk
from mocker.isolation.mounts import TreeSource
from mocker.isolation.steps import ROOT, Setup, Step
from mocker.isolation.syscalls import MS_BIND, MS_REC, mount
from mocker.isolation.tape import load, make_tape, perform
from tests.in_namespaces import InNewNamespaces, run_in_child
from tests.requirements import requires_user_namespaces


def make_setup(sources: list[TreeSource]) -> Setup:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        return Setup(None, sources, ours)


def test_step_says_what_it_does_and_where() -> None:
    step = Step("mount proc", "/proc", lambda setup: None)

    assert str(step) == "mount proc on /proc"


def test_step_without_a_place_says_what_it_does() -> None:
    assert str(Step("bring lo up", "", lambda setup: None)) == "bring lo up"


def test_step_hands_its_arguments_on() -> None:
    calls: list[object] = []
    step = Step("do", "/x", lambda *arguments: calls.append(arguments), 1, "two")
    tape = make_tape([[step.calls]])

    def act() -> list[object]:
        load(tape, "context")
        walk(read_head(0))
        return calls

    assert run_in_child(act) == [("context", 1, "two")]


def test_step_that_is_only_described_does_nothing() -> None:
    calls: list[object] = []

    str(Step("do", "/x", calls.append))

    assert calls == []


def test_step_that_is_known_in_advance_has_its_calls() -> None:
    calls = [fchdir(Cell(0)), fchdir(Cell(1))]

    assert Step("go", "/x", calls=calls).calls is calls


def test_new_root_is_where_every_step_finds_it() -> None:
    def act() -> tuple[int, int, int]:
        setup = make_setup([])
        before = setup.root_fd
        setup.root_fd = 7
        return before, setup.root_fd, ROOT.value

    assert run_in_child(act) == (-1, 7, 7)


def test_failure_of_a_step_is_the_kernels() -> None:
    step = Step("make a directory", "/x", lambda _setup: Path("/proc/x").mkdir())

    with pytest.raises(OSError, match="/proc/x"):
        perform(step.calls)


def test_tree_is_the_one_that_the_parent_sent() -> None:
    sources = [TreeSource(path, recursive=False, attributes=0) for path in ("/no", "/nor")]

    setup = make_setup(sources)
    setup.trees = [7, 8]

    assert (setup.open_tree(0), setup.open_tree(1)) == (7, 8)


@requires_user_namespaces
def test_tree_is_opened_by_the_init_where_the_parent_sent_none(
    in_new_namespaces: InNewNamespaces,
) -> None:
    def act() -> bool:
        setup = make_setup([TreeSource("/usr", recursive=False, attributes=0)])
        return Path(f"/proc/self/fd/{setup.open_tree(0)}").samefile("/usr")

    assert in_new_namespaces(act)


@requires_user_namespaces
def test_source_goes_below_the_root_by_number_or_by_itself(
    in_new_namespaces: InNewNamespaces,
) -> None:
    def act() -> list[str]:
        source = TreeSource("/usr", recursive=False, attributes=0)
        setup = make_setup([source])
        mount("none", "/mnt", "tmpfs")
        setup.root_fd = os.open("/mnt", os.O_PATH)
        setup.attach(0, "/by/number")
        setup.attach_as_is("/usr", "/by/itself", 0)
        return sorted(path.name for path in Path("/mnt/by").iterdir() if path.samefile("/usr"))

    assert in_new_namespaces(act) == ["itself", "number"]


@requires_user_namespaces
def test_volume_and_tmpfs_go_below_the_root_that_has_proc(
    in_new_namespaces: InNewNamespaces,
) -> None:
    def act() -> tuple[bool, int, int]:
        setup = make_setup([TreeSource("/usr", recursive=False, attributes=0)])
        mount("none", "/mnt", "tmpfs")
        Path("/mnt/proc").mkdir()
        mount("/proc", "/mnt/proc", "", MS_BIND | MS_REC)
        setup.root_fd = os.open("/mnt", os.O_PATH)
        setup.attach_volume(0, "/volume")
        setup.attach_tmpfs("/fresh", (("size", "64k"), ("mode", "0700")))
        fresh = os.statvfs("/mnt/fresh")
        return Path("/mnt/volume").samefile("/usr"), fresh.f_blocks * fresh.f_frsize, fresh.f_flag

    is_there, size, flags = in_new_namespaces(act)

    assert (is_there, size) == (True, 2**16)
    assert flags & os.ST_NOSUID
    assert flags & os.ST_NODEV
