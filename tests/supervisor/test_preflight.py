import os
from errno import EOPNOTSUPP
from pathlib import Path

import pytest

from mocker.isolation.syscalls import mount
from mocker.supervisor.config_file import read_config
from mocker.supervisor.preflight import check_jobs
from tests.cgroups import show_controllers, show_disk
from tests.configs import write_config
from tests.in_namespaces import run_in_child
from tests.refusals import Refusal, enter_private_mounts, refuse_system_calls
from tests.requirements import requires_busybox, requires_root, requires_user


def check(directory: Path, keys: str, command: str = "true") -> list[str]:
    """Return what would keep a job from starting: "KEY: TEXT"."""
    text = f'[jobs.web]\ncommand = "{command}"\n{keys}\n'
    config, mistakes = read_config(str(write_config(directory, text)), {})
    assert not mistakes  # a test with a wrong file would say nothing
    check_jobs(config, mistakes)
    return [line.partition(" jobs.web.")[2] for line in mistakes.render()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a root with a shell that needs nothing, and two users."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "bin/sh").symlink_to("program")
    (root / "bin/program").write_bytes(b"\x7fELF")
    (root / "bin/program").chmod(0o755)
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nweb:x:5:5::/:/bin/sh\n")
    (root / "etc/group").write_text("web:x:5:\n")
    return root


@requires_busybox
def test_job_of_the_fresh_root_could_start(tmp_path: Path) -> None:
    assert check(tmp_path, 'user = "nobody:nogroup"\nworkdir = "/made/for/it"') == []


@requires_busybox
def test_job_could_have_its_turn(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))

    assert check(tmp_path, f"nice = 19\noom_score_adj = 1000\ncpu_affinity = [{cpu}]") == []


@requires_busybox
@pytest.mark.parametrize("isolate", ["true", "false"])
def test_cpu_that_is_not_there_is_told(tmp_path: Path, isolate: str) -> None:
    (mistake,) = check(tmp_path, f"nice = 19\ncpu_affinity = [8191]\nisolate = {isolate}")

    assert mistake.startswith(
        "cpu_affinity: cannot run on the CPUs 8191: Invalid argument (EINVAL)"
    )


@requires_user
@requires_busybox
def test_turn_that_comes_before_the_callers_is_told(tmp_path: Path) -> None:
    nice, score = check(tmp_path, "nice = -20\noom_score_adj = -1000")

    assert nice.startswith("nice: cannot set the nice value to -20: Permission denied (EACCES); ")
    assert score.startswith("oom_score_adj: cannot set oom_score_adj to -1000: Permission denied")


@requires_busybox
@pytest.mark.parametrize(
    ("controllers", "mistakes"),
    [
        ("cpu io memory pids", []),
        ("cpu memory", ["pids: cannot be limited in ", "io_weight: cannot be limited in "]),
    ],
)
def test_limits_need_their_controllers(
    tmp_path: Path, controllers: str, mistakes: list[str]
) -> None:
    keys = 'memory = "64M"\ncpus = 0.5\npids = 100\nio_weight = 50'

    def look() -> list[str]:
        show_controllers(controllers)
        show_disk("none [bfq]")
        return check(tmp_path, keys)

    found = run_in_child(look)

    assert [line[: line.index("/sys")] for line in found] == mistakes
    assert all(line.endswith("'") for line in found)


@requires_busybox
@pytest.mark.parametrize(
    ("scheduler", "weight", "text"),
    [
        ("[none] bfq", 50, "io_weight: cannot be 50; no disk heeds it; "),
        ("none [bfq]", 1001, "io_weight: cannot be 1001; the scheduler bfq, which a disk has, "),
    ],
)
def test_weight_needs_a_disk_that_heeds_it(
    tmp_path: Path, scheduler: str, weight: int, text: str
) -> None:
    def look() -> list[str]:
        show_controllers("io")
        show_disk(scheduler)
        return check(tmp_path, f"io_weight = {weight}")

    (mistake,) = run_in_child(look)

    assert mistake.startswith(text)


@requires_busybox
def test_limits_need_a_place_for_cgroups(tmp_path: Path) -> None:
    def look() -> list[str]:
        enter_private_mounts()
        mount("none", "/sys/fs/cgroup", "tmpfs")
        return check(tmp_path, "pids = 100\ncpus = 1")

    (mistake,) = run_in_child(look)

    assert mistake.startswith("cpus: cannot limit a container; no cgroups are mounted on ")


def test_job_of_a_directory_could_start(tmp_path: Path, root: Path) -> None:
    assert check(tmp_path, 'rootfs = "root"\nuser = "web:web"', "sh -c true") == []


def test_job_of_the_host_could_start(tmp_path: Path) -> None:
    assert check(tmp_path, 'rootfs = "host"', "/bin/sh") == []


@pytest.mark.parametrize(
    ("rootfs", "sentence"),
    [
        ("nosuch", "cannot find '{}/nosuch': No such file or directory (ENOENT)"),
        ("jobs.toml", "cannot use '{}/jobs.toml' as rootfs: it is not a directory"),
        ("jobs.toml/a", "cannot find '{}/jobs.toml/a': Not a directory (ENOTDIR)"),
    ],
)
def test_root_must_be_a_directory(tmp_path: Path, rootfs: str, sentence: str) -> None:
    assert check(tmp_path, f'rootfs = "{rootfs}"') == [f"rootfs: {sentence.format(tmp_path)}"]


@requires_busybox
def test_command_must_be_in_the_root(tmp_path: Path) -> None:
    (mistake,) = check(tmp_path, "", "python3 -m http.server")

    assert mistake.startswith(
        "command: cannot execute 'python3': it is in no directory of the container's PATH, "
    )


@requires_busybox
def test_commands_that_ask_for_readiness_and_life_must_be_there_too(tmp_path: Path) -> None:
    found = check(tmp_path, 'ready = { exec = ["/a"] }\nalive = { exec = "/b x" }')

    assert found == [
        "ready.exec: cannot execute '/a': /a is not there",
        "alive.exec: cannot execute '/b': /b is not there",
    ]


@pytest.mark.parametrize(
    ("user", "sentence"),
    [
        ("wbe", "there is no user 'wbe' in the container's /etc/passwd; did you mean 'web'?"),
        ("web:wep", "there is no group 'wep' in the container's /etc/group; did you mean 'web'?"),
        ("0:nosuch", "there is no group 'nosuch' in the container's /etc/group"),
    ],
)
def test_user_must_be_in_the_root(tmp_path: Path, root: Path, user: str, sentence: str) -> None:
    assert check(tmp_path, f'rootfs = "root"\nuser = "{user}"', "sh") == [f"user: {sentence}"]


@pytest.mark.parametrize("user", ["1234", "1234:5678", "web:7"])
def test_number_of_a_user_needs_no_name(tmp_path: Path, root: Path, user: str) -> None:
    assert check(tmp_path, f'rootfs = "root"\nuser = "{user}"', "sh") == []


@requires_busybox
def test_volumes_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()

    found = check(tmp_path, 'volumes = ["./there:/a", "./nosuch:/b", "/dev/null:/c"]')

    assert found == [
        f"volumes[1]: cannot find '{tmp_path}/nosuch': No such file or directory (ENOENT)",
        "volumes[2]: cannot show '/dev/null': a container has no device of the host",
    ]


@requires_busybox
@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("nosuch", "cannot find '{}/nosuch': No such file or directory (ENOENT)"),
        (".", "cannot read '{}': it is a directory"),
    ],
)
def test_standard_input_must_be_there(tmp_path: Path, path: str, sentence: str) -> None:
    assert check(tmp_path, f'stdin = "{path}"') == [f"stdin: {sentence.format(tmp_path)}"]


@requires_busybox
@requires_user
def test_standard_input_must_be_readable(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(0o000)

    assert check(tmp_path, 'stdin = "secret"') == [
        f"stdin: cannot read '{tmp_path}/secret': Permission denied (EACCES)"
    ]


@requires_busybox
def test_working_directory_must_be_none_that_is_a_file(tmp_path: Path) -> None:
    assert check(tmp_path, 'workdir = "/bin/busybox"') == [
        "workdir: cannot change to '/bin/busybox': it is not a directory"
    ]


def test_places_to_write_to_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    keys = "isolate = false\nlandlock = true\nwritable = ['data', 'nosuch']"

    found = check(tmp_path, keys, "/bin/sh")

    assert found == [
        f"writable[1]: cannot find '{tmp_path}/nosuch': No such file or directory (ENOENT)"
    ]


def test_kernel_must_have_the_wall_that_is_asked_for(tmp_path: Path) -> None:
    def act() -> list[str]:
        refuse_system_calls([Refusal("landlock_create_ruleset", EOPNOTSUPP)])
        return check(tmp_path, "isolate = false\nlandlock = true", "/bin/sh")

    (mistake,) = run_in_child(act)

    assert mistake.startswith("landlock: cannot put up a wall by landlock: Operation not supp")


def test_process_that_is_not_isolated_gets_no_directory_made(tmp_path: Path) -> None:
    found = check(tmp_path, 'isolate = false\nworkdir = "/no/such"', "/bin/sh")

    assert found == ["workdir: cannot change to '/no/such': /no/such is not there"]


def test_process_that_is_not_isolated_has_the_commands_of_the_host(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)

    assert check(tmp_path, "isolate = false", str(script)) == []


def test_search_path_is_that_of_the_job(tmp_path: Path, root: Path) -> None:
    (root / "opt").mkdir()
    os.link(root / "bin/program", root / "opt/tool")

    assert check(tmp_path, 'rootfs = "root"\nenv = { PATH = "/opt" }', "tool") == []
    assert len(check(tmp_path, 'rootfs = "root"', "tool")) == 1


@requires_busybox
@requires_user
def test_user_namespace_of_the_host_is_for_root(tmp_path: Path) -> None:
    (mistake,) = check(tmp_path, 'userns = "host"')

    assert mistake.startswith("userns: cannot share the host's user namespace")


@requires_busybox
@requires_root
def test_user_namespace_of_the_host_is_roots_to_share(tmp_path: Path) -> None:
    assert check(tmp_path, 'userns = "host"') == []


@requires_busybox
def test_mistake_of_a_default_is_told_there_and_once(tmp_path: Path) -> None:
    text = '[defaults]\ncommand = "/nosuch"\n[jobs.a]\nreplicas = 3\n[jobs.b]\n'
    config, mistakes = read_config(str(write_config(tmp_path, text)), {})

    check_jobs(config, mistakes)

    assert mistakes.render() == (
        f"{tmp_path}/jobs.toml:2: defaults.command: cannot execute '/nosuch': /nosuch is not there",
    )


def test_missing_busybox_is_told_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mocker.isolation.busybox._SEARCH_PATH", "")
    monkeypatch.setenv("PATH", "")

    (mistake,) = check(tmp_path, "")

    assert mistake.startswith("rootfs: cannot find a static busybox; install busybox-static")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("web.log", ""),
        ("logs/web.log", ""),
        ("/dev/stdout", ""),
        ("/dev/null", ""),
        (".", "cannot write to '{}': it is a directory"),
        ("a/b/web.log", "cannot find '{}/a': No such file or directory (ENOENT)"),
        (
            "jobs.toml/web.log",
            "cannot write to '{0}/jobs.toml/web.log': '{0}/jobs.toml' is not a directory",
        ),
    ],
)
@requires_busybox
def test_log_file_must_have_a_place(tmp_path: Path, path: str, sentence: str) -> None:
    found = check(tmp_path, f'stdout = ["console", {{ file = "{path}" }}]')

    assert found == ([f"stdout: {sentence.format(tmp_path)}"] if sentence else [])


@requires_user
@requires_busybox
def test_log_file_must_be_writable(tmp_path: Path) -> None:
    (tmp_path / "web.log").touch(0o400)

    assert check(tmp_path, 'output = { file = "web.log" }') == [
        f"output: cannot write to '{tmp_path}/web.log': it is not writable"
    ]
    assert check(tmp_path, 'output = { file = "/etc/web.log" }') == [
        "output: cannot write to '/etc/web.log': '/etc' is not writable"
    ]
