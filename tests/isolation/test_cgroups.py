import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mocker.isolation import Limits, SetupError
from mocker.isolation.cgroups import Cgroup, find_weights
from tests.cgroups import (
    KINDS_OF_PRESSURE,
    ROOT,
    own_tree,
    requires_cgroups,
    show_controllers,
    show_disk,
)
from tests.containers import wait_readable
from tests.in_namespaces import run_in_child
from tests.refusals import bind, enter_private_mounts
from tests.requirements import requires_root

pytestmark = [requires_root, requires_cgroups]

COUNT = ["sh", "-c", "n=0; while :; do n=$((n+1)); echo $n; done"]
SWAP = "/dev/vdb\tpartition\t1048572\t0\t-2"  # a line of /proc/swaps
ENDLESS = ["sleep", "1000"]


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    with own_tree() as tree:
        made = Cgroup(f"{tree}/one", Limits())
        yield made
        made.remove()


@contextmanager
def process_in(path: str, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a cgroup for the length of a block."""
    words = ["sh", "-c", 'echo 0 >"$0"/cgroup.procs; exec "$@"', path, *command]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        try:
            wait_until_inside(path, process.pid)
            yield process
        finally:
            process.kill()


def wait_until_inside(path: str, pid: int) -> None:
    deadline = time.monotonic() + 5
    while str(pid) not in Path(path, "cgroup.procs").read_text().split():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def wait_frozen(cgroup: Cgroup) -> None:
    deadline = time.monotonic() + 5
    while not cgroup.is_frozen:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("frozen", [False, True])
def test_kill_ends_everything_also_what_is_frozen(cgroup: Cgroup, frozen: bool) -> None:
    with process_in(cgroup.path, ENDLESS) as process:
        if frozen:
            cgroup.freeze()
            wait_frozen(cgroup)

        cgroup.kill()

        assert process.wait(timeout=5) == -signal.SIGKILL


def test_what_is_frozen_does_nothing_until_it_is_thawed(cgroup: Cgroup) -> None:
    with process_in(cgroup.path, COUNT) as process:
        assert process.stdout is not None
        output = process.stdout.fileno()
        os.set_blocking(output, False)
        wait_readable(output, 5)

        cgroup.freeze()
        wait_frozen(cgroup)
        while process.stdout.read(2**16):
            pass
        used = cgroup.read_usage().cpu_s

        assert not wait_readable(output, 0.1)
        assert cgroup.read_usage().cpu_s == used

        cgroup.thaw()

        assert wait_readable(output, 5)
        assert not cgroup.is_frozen


def test_usage_is_that_of_all_processes_in_it(cgroup: Cgroup) -> None:
    with process_in(cgroup.path, COUNT) as process:
        assert process.stdout is not None
        process.stdout.read(2**20)

        usage = cgroup.read_usage()

    assert 0 < usage.cpu_s < 60
    assert usage.oom_kills == 0
    assert set(usage.pressure) == KINDS_OF_PRESSURE
    assert all(0 <= share <= 100 for share in usage.pressure.values())


def test_pressure_is_the_share_of_ten_seconds_in_which_some_had_to_wait(tmp_path: Path) -> None:
    stand_in = Cgroup(f"{tmp_path}/one", Limits())
    lines = ["some avg10=2.50 avg60=1.00 avg300=0.10 total=9", "full avg10=1.20 avg60=1.00"]
    Path(stand_in.path, "cpu.pressure").write_text("\n".join(lines))

    pressure = stand_in.read_usage().pressure

    os.close(stand_in.fd)
    assert pressure == {"cpu": 2.5}


def test_removed_cgroup_is_not_frozen(cgroup: Cgroup) -> None:
    cgroup.freeze()
    cgroup.remove()

    assert not cgroup.is_frozen


def test_usage_is_known_once_the_cgroup_is_removed(cgroup: Cgroup) -> None:
    with process_in(cgroup.path, COUNT) as process:
        assert process.stdout is not None
        process.stdout.read(2**20)
        before = cgroup.read_usage().cpu_s

        cgroup.remove()

    assert not Path(cgroup.path).exists()
    assert cgroup.read_usage().cpu_s >= before > 0


def test_removal_ends_what_is_left_in_it_and_below(cgroup: Cgroup) -> None:
    below = Path(cgroup.path, "a", "b")
    below.mkdir(parents=True)
    with process_in(cgroup.path, ENDLESS) as one, process_in(str(below), ENDLESS) as other:
        cgroup.remove()

        assert (one.wait(timeout=5), other.wait(timeout=5)) == (-signal.SIGKILL,) * 2
    assert not Path(cgroup.path).exists()


def test_removed_cgroup_is_steered_and_removed_without_effect(cgroup: Cgroup) -> None:
    cgroup.remove()

    cgroup.kill()
    cgroup.freeze()
    cgroup.thaw()
    cgroup.remove()

    assert not Path(cgroup.path).exists()


def test_cgroup_that_somebody_else_has_removed_is_steered_without_effect(cgroup: Cgroup) -> None:
    Path(cgroup.path).rmdir()

    cgroup.kill()
    cgroup.freeze()

    assert not cgroup.is_frozen
    assert cgroup.read_usage().cpu_s == 0


@pytest.mark.parametrize(
    ("limits", "file"),
    [
        (Limits(memory=2**25), "memory.max to 33554432"),
        (Limits(cpus=1.5), "cpu.max to 150000 100000"),
        (Limits(pids=100), "pids.max to 100"),
        (Limits(io_weight=50), "io.weight to 50"),
    ],
)
def test_limit_that_the_kernel_does_not_have_there_is_refused(limits: Limits, file: str) -> None:
    # The tree's own controllers are enabled for nobody below it.
    with own_tree() as tree:
        with pytest.raises(SetupError, match=rf"cannot set {file} in .*/one: .*ENOENT"):
            Cgroup(f"{tree}/one", limits)

        assert not (tree / "one").exists()


@pytest.mark.parametrize(
    ("scheduler", "qos", "files"),
    [
        ("none [mq-deadline] bfq", "8:0 enable=0 ctrl=auto", []),
        ("none [mq-deadline] bfq", "8:0 enable=0\n8:16 enable=1 ctrl=auto", ["io.weight"]),
        ("none mq-deadline [bfq]", "8:0 enable=0 ctrl=auto", ["io.bfq.weight"]),
        ("none [bfq]", "8:0 enable=0\n8:16 enable=1 ctrl=auto", ["io.weight", "io.bfq.weight"]),
    ],
)
def test_weights_are_those_that_disks_heed(
    tmp_path: Path, scheduler: str, qos: str, files: list[str]
) -> None:
    (tmp_path / "vda" / "queue").mkdir(parents=True)
    (tmp_path / "vda" / "queue" / "scheduler").write_text(f"{scheduler}\n")
    (tmp_path / "io.cost.qos").write_text(f"{qos}\n")

    assert find_weights(str(tmp_path), str(tmp_path)) == files


@pytest.mark.parametrize(
    ("weight", "reason"),
    [
        (1000, "this kernel has no weights for block devices (CONFIG_BFQ_GROUP_IOSCHED)"),
        (1001, "the scheduler bfq, which a disk has, takes 1000 at most"),
    ],
)
def test_weight_that_a_scheduler_does_not_take_is_refused(weight: int, reason: str) -> None:
    def look() -> str:
        enter_private_mounts()
        show_disk("none [bfq]")
        with pytest.raises(SetupError) as caught:
            Cgroup(f"{tree}/one", Limits(io_weight=weight))
        return str(caught.value)

    # The tree's own controllers are enabled for nobody below it.
    with own_tree() as tree:
        told = run_in_child(look)

    assert told.startswith(f"cannot set io.bfq.weight to {weight} in {tree}/one")
    assert told.endswith(f"; {reason}")


def write_limits(directory: Path, limits: Limits, *names: str) -> dict[str, str]:
    """Write limits to these files of a directory that stands in for a cgroup; return them."""
    stand_in = Cgroup(f"{directory}/one", Limits())
    for name in names:
        Path(stand_in.path, name).touch()
    stand_in.limits = limits
    stand_in._write_limits()
    return {name: Path(stand_in.path, name).read_text() for name in names}


@pytest.mark.parametrize(
    ("scheduler", "qos", "written"),
    [
        ("[none] bfq", "8:0 enable=1 ctrl=auto", {"io.weight": "50", "io.bfq.weight": ""}),
        ("none [bfq]", "8:0 enable=0 ctrl=auto", {"io.weight": "", "io.bfq.weight": "50"}),
        ("none [bfq]", "8:0 enable=1 ctrl=auto", {"io.weight": "50", "io.bfq.weight": "50"}),
    ],
)
def test_weight_is_written_where_disks_heed_it(
    tmp_path: Path, scheduler: str, qos: str, written: dict[str, str]
) -> None:
    def act() -> dict[str, str]:
        show_controllers("io")
        show_disk(scheduler)
        Path(ROOT, "io.cost.qos").write_text(f"{qos}\n")
        return write_limits(tmp_path, Limits(io_weight=50), "io.weight", "io.bfq.weight")

    assert run_in_child(act) == written


def show_swaps(directory: Path, *swaps: str) -> None:
    """Show these swap spaces and no other to the calling process."""
    enter_private_mounts()
    stand_in = directory / "swaps"
    stand_in.write_text("\n".join(["Filename\tType\tSize\tUsed\tPriority", *swaps, ""]))
    bind(stand_in, "/proc/swaps")


def test_kernel_that_limits_no_swap_will_do_if_there_is_none(tmp_path: Path) -> None:
    def act() -> dict[str, str]:
        show_swaps(tmp_path)
        return write_limits(tmp_path, Limits(memory=2**25), "memory.max", "memory.high")

    assert run_in_child(act) == {"memory.max": "33554432", "memory.high": "30198989"}


def test_kernel_that_limits_no_swap_is_refused_if_there_is_some(tmp_path: Path) -> None:
    def act() -> str:
        show_swaps(tmp_path, SWAP)
        with pytest.raises(SetupError) as caught:
            write_limits(tmp_path, Limits(memory=2**25), "memory.max", "memory.high")
        return str(caught.value)

    assert run_in_child(act) == (
        f"cannot set memory.swap.max to 0 in {tmp_path}/one: "
        "No such file or directory (ENOENT); boot with swapaccount=1, or without swap"
    )


def test_swap_is_forbidden_where_it_can_be(tmp_path: Path) -> None:
    names = ("memory.max", "memory.high", "memory.swap.max")

    def act() -> dict[str, str]:
        show_swaps(tmp_path, SWAP)
        return write_limits(tmp_path, Limits(memory=2**25), *names)

    assert run_in_child(act)["memory.swap.max"] == "0"


def test_name_that_is_taken_is_told_apart(cgroup: Cgroup) -> None:
    with pytest.raises(FileExistsError):
        Cgroup(cgroup.path, Limits())


def test_cgroup_where_there_is_no_place_for_it_is_refused() -> None:
    with own_tree() as tree, pytest.raises(SetupError, match=r"cannot make the cgroup .*/no/one: "):
        Cgroup(f"{tree}/no/one", Limits())
