import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pytest

from mocker.isolation import ContainerSpec, ForkServer, Limits, SetupError, spawn
from mocker.isolation.delegation import Delegation, find_delegation, find_place, make_cgroup
from mocker.isolation.syscalls import MS_BIND, MS_RDONLY, PR_SET_DUMPABLE, mount, prctl
from tests.cgroups import (
    HIERARCHY,
    ROOT,
    enter,
    in_own_tree,
    own_tree,
    read_cgroup,
    see_version_2_alone,
)
from tests.containers import in_container
from tests.in_namespaces import run_in_child

USER = 7777
MS_REMOUNT = 0x20

T = TypeVar("T")


def delegate(cgroup: Path, uid: int = 0) -> None:
    """Do what systemd does for a unit with Delegate=yes."""
    cgroup.mkdir(parents=True, exist_ok=True)
    os.setxattr(cgroup, "user.delegate", b"1")
    own(cgroup, uid)


def own(cgroup: Path, uid: int) -> None:
    for path in (cgroup, *(cgroup / f"cgroup.{name}" for name in ("procs", "subtree_control"))):
        os.chown(path, uid, uid)


def find_from(
    cgroup: Path, find: Callable[[], T], uid: int = 0, prepare: Callable[[], object] = bool
) -> T:
    """Return what is found by a process that is in a cgroup, as seen from outside."""

    def act() -> T:
        see_version_2_alone()
        prepare()
        enter(Path(seen(cgroup)))
        if uid:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            prctl(PR_SET_DUMPABLE, 1)  # lost with root's ID; who is not can't be given IDs
        return find()

    return run_in_child(act)


def find() -> tuple[str, str]:
    """Return where cgroups may be made, and where this process is then."""
    return find_delegation().path, read_cgroup(os.getpid())


def seen(path: Path) -> str:
    """Return what a process that sees version 2 alone calls a cgroup."""
    return str(ROOT / path.relative_to(HIERARCHY))


@in_own_tree
@pytest.mark.parametrize("uid", [0, USER])
def test_cgroup_that_systemd_has_delegated_is_taken(uid: int) -> None:
    with own_tree() as tree:
        unit = tree / "web.service"
        delegate(unit, uid)

        place, inside = find_from(unit, find, uid)

        assert place == seen(unit)
        assert inside == f"/{unit.relative_to(HIERARCHY)}/mocker"


@in_own_tree
@pytest.mark.parametrize("name", ["mocker", "subgroup"])
def test_who_is_below_a_delegated_cgroup_takes_that(name: str) -> None:
    with own_tree() as tree:
        unit = tree / "web.service"
        delegate(unit)
        (unit / name).mkdir()

        place, inside = find_from(unit / name, find)

        assert place == seen(unit)
        assert inside == f"/{unit.relative_to(HIERARCHY)}/{name}"


@in_own_tree
def test_unit_below_a_delegated_cgroup_is_not_delegated_itself() -> None:
    with own_tree() as tree:
        manager, unit = tree / "user@1.service", tree / "user@1.service" / "web.service"
        delegate(manager)
        unit.mkdir()

        place, _ = find_from(unit, find)

        assert place == seen(unit)


def boot() -> None:
    """Let it look as if systemd had booted the machine, and had no manager for the caller."""
    Path("/run/systemd/system").mkdir(parents=True)


@in_own_tree
@pytest.mark.parametrize("below", ["", "mocker"])
def test_who_is_limited_stays_below_that(below: str) -> None:
    with own_tree() as tree:
        unit = tree / "web.service"
        delegate(unit)
        job = unit / "mocker-1-2"
        (job / below).mkdir(parents=True)

        place, _ = find_from(job / below, find, prepare=boot)

        assert place == seen(job)


@in_own_tree
@pytest.mark.parametrize("uid", [0, USER])
def test_without_systemd_the_own_cgroup_is_taken_where_it_may_be_written(uid: int) -> None:
    with own_tree() as tree:
        plain = tree / "plain"
        plain.mkdir()
        own(plain, uid)

        place, inside = find_from(plain, find, uid)

        assert place == seen(plain)
        assert inside == f"/{plain.relative_to(HIERARCHY)}/mocker"


@in_own_tree
def test_cgroup_that_systemd_has_not_delegated_is_systemds() -> None:
    with own_tree() as tree:
        unit = tree / "session.scope"
        unit.mkdir()

        with pytest.raises(SetupError) as caught:
            find_from(unit, find, prepare=boot)

    assert caught.value.hint == (
        f"{seen(unit)} is not delegated to user 0; start mocker with systemd-run --scope "
        "-p Delegate=yes, or from a unit that has Delegate=yes"
    )


@in_own_tree
def test_cgroups_that_are_read_only_are_refused_as_such() -> None:
    def find_it() -> tuple[str, str]:
        mount("none", str(ROOT), "", MS_BIND | MS_REMOUNT | MS_RDONLY)
        return find()

    with own_tree() as tree:
        (tree / "plain").mkdir()

        with pytest.raises(SetupError, match="/sys/fs/cgroup is read-only here, as in a container"):
            find_from(tree / "plain", find_it)


@in_own_tree
def test_cgroup_of_somebody_else_is_refused_with_the_way_to_get_one() -> None:
    with own_tree() as tree:
        unit = tree / "session.scope"
        unit.mkdir()

        with pytest.raises(SetupError) as caught:
            find_from(unit, find, USER)

    assert str(caught.value) == (
        f"cannot limit a container; {seen(unit)} is not delegated to user {USER}; start mocker "
        "with systemd-run --user --scope -p Delegate=yes, or from a unit that has Delegate=yes"
    )


@in_own_tree
def test_attribute_alone_does_not_delegate() -> None:
    with own_tree() as tree:
        unit = tree / "web.service"
        delegate(unit)

        with pytest.raises(SetupError, match=f"is not delegated to user {USER}"):
            find_from(unit, find, USER)


@in_own_tree
def test_place_is_found_without_any_effect() -> None:
    with own_tree() as tree:
        unit = tree / "web.service"
        delegate(unit)

        assert find_from(unit, find_place) == (seen(unit), "")

        assert not (unit / "mocker").exists()


@in_own_tree
def test_what_ended_processes_have_left_is_removed_and_nothing_else() -> None:
    with own_tree() as tree:
        unit = tree / "web.service"
        delegate(unit)
        for name in ("mocker-999999999-1", f"mocker-{os.getpid()}-1", "mocker-x", "other"):
            (unit / name).mkdir()

        find_from(unit, find)

        left = {path.name for path in unit.iterdir() if path.is_dir()}
        assert left == {"mocker", f"mocker-{os.getpid()}-1", "mocker-x", "other"}


@in_own_tree
@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(memory=2**25), "the controller memory in "),
        (Limits(cpus=1, pids=9, io_weight=1), "the controllers cpu, io, pids in "),
    ],
)
def test_limit_without_its_controller_is_refused(limits: Limits, words: str) -> None:
    with own_tree() as tree:
        (tree / "plain").mkdir()  # for which its parent has enabled nothing

        with pytest.raises(SetupError, match=rf"without {words}.*/plain; it has none; "):
            find_from(tree / "plain", lambda: make_cgroup(limits))


@in_own_tree
@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no cgroups are mounted on /sys/fs/cgroup; mount cgroup2 there"),
        (["memory/tasks"], "this host has version 1 of cgroups alone; boot with systemd.unified"),
        (
            ["memory/tasks", "unified/cgroup.controllers"],
            r"version 1 of cgroups has the controllers of this host \(hybrid\); boot with systemd",
        ),
        (["cgroup.controllers"], "its own cgroup, .*, is out of sight; mount cgroup2 on .* anew"),
    ],
    ids=["none", "v1", "hybrid", "elsewhere"],
)
def test_host_that_has_nothing_to_limit_with_is_told_apart(files: list[str], message: str) -> None:
    def look() -> None:
        see_version_2_alone()
        enter(ROOT / tree.name)
        mount("none", str(ROOT), "tmpfs")
        for name in files:
            (ROOT / name).parent.mkdir(exist_ok=True)
            (ROOT / name).touch()
        find_place()

    with (
        own_tree() as tree,
        pytest.raises(SetupError, match=f"^cannot limit a container; {message}"),
    ):
        run_in_child(look)


@in_own_tree
def test_two_cgroups_have_two_names() -> None:
    with own_tree() as tree:
        delegation = Delegation(str(tree), ())
        (tree / f"mocker-{os.getpid()}-2").mkdir()

        made = [delegation.make_cgroup(Limits()) for _ in range(2)]

        names = [Path(cgroup.path).name for cgroup in made]
        assert names == [f"mocker-{os.getpid()}-1", f"mocker-{os.getpid()}-3"]
        for cgroup in made:
            cgroup.remove()


@in_own_tree
@in_container
@pytest.mark.parametrize("uid", [0, USER])
@pytest.mark.parametrize("server", [False, True])
def test_container_is_made_where_its_cgroup_may_be(uid: int, server: bool) -> None:
    def make() -> str:
        spec = ContainerSpec(["sleep", "1000"], limits=Limits())
        null = os.open(os.devnull, os.O_RDWR)
        with ExitStack() as stack:
            make_one = stack.enter_context(ForkServer()).spawn if server else spawn
            container = stack.enter_context(make_one(spec, stdin=null, stdout=null, stderr=null))
            return read_cgroup(container.pid)

    with own_tree() as tree:
        unit = tree / "web.service"
        delegate(unit, uid)

        place = find_from(unit, make, uid)

        assert place.startswith(f"/{unit.relative_to(HIERARCHY)}/mocker-")
        assert [path.name for path in unit.iterdir() if path.is_dir()] == ["mocker"]


@in_own_tree
@in_container
@pytest.mark.parametrize("server", [False, True])
def test_container_that_is_refused_leaves_no_cgroup(server: bool) -> None:
    def make() -> None:
        with ExitStack() as stack:
            make_one = stack.enter_context(ForkServer()).spawn if server else spawn
            with pytest.raises(SetupError, match="hand on descriptor 9999"):
                make_one(ContainerSpec(["true"], limits=Limits()), stdin=9999)

    with own_tree() as tree:
        unit = tree / "web.service"
        delegate(unit)

        find_from(unit, make)

        assert [path.name for path in unit.iterdir() if path.is_dir()] == ["mocker"]
