from pathlib import Path

import pytest

from mocker.supervisor.config import ContainerConfig
from tests.configs import find_job_mistakes, load, load_job

MEMORY = "a whole number from 6291456 to 9223372036854771712"


def test_container_of_a_job_is_isolated_at_first(tmp_path: Path) -> None:
    container = load_job(tmp_path, "").container

    assert container == ContainerConfig(argv=("true",), rootfs="busybox", hostname="web")


@pytest.mark.parametrize(
    ("key", "field", "value"),
    [
        ('rootfs = "host"', "rootfs", "host"),
        ('rootfs = "/r"', "rootfs", "/r"),
        ('rootfs = "/r"\nrootfs_mode = "rw"', "rootfs_mode", "rw"),
        ("read_only = true", "read_only", True),
        (
            'volumes = ["/a:/b//c/", "/d:/e:ro"]',
            "volumes",
            (("/a", "/b/c", False), ("/d", "/e", True)),
        ),
        ('tmpfs = ["/t:size=64m,mode=700"]', "tmpfs", (("/t", 64 * 2**20, 0o700),)),
        ('env = { A = "%;#\'ä$$", N = 1 }', "env", {"A": "%;#'ä$", "N": "1"}),
        ('workdir = "/w"', "workdir", "/w"),
        ('user = "1:2"', "user", "1:2"),
        ('hostname = "h"', "hostname", "h"),
        ('network = "host"', "network", "host"),
        ('userns = "host"', "userns", "host"),
        ('cap_add = ["cap_net_admin", "all"]', "cap_add", ("NET_ADMIN", "ALL")),
        ('cap_drop = ["KILL"]', "cap_drop", ("KILL",)),
        ("allow_new_privs = true", "allow_new_privs", True),
        ('seccomp = "unconfined"', "seccomp", ("unconfined", "unconfined")),
        ("", "seccomp", None),
        ('umask = "077"', "umask", 0o77),
        ("nice = -5", "nice", -5),
        ("oom_score_adj = 500", "oom_score_adj", 500),
        ("cpu_affinity = [3, 0, 3]", "cpu_affinity", (0, 3)),
        ('cpu_affinity = "0-1,3"', "cpu_affinity", (0, 1, 3)),
        (
            'ulimits = { nofile = "1:2", core = 0, nproc = "unlimited" }',
            "rlimits",
            (("nofile", 1, 2), ("core", 0, 0), ("nproc", -1, -1)),
        ),
        ('memory = "256M"', "memory", 256 * 2**20),
        ("memory = 6291456", "memory", 6 * 2**20),
        ("cpus = 1.5", "cpus", 1.5),
        ("cpus = 2", "cpus", 2.0),
        ("pids = 100", "pids", 100),
        ("io_weight = 200", "io_weight", 200),
    ],
)
def test_option_of_mocker_run_is_a_key(tmp_path: Path, key: str, field: str, value: object) -> None:
    assert getattr(load_job(tmp_path, key).container, field) == value


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    container = load_job(tmp_path, 'rootfs = "root"\nvolumes = ["./a:/b", "..:/c"]').container

    assert container.rootfs == f"{tmp_path}/root"
    assert [source for source, _, _ in container.volumes] == [f"{tmp_path}/a", str(tmp_path.parent)]


def test_process_that_is_not_isolated_has_what_the_host_has(tmp_path: Path) -> None:
    container = load_job(tmp_path, 'isolate = false\nuser = "nobody"\nworkdir = "/srv"').container

    assert (container.isolate, container.rootfs, container.network) == (False, "host", "host")
    assert (container.user, container.workdir) == ("nobody", "/srv")


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        ("rootfs = 1", "rootfs: must be text, not 1"),
        ('rootfs = ""', "rootfs: must be a path, not ''"),
        (
            'rootfs_mode = "ro"',
            "rootfs_mode: must be one of 'overlay', 'rw', not 'ro'",
        ),
        ("read_only = 1", "read_only: must be true or false, not 1"),
        ('volumes = "/a:/b"', "volumes: must be an array, not '/a:/b'"),
        ('volumes = ["/a"]', "volumes[0]: must be SRC:DST or SRC:DST:ro, not '/a'"),
        (
            'volumes = ["/a:b"]',
            "volumes[0]: volume destination must be an absolute path, not 'b'",
        ),
        (
            'tmpfs = ["/t:size=0"]',
            "tmpfs[0]: tmpfs size must be at least 1 byte, not 0",
        ),
        ("env = { A = 1.5 }", "env.A: must be text, not 1.5"),
        ("env = { A = true }", "env.A: must be text, not true"),
        (
            'env = { "A=B" = "" }',
            "env.\"A=B\": variable name must not be empty or contain '=', as 'A=B' does",
        ),
        (
            'workdir = "srv"',
            "workdir: workdir must be an absolute path, not 'srv'",
        ),
        ('memory = "1M"', f"memory: must be {MEMORY}, not 1048576"),
        ('memory = "lots"', "memory: must be a size such as '64k', '64M' or '1G', not 'lots'"),
        ("memory = true", f"memory: must be {MEMORY}, not true"),
        ("cpus = 0", "cpus: must be a number from 0.01 to 8192, not 0"),
        ('cpus = "1"', "cpus: must be a number from 0.01 to 8192, not '1'"),
        ("pids = 1", "pids: must be a whole number from 2 to 4194304, not 1"),
        ("io_weight = 0", "io_weight: must be a whole number from 1 to 10000, not 0"),
        (
            'user = "a:b:c"',
            "user: user must be USER[:GROUP], names or numbers, not 'a:b:c'",
        ),
        (
            'hostname = "a b"',
            "hostname: host name must be one printable word, not 'a b'",
        ),
        (
            'network = "hots"',
            "network: must be one of 'none', 'host', 'job:NAME', not 'hots'; did you mean 'host'?",
        ),
        (
            'userns = "privat"',
            "userns: must be one of 'private', 'host', not 'privat'; did you mean 'private'?",
        ),
        (
            "ulimits = { core = true }",
            "ulimits.core: must be a number, 'SOFT:HARD' or 'unlimited', not true",
        ),
        (
            'ulimits = { core = "2:1" }',
            "ulimits.core: ulimit core: soft limit 2 is above the hard limit 1",
        ),
        ('cap_add = "all"', "cap_add: must be an array, not 'all'"),
        (
            'cap_drop = ["x"]',
            "cap_drop[0]: must be a capability such as NET_RAW, or ALL, not 'x'",
        ),
        ("allow_new_privs = 1", "allow_new_privs: must be true or false, not 1"),
        ("umask = 22", "umask: must be text such as '022', not 22"),
        ('umask = "8"', "umask: must be an octal number up to 777, such as 022, not '8'"),
        ("nice = 20", "nice: must be a whole number from -20 to 19, not 20"),
        (
            "oom_score_adj = -1001",
            "oom_score_adj: must be a whole number from -1000 to 1000, not -1001",
        ),
        (
            "cpu_affinity = []",
            "cpu_affinity: must have at least one CPU",
        ),
        (
            "cpu_affinity = 1",
            "cpu_affinity: must be an array of CPUs, or text such as '0-1,3', not 1",
        ),
        (
            "cpu_affinity = [0, -1]",
            "cpu_affinity[1]: must be a whole number from 0 to 8191, not -1",
        ),
        ('cpu_affinity = "x"', "cpu_affinity: must be CPUs such as 0-1,3, up to 8191, not 'x'"),
        ("isolate = 0", "isolate: must be true or false, not 0"),
    ],
)
def test_what_no_container_can_have_is_refused(tmp_path: Path, keys: str, mistake: str) -> None:
    assert find_job_mistakes(tmp_path, keys) == [mistake]


def test_unknown_limit_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    (mistake,) = find_job_mistakes(tmp_path, "ulimits = { files = 1 }")

    assert mistake.startswith("ulimits.files: ulimit must be one of as, core, ")


@pytest.mark.parametrize(
    "key",
    [
        'rootfs = "busybox"',
        "read_only = true",
        'volumes = ["/a:/b"]',
        'tmpfs = ["/t"]',
        'hostname = "h"',
        'network = "none"',
        'userns = "private"',
        "cap_add = []",
        'cap_drop = ["all"]',
        "allow_new_privs = false",
    ],
)
def test_what_needs_isolation_is_not_had_without(tmp_path: Path, key: str) -> None:
    name = key.split(maxsplit=1)[0]

    assert find_job_mistakes(tmp_path, f"isolate = false\n{key}") == [
        f"{name}: is not to be had with isolate = false"
    ]


def test_process_that_is_not_isolated_may_be_fenced_in(tmp_path: Path) -> None:
    keys = 'isolate = false\nlandlock = true\nwritable = ["data", "/var/lib/web"]'

    container = load_job(tmp_path, keys).container

    assert container.landlock
    assert container.writable == (f"{tmp_path}/data", "/var/lib/web")
    spec = load_job(tmp_path, keys).make_spec()
    assert (spec.landlock, spec.writable) == (True, container.writable)


def test_usual_places_are_writable_unless_others_are_named(tmp_path: Path) -> None:
    assert load_job(tmp_path, "isolate = false\nlandlock = true").container.writable is None


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        ("isolate = false\nlandlock = 1", "landlock: must be true or false, not 1"),
        ("landlock = true", "landlock: is for isolate = false; a container has read_only and"),
        ('writable = ["/a"]', "writable: is for isolate = false; a container has read_only"),
        ('isolate = false\nwritable = ["/a"]', "writable: needs landlock = true"),
        (
            'isolate = false\nlandlock = true\nwritable = "/a"',
            "writable: must be an array, not '/a'",
        ),
        (
            'isolate = false\nlandlock = true\nwritable = ["/a", "/"]',
            "writable[1]: landlock forbids nothing where / is writable; name what is below it",
        ),
    ],
)
def test_fence_that_makes_no_sense_is_a_mistake(tmp_path: Path, keys: str, mistake: str) -> None:
    (found,) = find_job_mistakes(tmp_path, keys)

    assert found.startswith(mistake)


def test_fence_of_the_defaults_is_for_those_that_can_have_it(tmp_path: Path) -> None:
    defaults = "[defaults]\nlandlock = true\nwritable = ['data']\n"
    jobs = "[jobs.a]\ncommand = 'true'\n[jobs.b]\ncommand = 'true'\nisolate = false\n"
    more = "[jobs.c]\ncommand = 'true'\nisolate = false\nlandlock = false\n"

    config = load(tmp_path, defaults + jobs + more)

    found = {name: (j.container.landlock, j.container.writable) for name, j in config.jobs.items()}
    expected = {"a": (False, None), "b": (True, (f"{tmp_path}/data",)), "c": (False, None)}
    assert found == expected


@pytest.mark.parametrize("key", ['rootfs = "host"', 'network = "host"', 'userns = "host"'])
def test_what_the_host_has_may_be_asked_for_without(tmp_path: Path, key: str) -> None:
    assert not load_job(tmp_path, f"isolate = false\n{key}").container.isolate


def test_profile_of_seccomp_lies_beside_the_file(tmp_path: Path) -> None:
    profile = tmp_path / "own.json"
    profile.write_text('{"defaultAction": "SCMP_ACT_LOG"}')

    container = load_job(tmp_path, 'seccomp = "own.json"').container

    assert container.seccomp == (str(profile), profile.read_text())


def test_profile_that_changes_makes_another_job(tmp_path: Path) -> None:
    profile = tmp_path / "own.json"
    profile.write_text('{"defaultAction": "SCMP_ACT_LOG"}')
    before = load_job(tmp_path, 'seccomp = "own.json"')

    profile.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')

    assert load_job(tmp_path, 'seccomp = "own.json"') != before


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (None, "must be default, unconfined or a file; {path} cannot be read: No such file or"),
        ("[]", "{path}: must be a table, not []"),
    ],
)
def test_profile_that_is_none_is_a_mistake(tmp_path: Path, text: str | None, mistake: str) -> None:
    path = tmp_path / "own.json"
    if text is not None:
        path.write_text(text)

    (found,) = find_job_mistakes(tmp_path, 'seccomp = "own.json"')

    assert found.startswith(f"seccomp: {mistake.format(path=path)}")
