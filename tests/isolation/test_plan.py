import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given

from mocker.isolation import (
    ContainerSpec,
    Rlimit,
    SetupError,
    Tmpfs,
    Volume,
    describe,
)
from mocker.isolation.plan import make_plan
from tests.containers import in_container, make_spec, run_captured, script
from tests.leaks import read_children, read_descriptors
from tests.requirements import requires_busybox, requires_root, requires_user
from tests.specs import specs


@pytest.fixture
def file() -> Iterator[Path]:
    """An empty file that everybody may read."""
    with tempfile.NamedTemporaryFile(prefix="plan-") as file:
        yield Path(file.name)


def actions(**fields: object) -> list[str]:
    """Return the steps of a container, as they are described."""
    return list(describe(make_spec(**{"rootfs": "host", **fields})))


def state() -> tuple[object, ...]:
    """Return what a plan that did something would have changed."""
    mask = os.umask(0)
    os.umask(mask)
    here = Path.cwd()
    mounts = Path("/proc/self/mountinfo").read_text()
    files = sorted(here.iterdir())
    return mounts, read_descriptors(), read_children(), socket.gethostname(), mask, here, files


@pytest.mark.slow
@requires_busybox
@given(spec=specs())
def test_every_container_can_be_described_and_nothing_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: ContainerSpec
) -> None:
    monkeypatch.chdir(tmp_path)
    before = state()

    lines = describe(spec)

    assert state() == before
    assert all(line.strip() for line in lines)
    assert lines[spec.limits is not None].startswith("create namespaces: ")
    assert lines[-1].startswith("execute ")


@pytest.mark.slow
@requires_busybox
@given(spec=specs())
def test_hosts_root_is_let_go_of_last_of_all(spec: ContainerSpec) -> None:
    steps = make_plan(spec).steps

    assert [step.path for step in steps if "the only root" in step.action] == ["/"]
    assert "the only root" in steps[-1].action


@pytest.mark.slow
@requires_busybox
@given(spec=specs())
def test_every_step_is_described_in_the_order_in_which_it_is_done(
    spec: ContainerSpec,
) -> None:
    lines, steps = describe(spec), [str(step) for step in make_plan(spec).steps]

    start = lines.index(steps[0])
    assert list(lines[start : start + len(steps)]) == steps


def test_description_names_what_was_asked_for(tmp_path: Path) -> None:
    lines = actions(
        argv=["echo", "a b"],
        hostname="web",
        volumes=[Volume(str(tmp_path), "/data"), Volume("/usr", "/ro", read_only=True)],
        tmpfs=[Tmpfs("/scratch", 4096)],
        workdir="/srv",
        user="ann:users",
        rlimits=[Rlimit("core", 0)],
        terminal=True,
    )

    for line in (
        "set the host name to web",
        f"bind {tmp_path} on /data",
        "bind /usr read-only on /ro",
        "mount tmpfs on /scratch",
        "make the directory /srv",
        "open a terminal on /dev/pts/0",
        "set the limit core to 1:1",
        "become user ann:users in /srv",
        "execute 'echo' 'a b'",
    ):
        assert line in lines


def test_parents_are_mounted_before_what_lies_below_them() -> None:
    lines = actions(
        volumes=[Volume("/usr", "/a/b/c"), Volume("/usr", "/x/y")],
        tmpfs=[Tmpfs("/a"), Tmpfs("/a/b"), Tmpfs("/x")],
    )

    order = [line.rpartition(" on ")[2] for line in lines]
    assert order.index("/a") < order.index("/a/b") < order.index("/a/b/c")
    assert order.index("/x") < order.index("/x/y")


def test_mount_points_are_made_before_the_root_forbids_writing() -> None:
    lines = actions(
        read_only=True,
        volumes=[Volume("/etc/passwd", "/a/file")],
        tmpfs=[Tmpfs("/b")],
        workdir="/c",
    )

    forbidden = lines.index("forbid writing to /")
    for made in (
        "make the file /a/file",
        "make the directory /b",
        "make the directory /c",
    ):
        assert lines.index(made) < forbidden
    for mounted in ("bind /etc/passwd on /a/file", "mount tmpfs on /b", "mount proc on /proc"):
        assert lines.index(mounted) > forbidden


@pytest.mark.parametrize(
    ("fields", "present", "absent"),
    [
        ({}, "bring lo up", "forbid writing to /\n"),
        ({"network": "host"}, "bind the host's /sys read-only", "bring lo up"),
        ({"read_only": True}, "forbid writing to /\n", "open a terminal"),
    ],
)
def test_step_is_there_just_if_it_is_needed(
    fields: dict[str, object], present: str, absent: str
) -> None:
    text = "\n".join(actions(**fields))

    assert present in text
    assert absent not in text


@requires_root
def test_mounts_are_kept_from_the_host_where_no_user_namespace_does() -> None:
    lines = actions(userns="host")

    assert lines.index("make the host's mounts slaves on /") < lines.index("mount proc on /proc")
    assert not any(line.startswith("map users") for line in lines)


@requires_user
def test_only_root_may_share_the_users_of_the_host() -> None:
    with pytest.raises(SetupError, match="user namespace; only root may do that"):
        actions(userns="host")


def test_missing_source_of_a_volume_is_named() -> None:
    with pytest.raises(SetupError, match=r"volume source /no/such/dir: .*\(ENOENT\)"):
        actions(volumes=[Volume("/no/such/dir", "/data")])


@pytest.mark.parametrize(("rootfs", "workdir"), [("host", None), ("/usr", "/"), ("host", "/srv")])
def test_command_starts_where_the_caller_is_if_that_is_in_view(
    monkeypatch: pytest.MonkeyPatch, rootfs: str, workdir: str | None
) -> None:
    monkeypatch.chdir("/etc")
    asked = workdir if rootfs == "host" else None

    spec = ContainerSpec(["true"], rootfs=rootfs, workdir=asked)

    assert make_plan(spec).workdir == (workdir or "/etc")


def test_command_of_a_caller_whose_directory_is_gone_starts_at_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()

    plan = make_plan(ContainerSpec(["true"], rootfs="host"))

    monkeypatch.undo()
    assert plan.workdir == "/"


@pytest.mark.parametrize(
    ("user", "lines"),
    [(None, ["start in /"]), ("nobody", ["become user nobody in /"])],
)
def test_process_without_a_container_is_described_as_such(
    user: str | None, lines: list[str]
) -> None:
    init = "start the init: it forwards signals and reaps"

    described = actions(isolate=False, network="host", seccomp="unconfined", user=user, workdir="/")

    assert described == [init, *lines, "execute 'true'"]


@in_container
def test_step_that_fails_is_named_as_it_was_described(file: Path) -> None:
    spec = script("true", volumes=[Volume("/usr", "/etc/hostname")])
    described = [line for line in describe(spec) if line.endswith("on /etc/hostname")]

    with pytest.raises(SetupError) as info:
        run_captured(spec)

    assert str(info.value) == f"cannot {described[0]}: Not a directory (ENOTDIR)"


@in_container
@pytest.mark.parametrize("read_only", [True, False])
def test_volume_file_and_tmpfs_are_where_they_should_be(file: Path, read_only: bool) -> None:
    file.write_text("from outside")
    volumes = [Volume(str(file), "/deep/er/file", read_only=read_only)]
    text = "cat /deep/er/file; echo changed >/deep/er/file; touch /deep/tmp/x; df -k /deep/tmp"

    outcome = run_captured(
        script(text, volumes=volumes, tmpfs=[Tmpfs("/deep/tmp", 2**20)], read_only=True)
    )

    assert outcome.stdout.startswith("from outside")
    assert outcome.stdout.splitlines()[-1].split()[1] == "1024"
    assert file.read_text() == ("from outside" if read_only else "changed\n")


@in_container
def test_volume_in_a_tmpfs_and_tmpfs_in_a_volume(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    volumes = [Volume(str(tmp_path), "/top"), Volume("/usr", "/top/inner/usr", read_only=True)]

    outcome = run_captured(
        script("ls /top /top/inner", volumes=volumes, tmpfs=[Tmpfs("/top/inner")])
    )

    assert outcome.stdout.split() == ["/top:", "inner", "/top/inner:", "usr"]
    assert list((tmp_path / "inner").iterdir()) == []


@in_container
@pytest.mark.parametrize("mode", [0o1777, 0o700, 0o4755])
def test_tmpfs_has_its_mode(mode: int) -> None:
    outcome = run_captured(script("stat -c %a /scratch", tmpfs=[Tmpfs("/scratch", mode=mode)]))

    assert outcome.stdout == f"{mode:o}\n"
