import os
import resource
import sys
from errno import ENOSYS
from pathlib import Path

import pytest

from mocker.isolation import CommandError, ContainerSpec, Limits, Rlimit, SetupError, Volume
from mocker.isolation.busybox import find_busybox
from mocker.isolation.capabilities import mask_of
from mocker.isolation.devices import NODES
from mocker.isolation.syscalls import mount
from mocker.supervisor.explanation import (
    NOT_AVAILABLE,
    OFF,
    ON,
    Row,
    _explain_keyring,
    explain,
    render,
)
from tests.cgroups import ROOT, show_controllers
from tests.conftest import Mocker
from tests.containers import make_spec, open_container, run_captured, script
from tests.in_namespaces import run_in_child
from tests.refusals import Refusal, bind, enter_private_mounts, refuse_system_calls
from tests.requirements import (
    requires_busybox,
    requires_root,
    requires_subordinate_ids,
    requires_user_namespaces,
)

pytestmark = [requires_busybox, requires_user_namespaces]


PROFILE = '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}'


def find(spec: ContainerSpec, name: str) -> tuple[str, str]:
    """Return the word and the text of a wall."""
    (row,) = [row for row in explain(spec) if row.name == name]
    return row.word, row.text


@pytest.mark.parametrize(
    ("fields", "name", "word", "text"),
    [
        ({}, "namespaces", ON, "cgroup, ipc, mount, pid, uts of its own"),
        ({"network": "host"}, "network", OFF, "it is the host's (on without "),
        ({}, "host files", ON, "the root is busybox in memory; seen are none ("),
        (
            {"volumes": [Volume("/usr", "/a"), Volume("/etc", "/b", read_only=True)]},
            "host files",
            ON,
            "the root is busybox in memory; seen are /usr on /a, /etc on /b (read-only)",
        ),
        ({"rootfs": "host"}, "host files", OFF, "all are seen; changed for good can be none ("),
        (
            {
                "rootfs": "host",
                "volumes": [Volume("/usr", "/a"), Volume("/etc", "/b", read_only=True)],
            },
            "host files",
            OFF,
            "all are seen; changed for good can be /usr (",
        ),
        ({"rootfs": "/usr"}, "host files", ON, "the root is /usr; seen are none ("),
        ({}, "read-only root", OFF, "what is written is gone at the end ("),
        ({"rootfs": "/usr", "rootfs_mode": "rw"}, "read-only root", OFF, "what is written stays"),
        (
            {"rootfs": "/usr", "rootfs_mode": "rw"},
            "bounded writing",
            OFF,
            "what is written goes to",
        ),
        (
            {"env": {"A": "b"}},
            "environment",
            ON,
            "PATH, HOME, TERM, HOSTNAME, A; of the caller's none but what was",
        ),
        ({}, "ulimits", OFF, "as the caller has them (on with --ulimit "),
        ({"terminal": True}, "session", ON, "of its own, with a terminal of its own: "),
        ({"cap_add": ["ALL"]}, "capabilities", OFF, "root has all; "),
        ({"cap_drop": ["ALL"]}, "capabilities", ON, "root has none; "),
        ({"seccomp": "unconfined"}, "seccomp", OFF, "every system call is let through ("),
        ({}, "seccomp", ON, "the default filter, "),
        ({"seccomp": PROFILE}, "seccomp", ON, "the filter of a profile, "),
        ({}, "scheduling", OFF, "runs as the caller does ("),
        ({"nice": 5, "cpu_affinity": [0]}, "scheduling", ON, "--nice 5, --cpu-affinity 0"),
        ({}, "no core dumps", ON, "none is made of what crashes ("),
        ({"rlimits": [Rlimit("core", 0, 1)]}, "no core dumps", OFF, "what crashes leaves one "),
        ({}, "landlock", OFF, "version "),
        ({}, "keyring", ON, "a session keyring of its own"),
    ],
)
def test_wall_is_told_as_it_was_asked_for(
    fields: dict[str, object], name: str, word: str, text: str
) -> None:
    found = find(make_spec(**fields), name)

    assert (found[0], found[1][: len(text)]) == (word, text)


def test_wall_that_the_kernel_lacks_is_not_available() -> None:
    def act() -> tuple[str, str]:
        refuse_system_calls([Refusal("landlock_create_ruleset", ENOSYS)])
        return find(make_spec(), "landlock")

    word, text = run_in_child(act)

    assert word == NOT_AVAILABLE
    assert text.startswith("cannot put up a wall by landlock: Function not implemented (ENOSYS); ")


MEMORY = Limits(memory=2**28)


@pytest.mark.parametrize(
    ("controllers", "limits", "word", "text"),
    [
        ("cpu memory pids", None, OFF, "cpu, memory, pids can be limited (on with --memory, "),
        ("cpu memory pids", MEMORY, ON, f"memory {2**28}, in /sys/fs/cgroup"),
        ("cpu io", MEMORY, NOT_AVAILABLE, "there is no memory in /sys/fs/cgroup"),
    ],
)
def test_limits_are_told_as_they_can_be_had(
    controllers: str, limits: Limits | None, word: str, text: str
) -> None:
    def act() -> tuple[str, str]:
        show_controllers(controllers)
        return find(make_spec(limits=limits), "limits")

    found = run_in_child(act)

    assert (found[0], found[1][: len(text)]) == (word, text)


def test_limits_that_cannot_be_had_at_all_are_not_available() -> None:
    def act() -> tuple[str, str]:
        enter_private_mounts()
        mount("none", str(ROOT), "tmpfs")
        return find(make_spec(), "limits")

    word, text = run_in_child(act)

    assert (word, text.partition(";")[0]) == (NOT_AVAILABLE, "cannot limit a container")


def test_machine_whose_keys_are_unknown_has_no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    names = os.uname_result(("Linux", "host", "6.12", "#1", "sparc64"))
    monkeypatch.setattr(os, "uname", lambda: names)

    row = _explain_keyring()

    assert (row.word, row.text) == (
        NOT_AVAILABLE,
        "cannot have a session keyring; mocker knows no keyctl(2) of sparc64",
    )


@pytest.mark.parametrize(
    ("pattern", "word", "text"),
    [
        ("core", ON, "none is made (on where"),
        ("|/bin/catch %p", OFF, "no file is made, but /bin/catch of the host's is told (on"),
    ],
)
def test_program_of_the_hosts_that_takes_core_dumps_is_told(
    tmp_path: Path, pattern: str, word: str, text: str
) -> None:
    stand_in = tmp_path / "pattern"
    stand_in.write_text(f"{pattern}\n")

    def act() -> tuple[str, str]:
        enter_private_mounts()
        bind(stand_in, "/proc/sys/kernel/core_pattern")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        return find(make_spec(), "no core dumps")

    found = run_in_child(act)

    assert (found[0], found[1][: len(text)]) == (word, text)


def test_rows_are_lines_of_three_columns() -> None:
    rows = [Row(ON, "a", "text", "--option"), Row(NOT_AVAILABLE, "long name", "why")]

    assert render(rows) == [
        "on             a          text (--option)",
        "not available  long name  why",
    ]


def test_container_that_cannot_be_made_is_not_explained() -> None:
    with pytest.raises(SetupError, match="cannot open the rootfs /no/such"):
        explain(make_spec(rootfs="/no/such"))


# What the table says is what a container has.


def test_namespaces_are_its_own() -> None:
    names = [
        name.strip() for name in find(make_spec(), "namespaces")[1].split(" of ")[0].split(",")
    ]
    files = [{"mount": "mnt"}.get(name, name) for name in names]

    seen = run_captured(
        script("for name; do readlink /proc/self/ns/$name; done", *files)
    ).stdout.split()

    assert len(seen) == len(files) == 5
    assert not set(seen) & {str(Path(f"/proc/self/ns/{name}").readlink()) for name in files}


def test_root_is_who_the_table_says() -> None:
    spec = script("echo up; exec sleep 1000")

    with open_container(spec) as (container, output):
        output.readline()
        text = Path(f"/proc/{container.pid}/uid_map").read_text()

    ranges = [tuple(map(int, line.split())) for line in text.splitlines()]
    word, told = find(spec, "user mapping")
    assert word == ON
    assert f"; root is {ranges[0][1]} outside (" in told
    count = sum(count for _, _, count in ranges)
    assert told.startswith("root is the only user" if count == 1 else f"{count} users inside; ")


@requires_root
def test_root_may_be_the_hosts() -> None:
    spec = script("cat /proc/self/uid_map", userns="host")

    assert run_captured(spec).stdout.split() == ["0", "0", str(2**32 - 1)]
    assert find(spec, "user mapping")[0] == OFF


def read_status(**fields: object) -> dict[str, str]:
    """Return what the kernel says of a command."""
    text = run_captured(script("cat /proc/self/status", **fields)).stdout
    lines = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in lines}


@pytest.mark.parametrize(
    "fields", [{}, {"cap_drop": ["ALL"]}, {"cap_add": ["NET_ADMIN"], "cap_drop": ["CHOWN"]}]
)
def test_capabilities_are_those_of_the_table(fields: dict[str, object]) -> None:
    _, text = find(make_spec(**fields), "capabilities")
    names = text.removeprefix("root has ").partition("; ")[0]
    mask = mask_of(name for name in names.split(", ") if name != "none")

    status = read_status(**fields)

    found = {name: int(status[f"Cap{name}"], 16) for name in ("Bnd", "Prm", "Eff", "Inh", "Amb")}
    assert found == {"Bnd": mask, "Prm": mask, "Eff": mask, "Inh": 0, "Amb": 0}


@pytest.mark.parametrize(
    ("userns", "word"), [("private", ON), pytest.param("host", OFF, marks=requires_root)]
)
def test_mounts_are_locked_as_the_table_says(userns: str, word: str) -> None:
    spec = script("umount /proc/sys", userns=userns, cap_add=["ALL"], seccomp="unconfined")

    assert run_captured(spec).status.success == (word == OFF)
    assert find(spec, "locked mounts")[0] == word


@requires_subordinate_ids
def test_other_users_have_no_capabilities_as_the_table_says() -> None:
    status = read_status(user="nobody")

    assert find(make_spec(user="nobody"), "capabilities")[1].count("other users have none") == 1
    assert {status[f"Cap{name}"] for name in ("Prm", "Eff", "Inh", "Amb")} == {"0" * 16}


@pytest.mark.parametrize(("allow", "word"), [(False, ON), (True, OFF)])
def test_new_privileges_are_granted_as_the_table_says(allow: bool, word: str) -> None:
    fields = {"allow_new_privs": allow}

    assert (read_status(**fields)["NoNewPrivs"] == "1") == (word == ON)
    assert find(make_spec(**fields), "no_new_privs")[0] == word


@pytest.mark.parametrize(("seccomp", "word"), [("default", ON), ("unconfined", OFF)])
def test_system_calls_are_filtered_as_the_table_says(seccomp: str, word: str) -> None:
    filters = Path("/proc/self/status").read_text().partition("Seccomp_filters:\t")[2].split()[0]

    more = int(read_status(seccomp=seccomp)["Seccomp_filters"]) - int(filters)

    assert more == (1 if word == ON else 0)
    assert find(make_spec(seccomp=seccomp), "seccomp")[0] == word


@pytest.mark.parametrize(("network", "word"), [("none", ON), ("host", OFF)])
def test_network_is_what_the_table_says(network: str, word: str) -> None:
    spec = script("readlink /proc/self/ns/net", network=network)

    is_own = run_captured(spec).stdout.strip() != str(Path("/proc/self/ns/net").readlink())

    assert is_own == (word == ON)
    assert find(spec, "network")[0] == word


@pytest.mark.parametrize(("read_only", "word"), [(True, ON), (False, OFF)])
def test_root_is_read_only_if_the_table_says_so(read_only: bool, word: str) -> None:
    spec = script("touch /new", read_only=read_only)

    assert run_captured(spec).status.success == (word == OFF)
    assert find(spec, "read-only root")[0] == word


def test_devices_are_those_of_the_table() -> None:
    seen = run_captured(script("find /dev -maxdepth 1 -type c")).stdout.split()

    assert sorted(seen) == sorted(f"/dev/{name}" for name in NODES)
    word, text = find(make_spec(), "devices")
    assert (word, text.partition(";")[0]) == (ON, ", ".join(NODES))


@requires_root
@pytest.mark.parametrize(
    ("added", "word"), [([], ON), (["MKNOD"], ON), (["MKNOD", "SYS_ADMIN"], OFF), (["ALL"], OFF)]
)
def test_root_that_is_the_hosts_makes_devices_as_the_table_says(
    added: list[str], word: str
) -> None:
    text = "mount -o remount,bind,dev /dev; mknod /dev/node c 1 5 && head -c 1 /dev/node"
    fields = {"userns": "host", "cap_add": added}

    assert run_captured(script(text, **fields)).status.success == (word == OFF)
    assert find(make_spec(**fields), "devices")[0] == word


def list_paths(name: str) -> list[str]:
    word, text = find(make_spec(), name)
    assert word == ON
    return text.split(", ")


def test_masked_paths_have_nothing_to_read() -> None:
    paths = list_paths("masked paths")

    seen = run_captured(script("for path; do cat $path $path/* 2>/dev/null; done", *paths)).stdout

    assert "/proc/interrupts" in paths
    assert seen == ""
    assert Path("/proc/interrupts").read_text()  # where there is no mask


def read_mounts(**fields: object) -> dict[str, tuple[set[str], str]]:
    """Return the mounts of a container, as itself sees them: path to flags and file system."""
    text = run_captured(script("cat /proc/self/mountinfo", **fields)).stdout
    lines = [line.split() for line in text.splitlines()]
    return {line[4]: (set(line[5].split(",")), line[line.index("-") + 1]) for line in lines}


def test_read_only_paths_are_so() -> None:
    paths, mounts = list_paths("read-only paths"), read_mounts()

    assert {"/sys", "/proc/sys"} < set(paths)
    assert [path for path in paths if "ro" not in mounts[path][0]] == []
    assert "ro" not in mounts["/proc"][0]


@pytest.mark.parametrize("rootfs", ["busybox", "host"])
def test_mount_flags_are_those_of_the_table(rootfs: str) -> None:
    mounts = read_mounts(rootfs=rootfs, volumes=[Volume("/usr", "/media")])

    may_set_ids = [path for path, (flags, _) in mounts.items() if "nosuid" not in flags]
    has_devices = {path for path, (flags, _) in mounts.items() if "nodev" not in flags}
    assert [path for path in may_set_ids if path != "/" and mounts[path][1] != "overlay"] == []
    terminals = {f"/dev/{name}" for name in (*NODES, "pts")}
    assert (
        terminals <= has_devices <= terminals | set(list_paths("masked paths"))
    )  # by the null device
    assert find(make_spec(), "mount flags")[0] == ON


@pytest.mark.parametrize("rootfs", ["busybox", "host"])
def test_what_is_written_takes_no_more_than_the_table_says(rootfs: str) -> None:
    word, text = find(make_spec(rootfs=rootfs), "bounded writing")
    shown = run_captured(script("stat -f -c '%b %S %c' /tmp", rootfs=rootfs)).stdout

    blocks, size, files = map(int, shown.split())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert (word, text.split(" (")[0]) == (
        ON,
        "what is written takes 20% of the memory and 800k files at most",
    )
    assert blocks * size == pytest.approx(memory / 5, rel=0.01)
    assert files == 800 * 1024


def test_ulimits_are_those_of_the_table() -> None:
    spec = script("ulimit -n; ulimit -Hn; ulimit -Hc", rlimits=[Rlimit("nofile", 70, 77)])

    assert run_captured(spec).stdout.split() == ["70", "77", "0"]
    assert find(spec, "no core dumps")[0] == ON
    assert find(spec, "ulimits") == (ON, "nofile 70:77 (with --ulimit NAME=SOFT[:HARD])")


def test_session_is_its_own() -> None:
    # The sixth field of stat is the session; that of another PID namespace would be 0.
    shown = run_captured(script("cut -d ' ' -f 6 /proc/self/stat")).stdout

    assert shown == "1\n"
    assert find(make_spec(), "session")[0] == ON


def test_init_is_not_looked_into() -> None:
    outcome = run_captured(script("cat /proc/1/environ /proc/1/maps /proc/1/mem; ls /proc/1/fd"))

    assert outcome.stdout == ""
    assert outcome.stderr.count("Permission denied") == 4
    assert find(make_spec(), "init")[0] == ON


@requires_root
@pytest.mark.parametrize(
    ("added", "maps", "program", "word"),
    [([], False, False, ON), (["SYS_ADMIN"], True, False, ON), (["ALL"], True, True, OFF)],
)
def test_init_is_looked_into_by_root_that_is_the_hosts_as_the_table_says(
    added: list[str], maps: bool, program: bool, word: str
) -> None:
    fields = {"userns": "host", "cap_add": added}

    found, text = find(make_spec(**fields), "init")

    assert run_captured(script("cat /proc/1/maps", **fields)).status.success == maps
    assert run_captured(script("readlink /proc/1/exe", **fields)).status.success == program
    assert found == word
    assert ("where it has what in memory" in text) == (maps and not program)


def test_mount_point_that_is_a_link_leads_to_where_it_leads_inside(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    inside = root / outside.relative_to("/")
    for directory in (outside, inside, root / "bin", tmp_path / "volume"):
        directory.mkdir(parents=True)
    (tmp_path / "volume/mark").write_text("of the volume")
    (root / "bin/sh").write_bytes(Path(find_busybox().path).read_bytes())
    (root / "bin/sh").chmod(0o755)
    (root / "data").symlink_to(outside)
    volumes = [Volume(str(tmp_path / "volume"), "/data")]
    fields = {"rootfs": str(root), "rootfs_mode": "rw", "volumes": volumes}

    shown = run_captured(script(f"cat {outside}/mark; echo > {outside}/new", **fields)).stdout

    assert shown == "of the volume"
    assert [*outside.iterdir(), *inside.iterdir()] == []
    assert find(make_spec(**fields), "mount points")[0] == ON


@requires_root
@pytest.mark.parametrize("userns", ["private", "host"])
def test_own_program_is_executed_by_nobody_who_owns_it_as_the_table_says(userns: str) -> None:
    spec = make_spec(argv=["/proc/self/exe", "-c", "pass"], userns=userns)

    word, text = find(spec, "own program")

    own = os.path.realpath(sys.executable)
    assert word == ON
    if userns == "private":
        assert text == f"{own} belongs to nobody inside"
    else:
        assert text == f"{own} is a user's inside, so nothing is executed that leads to it"
        with pytest.raises(CommandError, match="leads to the program that runs mocker"):
            run_captured(spec)


@pytest.mark.parametrize(("fields", "umask"), [({}, "022"), ({"umask": 0o077}, "077")])
def test_umask_is_what_the_table_says(fields: dict[str, object], umask: str) -> None:
    shown = run_captured(script("umask", **fields)).stdout

    assert shown == f"0{umask}\n"
    assert find(make_spec(**fields), "umask")[1].startswith(f"{umask}: which permissions ")


def test_schedule_is_what_the_table_says() -> None:
    spec = script(
        "cut -d ' ' -f 19 /proc/self/stat; cat /proc/self/oom_score_adj", nice=7, oom_score_adj=900
    )

    assert run_captured(spec).stdout.split() == ["7", "900"]
    assert find(spec, "scheduling") == (ON, "--nice 7, --oom-score-adj 900")


def test_descriptors_and_variables_are_those_of_the_table() -> None:
    text = "for fd in $(seq 0 99); do [ -e /proc/$$/fd/$fd ] && echo $fd; done; env | cut -d = -f 1"

    seen = run_captured(script(text, env={"A": "b"})).stdout.split()

    word, told = find(make_spec(), "descriptors")
    assert (word, told.partition(";")[0]) == (ON, "0, 1 and 2")
    assert sorted(seen[:3]) == ["0", "1", "2"]
    assert set(seen[3:]) == {"PATH", "HOME", "TERM", "HOSTNAME", "A", "PWD", "SHLVL"}


# The command.


def test_table_is_printed_and_nothing_is_run(mocker: Mocker, tmp_path: Path) -> None:
    words = ["-v", f"{tmp_path}:/data", "--network", "host", "touch", "/data/new"]

    result = mocker("run", "--explain", *words)

    spec = make_spec(network="host", volumes=[Volume(str(tmp_path), "/data")])
    assert result.stdout.splitlines() == render(explain(spec))
    assert (result.stderr, result.returncode) == ("", 0)
    assert list(tmp_path.iterdir()) == []


def test_table_follows_the_steps_where_both_are_asked_for(mocker: Mocker) -> None:
    steps = mocker("run", "--dry-run", "true").stdout
    walls = mocker("run", "--explain", "true").stdout

    assert mocker("run", "--explain", "--dry-run", "true").stdout == steps + walls


def test_container_that_cannot_be_made_is_refused(mocker: Mocker) -> None:
    result = mocker("run", "--explain", "--rootfs", "/no/such", "true")

    assert result.stderr.startswith("mocker run: cannot open the rootfs /no/such: ")
    assert (result.stdout, result.returncode) == ("", 125)
