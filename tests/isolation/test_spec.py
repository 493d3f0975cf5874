import math
import os
import signal
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.isolation import Rlimit, SpecError, Tmpfs, Volume
from mocker.isolation.capabilities import DEFAULT_SET
from tests.containers import make_spec


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"argv": []}, "needs a command"),
        ({"argv": [""]}, "needs a command"),
        ({"argv": "echo hi"}, "a command must be a sequence of words, not the text 'echo hi'"),
        ({"argv": ["echo", "a\0b"]}, "argument must not contain a NUL byte"),
        ({"argv": ["echo", "\ud800"]}, r"argument .*'\\ud800'"),
        ({"rootfs": "busy"}, "'busybox', 'host' or an absolute path, not 'busy'"),
        ({"rootfs": ""}, "rootfs must be"),
        ({"rootfs": "/a\0"}, "rootfs must not contain a NUL byte"),
        ({"rootfs_mode": "ro"}, "rootfs mode must be one of 'overlay', 'rw', not 'ro'"),
        ({"rootfs_mode": "rw"}, "'rw' needs a directory as rootfs, not 'busybox'"),
        ({"rootfs_mode": "rw", "rootfs": "host"}, "'rw' needs a directory as rootfs, not 'host'"),
        (
            {"rootfs_mode": "rw", "rootfs": "/srv", "read_only": True},
            "'rw' and a read-only root exclude each other",
        ),
        ({"env": {"": "x"}}, "variable name must not be empty or contain '='"),
        ({"env": {"A=B": "x"}}, "variable name must not be empty or contain '='"),
        ({"env": {"A\0": "x"}}, "variable name must not contain a NUL byte"),
        ({"env": {"A": "x\0"}}, "variable A must not contain a NUL byte"),
        ({"workdir": "srv"}, "workdir must be an absolute path, not 'srv'"),
        ({"workdir": ""}, "workdir must be an absolute path, not ''"),
        ({"workdir": "/a\0"}, "workdir must not contain a NUL byte"),
        ({"user": ""}, r"user must be USER\[:GROUP\]"),
        ({"user": ":0"}, r"user must be USER\[:GROUP\]"),
        ({"user": "root:"}, r"user must be USER\[:GROUP\]"),
        ({"user": "-1"}, r"user must be USER\[:GROUP\]"),
        ({"user": "a:b:c"}, r"user must be USER\[:GROUP\]"),
        ({"user": "a\nb"}, r"user must be USER\[:GROUP\]"),
        ({"user": "a\0"}, "user must not contain a NUL byte"),
        ({"hostname": ""}, "must have 1 to 64 bytes, '' has 0"),
        ({"hostname": "a" * 65}, "must have 1 to 64 bytes, .* has 65"),
        ({"hostname": "é" * 33}, "must have 1 to 64 bytes, .* has 66"),
        ({"hostname": "a\nb"}, "must be one printable word"),
        ({"hostname": "a b"}, "must be one printable word"),
        ({"hostname": "a/b"}, "must be one printable word"),
        ({"hostname": "a\0"}, "host name must not contain a NUL byte"),
        ({"hostname": "\ud800"}, "host name"),
        ({"network": "bridge"}, "network must be one of 'none', 'host', 'shared', not 'bridge'"),
        ({"userns": "none"}, "userns must be one of 'private', 'host', not 'none'"),
        ({"grace": -0.1}, "grace period must be .* not -0.1"),
        ({"grace": math.nan}, "grace period must be .* not nan"),
        ({"grace": math.inf}, "grace period must be .* not inf"),
        ({"stop_signal": signal.SIGKILL}, "stop signal"),
        ({"stop_signal": signal.SIGSTOP}, "stop signal"),
        ({"stop_signal": signal.SIGCHLD}, "stop signal"),
        ({"stop_signal": 0}, "stop signal"),
        ({"stop_signal": 65}, "stop signal"),
        ({"cap_add": ["NET"]}, "cap_add must be a capability such as NET_RAW, or ALL, not 'NET'"),
        ({"cap_drop": "all"}, "cap_drop must be a sequence of names, not the text 'all'"),
        ({"umask": 0o1000}, "umask must be 000 to 777, not 1000"),
        ({"umask": -1}, "umask must be 000 to 777, not -01"),
        ({"nice": -21}, "nice value must be -20 to 19, not -21"),
        ({"nice": 20}, "nice value must be -20 to 19, not 20"),
        ({"oom_score_adj": -1001}, "oom_score_adj must be -1000 to 1000, not -1001"),
        ({"oom_score_adj": 1001}, "oom_score_adj must be -1000 to 1000, not 1001"),
        ({"cpu_affinity": []}, "cpu_affinity must have at least one CPU"),
        ({"cpu_affinity": [0, -1]}, "cpu_affinity must be 0 to 8191, not -1"),
        ({"cpu_affinity": [0, 8192]}, "cpu_affinity must be 0 to 8191, not 8192"),
        ({"notify": ""}, "notify name must have 1 to 107 bytes, '' has 0"),
        ({"notify": "a" * 108}, "notify name must have 1 to 107 bytes, .* has 108"),
        ({"notify": "a\0"}, "notify name must not contain a NUL byte"),
        ({"ready_fd": 2}, "ready descriptor must be 3 to 255, not 2"),
        ({"ready_fd": 256}, "ready descriptor must be 3 to 255, not 256"),
        (
            {"volumes": [Volume("/a", "/data")], "tmpfs": [Tmpfs("/data")]},
            "destination '/data'",
        ),
        ({"tmpfs": [Tmpfs("/data"), Tmpfs("//data/.")]}, "destination '/data'"),
    ],
)
def test_what_no_host_could_carry_out_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make_spec(**fields)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Volume("data", "/data"), "volume source must be an absolute path, not 'data'"),
        (lambda: Volume("/a\0b", "/data"), "volume source must not contain a NUL byte"),
        (lambda: Volume("/a", "/b\0"), "volume destination must not contain a NUL byte"),
        (lambda: Tmpfs("/a", size=0), "tmpfs size must be at least 1 byte, not 0"),
        (lambda: Tmpfs("/a", mode=0o10000), "tmpfs mode must be .* not 10000"),
        (lambda: Tmpfs("/a", mode=-1), "tmpfs mode must be"),
        (lambda: Rlimit("files", 1), "ulimit must be one of .*nofile.*, not 'files'"),
        (lambda: Rlimit("NOFILE", 1), "ulimit must be one of"),
        (lambda: Rlimit("nofile", -2), "ulimit nofile must be 0 to .* unlimited"),
        (lambda: Rlimit("nofile", 1, -2), "ulimit nofile must be 0 to .* unlimited"),
        (lambda: Rlimit("nofile", 2, 1), "soft limit 2 is above the hard limit 1"),
        (lambda: Rlimit("nofile", -1, 1), "soft limit -1 is above the hard limit 1"),
        (lambda: Rlimit("core", 2**63), "ulimit core must be"),
    ],
)
def test_part_that_no_host_could_carry_out_is_refused(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        make()


@pytest.mark.parametrize(
    "make", [Tmpfs, lambda path: Volume("/srv", path)], ids=["tmpfs", "volume"]
)
@pytest.mark.parametrize(
    ("destination", "message"),
    [
        ("data", "must be an absolute path, not 'data'"),
        ("", "must be an absolute path, not ''"),
        ("/a/../b", "must not contain '..', as '/a/../b' does"),
        ("/..", "must not contain '..'"),
        ("/", "must not be the root"),
        ("//./", "must not be the root"),
        ("/proc", "must not be /proc or lie below it, as '/proc' does"),
        ("/proc/self", "must not be /proc or lie below it"),
        ("//proc//", "must not be /proc or lie below it"),
        ("/./proc/1", "must not be /proc or lie below it"),
    ],
)
def test_destination_that_cannot_be_one_is_refused(
    make: Callable[[str], object], destination: str, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        make(destination)


@pytest.mark.parametrize(
    ("destination", "clean"),
    [
        ("/data", "/data"),
        ("/data/", "/data"),
        ("//a///b/./c/.", "/a/b/c"),
        ("/processes", "/processes"),
        ("/a/proc", "/a/proc"),
        ("/..a", "/..a"),
        ("/a b\n", "/a b\n"),
    ],
)
def test_destination_is_kept_in_its_simplest_form(destination: str, clean: str) -> None:
    assert (Tmpfs(destination).destination, Volume("/", destination).destination) == (clean, clean)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"rootfs": "busybox"}, "a rootfs"),
        ({"rootfs": "/srv"}, "a rootfs"),
        ({"network": "none"}, "a network"),
        ({"network": "shared"}, "a network"),
        ({"volumes": [Volume("/a", "/b")]}, "volumes"),
        ({"tmpfs": [Tmpfs("/b")]}, "tmpfs"),
        ({"read_only": True}, "a read-only root"),
        ({"terminal": True}, "a terminal"),
        ({"cap_add": ["NET_RAW"]}, "capabilities"),
        ({"cap_drop": ["all"]}, "capabilities"),
    ],
)
def test_without_isolation_there_is_nothing_of_its_own(
    fields: dict[str, object], what: str
) -> None:
    shared = {"isolate": False, "rootfs": "host", "network": "host"}

    with pytest.raises(SpecError, match=f"without isolation there can't be {what} of its own"):
        make_spec(**{**shared, **fields})


@given(st.text())
def test_destination_stays_what_it_is_or_is_refused(text: str) -> None:
    try:
        destination = Tmpfs(text).destination
    except SpecError:
        return

    assert Tmpfs(destination).destination == destination
    assert os.path.normpath(destination) == destination
    assert os.path.normpath(text).lstrip("/") == destination.lstrip("/")


@pytest.mark.parametrize(
    "fields",
    [
        {"hostname": "a" * 64},
        {"hostname": "über.example"},
        {"env": {"a b": "", "ä": "\n"}},
        {"user": "0"},
        {"user": "www-data:mail"},
        {"user": "4294967294:0"},
        {"grace": 0},
        {"stop_signal": signal.SIGINT},
        {"stop_signal": 64},
        {"rootfs": "/srv", "rootfs_mode": "rw"},
        {"rootfs": "/srv", "read_only": True},
        {"workdir": "/a/../b"},
        {"network": "shared"},
        {"cap_add": ("ALL", "NET_RAW"), "cap_drop": ("KILL",), "allow_new_privs": True},
        {"umask": 0, "nice": -20, "oom_score_adj": -1000, "cpu_affinity": (0, 8191)},
        {"umask": 0o777, "nice": 19, "oom_score_adj": 1000},
        {"notify": "a" * 107},
        {"ready_fd": 3},
        {"ready_fd": 255},
        {"isolate": False, "rootfs": "host", "network": "host"},
        {"argv": ["echo", "", "\udcff"]},
    ],
)
def test_what_can_be_meant_is_taken_as_it_is(fields: dict[str, object]) -> None:
    made = make_spec(**fields)

    values = {name: getattr(made, name) for name in fields}
    assert values == {**fields, **({"argv": tuple(made.argv)} if "argv" in fields else {})}


def test_defaults_are_those_of_the_issue() -> None:
    made = make_spec()

    assert (made.rootfs, made.rootfs_mode, made.read_only) == ("busybox", "overlay", False)
    assert (made.hostname, made.network, made.userns) == ("containerhostname", "none", "private")
    assert (made.cap_add, made.cap_drop, made.allow_new_privs, made.umask) == ((), (), False, 0o022)
    assert (made.nice, made.oom_score_adj, made.cpu_affinity) == (None, None, None)
    assert (made.grace, made.stop_signal, made.terminal) == (10.0, signal.SIGTERM, False)


def test_root_of_the_host_is_given_what_is_named_and_any_other_dockers_set() -> None:
    fields = {"cap_add": ["sys_time", "kill"], "cap_drop": ["chown"]}

    private, host = (make_spec(userns=userns, **fields) for userns in ("private", "host"))

    assert private.capabilities == DEFAULT_SET - {"CHOWN"} | {"SYS_TIME"}
    assert host.capabilities == {"SYS_TIME", "KILL"}


def test_hard_limit_is_the_soft_one_unless_given() -> None:
    assert Rlimit("nofile", 5).hard == 5


def test_spec_does_not_change_with_what_it_was_made_of() -> None:
    argv, env = ["echo"], {"A": "1"}
    made = make_spec(argv=argv, env=env)

    argv.append("more")
    env["B"] = "2"

    assert (made.argv, made.env) == (("echo",), {"A": "1"})
