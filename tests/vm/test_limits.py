"""Limits are enforced, and found their place, by a kernel that has them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

import pytest

from mocker.isolation import Limits, SetupError
from mocker.isolation.delegation import make_cgroup
from tests.callers import MOCKER
from tests.cgroups import read_cgroup
from tests.containers import in_container, open_container, script, wait_readable
from tests.requirements import requires_user
from tests.vm.machine import CGROUPS, IS_USER, Completed, systemctl, systemd_run, wait_until

# In one system call: a process that comes back from one with more than memory.high sleeps first.
TAKE_40M = "dd if=/dev/zero of=/dev/null bs=40M count=1"
SCOPE = ("--scope", "-p", "Delegate=yes")
# What somebody inside would write to be rid of a limit, or to have others stand still.
REACHED_FOR = {
    "memory.max": "max",
    "memory.high": "max",
    "memory.swap.max": "max",
    "cpu.max": "max",
    "pids.max": "max",
    "cgroup.freeze": "0",
    "cgroup.procs": "$$",
}
ATTACK = "\n".join(
    [
        "cd /sys/fs/cgroup; mkdir /tmp/cgroups",
        "mount -o remount,rw /sys/fs/cgroup && echo remounted",
        "mount -o remount,bind,rw /sys/fs/cgroup && echo remounted for itself",
        "mount -t cgroup2 none /tmp/cgroups && echo mounted anew",
        "mkdir below && echo made one below",
        *(f"test -e {name} || echo no {name}" for name in REACHED_FOR),
        *(f"echo {value} >{name} && echo wrote {name}" for name, value in REACHED_FOR.items()),
        "echo over; exec sleep 1000",
    ]
)
USED = (
    "from mocker.isolation import *; import os, sys\n"
    "spec = ContainerSpec(['sleep', '1000'], limits=Limits(pids=9))\n"
    "with ForkServer() as server, server.spawn(spec) as container:\n"
    "    for pid in (container.pid, os.getpid(), *server.pids):\n"
    "        print(open(f'/proc/{pid}/cgroup').read(), end='')\n"
)


def mocker_run(*words: str) -> Completed:
    """Run a container from a scope that is delegated."""
    return systemd_run(*SCOPE, MOCKER, "run", *words)


def read_limits(*options: str) -> dict[str, str]:
    """Return what a container's own cgroup has for its limits."""
    text = "cd /sys/fs/cgroup; for f in memory.max memory.high memory.swap.max cpu.max pids.max; "
    outcome = mocker_run(*options, "sh", "-c", f"{text} do echo $f $(cat $f); done 2>&1")
    assert outcome.stderr == ""
    return dict(line.split(" ", 1) for line in outcome.stdout.splitlines())


def list_scopes() -> list[str]:
    """Return the scopes that mocker has been given, and that are still there."""
    listed = systemctl("list-units", "--type=scope", "--plain", "--no-legend", "mocker-*").stdout
    return [line.split()[0] for line in listed.splitlines()]


@in_container
def test_limits_are_those_of_the_kernel() -> None:
    options = ("--memory", "32m", "--cpus", "1.5", "--pids-limit", "20")

    assert read_limits(*options) == {
        "memory.max": str(2**25),
        "memory.high": str(30195712),  # 10 % less, in whole pages
        "memory.swap.max": "0",
        "cpu.max": "150000 100000",
        "pids.max": "20",
    }


@in_container
def test_kill_for_lack_of_memory_is_told_with_the_peak() -> None:
    outcome = mocker_run("--memory", "24m", "sh", "-c", TAKE_40M)

    assert outcome.returncode == 128 + signal.SIGKILL
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("mocker run: OOMKilled: the container had 24M, peak 2")


@in_container
@pytest.mark.parametrize("way", ["terminal", "sink"])
def test_kill_for_lack_of_memory_is_told_in_every_way_to_run(way: str) -> None:
    log = ["--log", "console"] if way == "sink" else []
    words = [str(MOCKER), "run", "--memory", "24m", *log, *TAKE_40M.split()]
    if way == "terminal":
        words = ["script", "--quiet", "--return", "--command", " ".join(words), "/dev/null"]

    outcome = systemd_run(*SCOPE, *words)

    assert outcome.returncode == 128 + signal.SIGKILL
    assert "mocker run: OOMKilled: the container had 24M" in outcome.stdout + outcome.stderr


@in_container
def test_kill_of_a_part_is_told_and_the_command_goes_on() -> None:
    outcome = mocker_run("--memory", "24m", "sh", "-c", f"{TAKE_40M} 2>&1; echo $?; exit 3")

    assert (outcome.returncode, outcome.stdout.splitlines()[-1]) == (3, "137")
    assert "mocker run: OOMKilled: the container had 24M" in outcome.stderr


@in_container
def test_files_in_memory_count() -> None:
    outcome = mocker_run("--memory", "16m", "sh", "-c", "dd if=/dev/zero of=/x bs=1M count=30")

    assert outcome.returncode == 128 + signal.SIGKILL
    assert "OOMKilled" in outcome.stderr


@in_container
def test_other_kill_is_not_for_lack_of_memory() -> None:
    outcome = mocker_run("--memory", "24m", "sh", "-c", "kill -KILL $$")

    assert (outcome.returncode, outcome.stderr) == (128 + signal.SIGKILL, "")


@in_container
def test_fork_bomb_is_stopped_and_ended() -> None:
    with open_container(script("f() { f | f & }; f; exec sleep 1000", limits=Limits(pids=30))) as (
        container,
        _,
    ):
        assert container.cgroup is not None
        events = Path(container.cgroup.path, "pids.events")

        assert wait_until(lambda: "max 0" not in events.read_text())

        assert container.cgroup.read_usage().pids in range(10, 31)
        container.kill()
        container.wait(30)


@in_container
def test_processes_are_refused_beyond_the_limit() -> None:
    text = "n=0; while sleep 1000 & do n=$((n+1)); echo $n; done"

    outcome = mocker_run("--pids-limit", "10", "--grace", "0", "sh", "-c", text)

    # The init and the shell are two of the ten.
    assert outcome.stdout.split()[-1] == "8"
    assert "can't fork" in outcome.stderr


@in_container
def test_two_processes_are_enough_for_a_command_and_its_init() -> None:
    assert mocker_run("--pids-limit", "2", "echo", "well").stdout == "well\n"


@in_container
def test_cpu_time_is_a_share() -> None:
    limits = Limits(cpus=0.2)
    with open_container(script("while :; do :; done", limits=limits)) as (container, _):
        assert container.cgroup is not None
        before, start = container.cgroup.read_usage().cpu_s, time.monotonic()
        wait_readable(container.fileno(), 3)
        used = container.cgroup.read_usage().cpu_s - before

        share = used / (time.monotonic() - start)

    assert 0.1 < share < 0.4  # by ticks of 10 ms


@in_container
@pytest.mark.parametrize("user", [None, "1000:1000"], ids=["root", "user"])
def test_limits_are_out_of_reach_from_inside_and_in_reach_of_their_owner(user: str | None) -> None:
    limits = Limits(memory=2**26, cpus=1.5, pids=20)
    free = {"cap_add": ["all"], "seccomp": "unconfined", "allow_new_privs": True}
    with open_container(script(ATTACK, user=user, limits=limits, **free)) as (container, output):
        assert container.cgroup is not None
        cgroup = Path(container.cgroup.path)

        told = read_until(output, "over\n")

        limited = {name: (cgroup / name).read_text() for name in ("memory.max", "cpu.max")}
        for name, value in REACHED_FOR.items():
            (cgroup / name).write_text(value.replace("$$", str(container.pid)))
        freed = {name: (cgroup / name).read_text() for name in limited}

    assert told == []
    assert limited == {"memory.max": f"{2**26}\n", "cpu.max": "150000 100000\n"}
    assert freed == {"memory.max": "max\n", "cpu.max": "max 100000\n"}


def read_until(output: TextIO, last: str) -> list[str]:
    """Return the lines before one that has to come."""
    lines = list[str]()
    while (line := output.readline()) != last:
        assert line, lines
        lines.append(line)
    return lines


@in_container
def test_usage_is_counted() -> None:
    text = "dd if=/dev/zero of=/x bs=1M count=8 2>&1; sleep 1000 & sleep 1000 & echo ready; wait"
    with open_container(script(text, limits=Limits(memory=2**26))) as (container, output):
        while output.readline() != "ready\n":
            pass
        assert container.cgroup is not None

        usage = container.cgroup.read_usage()

    assert usage.memory is not None
    assert usage.memory_peak is not None
    assert 2**23 < usage.memory <= usage.memory_peak < 2**26
    assert usage.pids == 4
    assert usage.cpu_s > 0
    assert usage.oom_kills == 0


@in_container
def test_tree_is_frozen_thawed_and_killed_as_a_whole() -> None:
    text = "n=0; while test $n -lt 20; do setsid sleep 1000 & n=$((n+1)); done; echo ready; yes"
    with open_container(script(text, limits=Limits(pids=100))) as (container, output):
        output.readline()
        assert container.cgroup is not None

        container.cgroup.freeze()

        assert wait_until(lambda: container.cgroup is not None and container.cgroup.is_frozen)
        os.set_blocking(output.fileno(), False)
        while output.read(2**16):
            pass
        assert not wait_readable(output.fileno(), 0.3)

        container.cgroup.thaw()

        assert wait_readable(output.fileno(), 30)

        container.cgroup.freeze()
        container.kill()

        container.wait(30)
    assert not Path(container.cgroup.path).exists()


def find_io() -> str:
    """Return why a weight for block devices can't be had; nothing if it can."""
    try:
        make_cgroup(Limits(io_weight=50)).remove()
    except SetupError as error:
        return str(error)
    return ""


def test_weight_that_no_disk_heeds_is_refused() -> None:
    code = f"from {__name__} import find_io; print(find_io())"

    told = systemd_run(*SCOPE, sys.executable, "-c", code).stdout

    if IS_USER:
        assert "cannot limit a container without the controller io in " in told
    else:
        assert "cannot set io.weight to 50 in " in told
        # The machine has no disk, so that a kernel with weights changes nothing but the reason.
        is_known = (CGROUPS / "io.cost.qos").exists()
        reason = "no disk heeds it" if is_known else "this kernel has no weights for block devices"
        assert f"; {reason}" in told


@in_container
def test_delegated_unit_is_used_and_left_as_it_was() -> None:
    script = (
        f"{MOCKER} run --cpus 1 cat /proc/self/cgroup; {MOCKER} run --cpus 1 true && "
        "cat /proc/self/cgroup; cd /sys/fs/cgroup$(sed 's/0:://; s,/mocker$,,' /proc/self/cgroup); "
        "ls -d */"
    )

    outcome = systemd_run(*SCOPE, "--unit=limits-test", "sh", "-c", script)

    own, leaf, left = outcome.stdout.splitlines()
    assert own == "0::/"
    assert leaf.endswith("/limits-test.scope/mocker")
    assert left == "mocker/"
    assert outcome.stderr == ""


@in_container
def test_those_who_come_at_once_all_find_their_place() -> None:
    start = f"{MOCKER} run --cpus 1 --memory 32m cat /sys/fs/cgroup/cpu.max &"

    outcome = systemd_run(*SCOPE, "sh", "-c", f"{start * 5} wait")

    assert (outcome.stdout, outcome.stderr) == ("100000 100000\n" * 5, "")


@in_container
def test_scope_is_asked_for_where_nothing_is_delegated_and_goes_away() -> None:
    before = list_scopes()
    words: list[str | Path] = [
        "systemd-run",
        *(["--user"] if IS_USER else []),
        "--scope",
        "--quiet",
        MOCKER,
        "run",
    ]
    with subprocess.Popen(
        [*words, "--pids-limit", "9", "sh", "-c", "echo ready; read x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        ready = process.stdout.readline()
        scopes, own = set(list_scopes()).difference(before), read_cgroup(process.pid)
        process.communicate("\n")

    assert (ready, process.returncode) == ("ready\n", 0)
    (scope,) = scopes
    assert own.endswith(f"/{scope}/mocker")
    assert (f"user@{os.getuid()}.service/" in own) is IS_USER
    assert wait_until(lambda: scope not in list_scopes())


def test_fork_server_comes_along() -> None:
    outcome = systemd_run("--scope", sys.executable, "-c", USED)

    container, *processes = outcome.stdout.splitlines()
    assert outcome.stderr == ""
    assert len(set(processes)) == 1
    assert processes[0].endswith(".scope/mocker")
    assert container.startswith(processes[0] + "-")


def test_process_that_has_ended_need_not_come_along() -> None:
    code = (
        "import subprocess as s; from mocker.isolation.delegation import find_delegation; "
        "ended = s.Popen('true'); ended.wait(); print(find_delegation([ended.pid]).path)"
    )

    outcome = systemd_run("--scope", sys.executable, "-c", code)

    assert outcome.stderr == ""
    assert Path(outcome.stdout).name.startswith("mocker-")


@in_container
def test_what_a_killed_one_leaves_is_removed_by_the_next() -> None:
    text = (
        f"{MOCKER} run --cpus 1 sleep 1000 & cd /sys/fs/cgroup$(sed 's/0:://' /proc/self/cgroup); "
        "until ls -d mocker-*; do cd ${PWD%/mocker}; sleep 0.1; done; kill -KILL $!; wait; "
        "while grep . mocker-*/cgroup.procs; do sleep 0.1; done >/dev/null; "
        f"{MOCKER} run --cpus 1 true; ls -d mocker*"
    )

    outcome = systemd_run(*SCOPE, "sh", "-c", text)

    first, *left = outcome.stdout.split()
    assert first.startswith("mocker-")
    assert left == ["mocker"]


@requires_user
@in_container
def test_without_a_manager_nothing_is_limited_and_nothing_starts() -> None:
    words = ("env", "XDG_RUNTIME_DIR=/nonexistent", MOCKER, "run", "--cpus", "1", "echo", "started")

    outcome = systemd_run("--scope", *words)

    assert (outcome.returncode, outcome.stdout) == (125, "")
    assert "is not delegated to user" in outcome.stderr
    assert "start mocker with systemd-run --user --scope -p Delegate=yes" in outcome.stderr
