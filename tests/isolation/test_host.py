import os
import threading
from collections.abc import Callable
from errno import EACCES, ENOSYS, EPERM
from pathlib import Path

import pytest

from mocker.isolation import HostCheck, SetupError, check_host
from mocker.isolation.host_walls import LOOKED_AT
from mocker.isolation.syscalls import PR_SET_NO_NEW_PRIVS, mount, prctl
from tests.cgroups import ROOT, show_controllers
from tests.in_namespaces import run_in_child
from tests.leaks import read_children, read_descriptors
from tests.refusals import (
    Refusal,
    enter_private_mounts,
    hide_busybox,
    refuse_system_calls,
    refuse_user_namespaces,
)
from tests.requirements import (
    requires_busybox,
    requires_subordinate_ids,
    requires_user,
    requires_user_namespaces,
)

pytestmark = [requires_busybox, requires_user_namespaces]

NAMESPACES = [
    f"{name} namespace" for name in ("mount", "pid", "uts", "ipc", "cgroup", "user", "network")
]
NAMES = [
    "kernel",
    *NAMESPACES,
    "subordinate IDs",
    *(["ID-mapped mounts"] if os.geteuid() == 0 else []),
    "capabilities",
    "overlay in a user namespace",
    "bounded writing",
    "kernel files",
    "cgroup v2 delegation",
    "ulimits",
    "nice",
    "oom_score_adj",
    "cpu_affinity",
    "no_new_privs",
    "seccomp",
    "landlock",
    "keyrings",
    "core dumps",
    "own program",
    "busybox",
    "a container",
]
NEEDED = {
    "kernel",
    *NAMESPACES,
    "bounded writing",
    "kernel files",
    "ulimits",
    "no_new_privs",
    "seccomp",
    "core dumps",
    "a container",
}

LOST_LIMITS = "no limits but --ulimit, and no mocker pause"

Found = tuple[bool, bool, str]


def check(prepare: Callable[[], object] = lambda: None) -> dict[str, Found]:
    """Check a host from a process that did `prepare` first: name to (granted, needed, detail)."""

    def act() -> dict[str, Found]:
        prepare()
        return {check.name: (check.granted, check.needed, check.detail) for check in check_host()}

    return run_in_child(act)


def test_everything_that_a_container_needs_is_tried() -> None:
    found = check()

    assert list(found) == NAMES
    assert {name for name, (_, needed, _) in found.items() if needed} == NEEDED
    assert all(found[name][0] for name in NEEDED)


def test_what_was_found_is_told() -> None:
    found = check()

    details = {name: detail for name, (_, _, detail) in found.items()}
    assert details["kernel"] == f"Linux {os.uname().release}"
    assert {details[name] for name in NAMESPACES} == {"can be made"}
    assert details["overlay in a user namespace"] == "can be mounted"
    assert details["bounded writing"] == "takes 20% of the memory and 800k files at most"
    assert details["kernel files"].startswith("what tells of the host is covered, ")
    assert details["cpu_affinity"].startswith("any of the caller's CPUs: ")
    assert details["seccomp"].startswith("the default filter can be loaded")
    assert Path(details["busybox"]).name == "busybox"
    assert details["a container"] == f"runs, {LOOKED_AT}"


def test_check_leaves_nothing_behind() -> None:
    def act() -> tuple[set[str], set[str], list[str]]:
        before = set(read_descriptors())
        check_host()
        return before, set(read_descriptors()), read_children()

    before, after, children = run_in_child(act)

    assert (after, children) == (before, [])


def test_process_with_two_threads_is_refused() -> None:
    def act() -> str:
        done = threading.Event()
        thread = threading.Thread(target=done.wait)
        thread.start()
        with pytest.raises(SetupError) as caught:
            check_host()
        done.set()
        thread.join()
        return str(caught.value)

    assert run_in_child(act).startswith("cannot clone from a process with 2 threads; ")


def test_refused_namespaces_are_told_with_what_to_do() -> None:
    found = check(lambda: refuse_user_namespaces(EPERM, ENOSYS))

    missing = {name: detail for name, (granted, _, detail) in found.items() if not granted}
    assert {*NAMESPACES, "a container"} <= set(missing)
    for name in (*NAMESPACES, "a container", "overlay in a user namespace"):
        text = "cannot create namespaces: Function not implemented (ENOSYS)"
        assert text in missing[name]
        assert "; a seccomp filter forbids it; " in missing[name]
    loaded = "the default filter can be loaded; another one is in force"
    assert found["seccomp"] == (True, True, loaded)


def test_container_can_do_without_overlay() -> None:
    found = check(lambda: refuse_system_calls([Refusal("mount", EACCES)]))

    granted, needed, detail = found["overlay in a user namespace"]
    assert (granted, needed) == (False, False)
    text = "nothing is copied on write: cannot mount overlay: Permission denied (EACCES)"
    assert detail.startswith(text)


@pytest.mark.parametrize(
    ("call", "name", "text"),
    [
        ("mount", "kernel files", "cannot cover parts of /proc: "),
        ("move_mount", "bounded writing", "cannot bound a file system in memory: "),
    ],
)
def test_container_cannot_do_without_walls_made_by_mounts(call: str, name: str, text: str) -> None:
    granted, needed, detail = check(lambda: refuse_system_calls([Refusal(call, EACCES)]))[name]

    assert (granted, needed) == (False, True)
    assert detail.startswith(f"{text}Permission denied (EACCES)")


def test_container_can_do_without_a_choice_of_cpus() -> None:
    refusal = Refusal("sched_setaffinity", EPERM)

    granted, needed, detail = check(lambda: refuse_system_calls([refusal]))["cpu_affinity"]

    assert (granted, needed) == (False, False)
    text = "none but the caller's: cannot run on the CPUs "
    assert detail.startswith(text)
    assert "Operation not permitted (EPERM)" in detail


@requires_user
@requires_subordinate_ids
def test_subordinate_ids_are_the_length_of_all_ranges_and_the_callers_own() -> None:
    granted, _, detail = check()["subordinate IDs"]

    assert granted
    assert detail.endswith(f" user IDs, root is {os.getuid()} outside")
    assert int(detail.split()[0]) > 65536


@requires_user
def test_capabilities_are_those_of_a_user_namespace() -> None:
    def refuse() -> None:
        refuse_user_namespaces(EPERM, ENOSYS)

    there, gone = check()["capabilities"], check(refuse)["capabilities"]

    assert there == (True, False, "all can be had, within the user namespace alone")
    assert gone[:2] == (False, False)
    assert gone[2].startswith("root inside has none: cannot create namespaces: ")


@requires_user
@requires_subordinate_ids
def test_container_can_do_without_subordinate_ids() -> None:
    found = check(lambda: prctl(PR_SET_NO_NEW_PRIVS, 1))

    granted, needed, detail = found["subordinate IDs"]
    assert (granted, needed) == (False, False)
    text = "root is the only user inside: cannot map more than the caller's own ID; no_new_privs is"
    assert detail.startswith(text)
    assert found["a container"][0]


def test_container_can_do_without_busybox() -> None:
    found = check(lambda: hide_busybox(os.devnull))

    granted, needed, detail = found["busybox"]
    assert (granted, needed) == (False, False)
    lost, _, reason = detail.partition(": ")
    assert lost == "no fresh roots"
    assert reason.startswith("cannot find a static busybox; install busybox-static")
    text = f"runs, {LOOKED_AT}; using --rootfs host: {reason}"
    assert found["a container"] == (True, True, text)


def test_cgroup_with_all_controllers_is_delegated() -> None:
    granted, _, detail = check(lambda: show_controllers("cpu io memory pids"))[
        "cgroup v2 delegation"
    ]

    assert granted
    assert detail.startswith(f"cpu, io, memory, pids, and mocker pause, in {ROOT}")


def test_cgroup_that_lacks_controllers_is_told() -> None:
    granted, needed, detail = check(lambda: show_controllers("cpu io"))["cgroup v2 delegation"]

    assert (granted, needed) == (False, False)
    assert detail.startswith(f"{LOST_LIMITS}: cannot limit memory, pids in {ROOT}")
    assert "; what is above has to delegate it: " in detail


@requires_user
def test_cgroup_that_is_not_the_callers_is_told() -> None:
    prepare = lambda: show_controllers("cpu memory pids", 0o555)  # noqa: E731

    granted, _, detail = check(prepare)["cgroup v2 delegation"]

    assert not granted
    assert detail.startswith(f"{LOST_LIMITS}: cannot limit a container; ")
    assert f"is not delegated to user {os.geteuid()}; start mocker with systemd-run " in detail


def test_missing_cgroup_hierarchy_is_told() -> None:
    def prepare() -> None:
        enter_private_mounts()
        mount("none", str(ROOT), "tmpfs")

    granted, _, detail = check(prepare)["cgroup v2 delegation"]

    assert not granted
    assert detail.endswith("; no cgroups are mounted on /sys/fs/cgroup; mount cgroup2 there")


def test_check_is_a_value_with_a_name() -> None:
    found = HostCheck("x", "is there", granted=True, needed=False)

    assert (found.name, found.detail, found.granted, found.needed) == ("x", "is there", True, False)
