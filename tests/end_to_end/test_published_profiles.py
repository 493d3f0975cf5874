"""Commands under the profiles that others publish, see tests/fetch."""

import os
import sys
from errno import EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, EPERM
from pathlib import Path

import pytest

from tests.conftest import Mocker
from tests.end_to_end.call_program import write_program
from tests.end_to_end.controlled import open_controlled
from tests.isolation.seccomp.published import (
    each_profile,
    find_profile,
    requires_published_profiles,
)
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [
    pytest.mark.end_to_end,
    requires_busybox,
    requires_user_namespaces,
    requires_published_profiles,
]

PYTHON = os.path.realpath(sys.executable)  # that of the host, where an environment is in /tmp
# Threads, processes, sockets, files: of each of them a C library makes calls that came late.
PROGRAM = """
import os, socket, subprocess, tempfile, threading
seen = []
def look(): seen.append(subprocess.run(["cat", "/proc/self/comm"], capture_output=True).stdout)
threads = [threading.Thread(target=look) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
server = socket.create_server(("127.0.0.1", 0))
with socket.create_connection(server.getsockname()) as near, server.accept()[0] as far:
    near.sendall(b"heard")
    seen.append(far.recv(9))
with tempfile.TemporaryDirectory() as directory:
    os.symlink("elsewhere", f"{directory}/link")
    os.rename(f"{directory}/link", f"{directory}/other")
    seen.append(os.readlink(f"{directory}/other"))
print(seen, len(os.listdir("/proc/self/fd")) > 2, os.cpu_count() > 0)
"""
SHOWN = "[b'cat\\n', b'cat\\n', b'cat\\n', b'heard', 'elsewhere'] True True\n"

CLONE_NEWNS, CLONE_NEWUSER, INVALID = 0x2_0000, 0x1000_0000, 0x200
X32 = 2**30
# Calls that the kernel answers in another way than a profile that denies them.
CALLS: dict[str, tuple[str, int, tuple[int, ...]]] = {
    "keyctl": ("x86_64", 250, (9999,)),
    "i386 keyctl": ("i386", 288, (9999,)),
    "userfaultfd": ("x86_64", 323, (1,)),
    "mount": ("x86_64", 165, ()),
    "i386 mount": ("i386", 21, ()),
    "unshare": ("x86_64", 272, (CLONE_NEWUSER,)),
    "clone": ("x86_64", 56, (CLONE_NEWNS | INVALID,)),
    "clone3": ("x86_64", 435, ()),
    "kcmp": ("x86_64", 312, (2, 2, 99)),
    "personality": ("x86_64", 135, (0x40_0000,)),
    "personality of Linux": ("x86_64", 135, (0,)),
    "x32": ("x86_64", X32 | 39, ()),
    "getpid": ("x86_64", 39, ()),
    "i386 getpid": ("i386", 20, ()),
}
KERNELS = {
    "keyctl": EOPNOTSUPP,
    "i386 keyctl": EOPNOTSUPP,
    "userfaultfd": 0,
    "mount": EFAULT,
    "i386 mount": EFAULT,
    "unshare": 0,
    "clone": EINVAL,
    "clone3": EINVAL,
    "kcmp": EINVAL,
    "personality": 0,
    "personality of Linux": 0,
    "x32": ENOSYS,
    "getpid": 0,
    "i386 getpid": 0,
}
_OF_DOCKER = dict.fromkeys(
    (
        *("keyctl", "i386 keyctl", "userfaultfd", "mount", "i386 mount", "unshare", "clone"),
        *("kcmp", "personality", "x32"),
    ),
    EPERM,
) | {"clone3": ENOSYS}
# What each profile denies, with which error, to a container that has no more capabilities than
# usual. The third and the fourth are for containers in which containers are made.
DENIED = {
    "docker": _OF_DOCKER,
    "docker-of-old": _OF_DOCKER,
    "podman": {"userfaultfd": EPERM, "kcmp": EPERM, "personality": ENOSYS, "x32": EPERM},
    "flatpak": {
        **dict.fromkeys(("keyctl", "i386 keyctl", "userfaultfd", "kcmp", "personality"), EPERM),
        "x32": EPERM,
        "clone3": ENOSYS,
    },
}
# What a capability has a profile let through.
GIVEN = [
    *(
        ("docker", "sys_admin", call)
        for call in ("mount", "i386 mount", "unshare", "clone", "clone3")
    ),
    *((profile, "sys_ptrace", "kcmp") for profile in ("docker", "podman", "flatpak")),
]
MOUNT = ["sh", "-c", "mkdir /mnt && mount -t tmpfs none /mnt && grep ' /mnt ' /proc/mounts"]

each_call = pytest.mark.parametrize("call", CALLS)


def answer(mocker: Mocker, directory: Path, call: str, *options: str) -> int:
    """Return the error that a call fails with in a container, or 0."""
    program = write_program(directory / "call", *CALLS[call])
    result = mocker("run", *options, "-v", f"{program}:/call:ro", "/call")
    assert result.stderr == ""
    return result.returncode


@each_profile
def test_busybox_runs(mocker: Mocker, profile: str) -> None:
    script = "ls / | grep -x proc; grep ^Seccomp: /proc/self/status; date +%Y | wc -c"

    result = mocker("run", "--seccomp", str(find_profile(profile)), "sh", "-c", script)

    shown = "proc\nSeccomp:\t2\n5\n"
    assert (result.returncode, result.stdout, result.stderr) == (0, shown, "")


@each_profile
def test_program_of_the_host_runs(mocker: Mocker, profile: str) -> None:
    options = ["--rootfs", "host", "--seccomp", str(find_profile(profile))]

    result = mocker("run", *options, PYTHON, "-I", "-c", PROGRAM)

    assert (result.returncode, result.stdout, result.stderr) == (0, SHOWN, "")


@each_call
@each_profile
def test_call_is_answered_as_the_profile_says(
    mocker: Mocker, tmp_path: Path, profile: str, call: str
) -> None:
    found = answer(mocker, tmp_path, call, "--seccomp", str(find_profile(profile)))

    assert found == DENIED[profile].get(call, KERNELS[call])


@each_call
def test_kernel_answers_by_itself_otherwise(mocker: Mocker, tmp_path: Path, call: str) -> None:
    assert answer(mocker, tmp_path, call, "--seccomp", "unconfined") == KERNELS[call]


@pytest.mark.parametrize(("profile", "capability", "call"), GIVEN)
def test_capability_has_the_profile_let_a_call_through(
    mocker: Mocker, tmp_path: Path, profile: str, capability: str, call: str
) -> None:
    options = ["--seccomp", str(find_profile(profile)), "--cap-add", capability]

    found = answer(mocker, tmp_path, call, *options)

    assert DENIED[profile][call] != KERNELS[call] == found


@pytest.mark.parametrize("call", ["mount", "clone", "clone3", "kcmp"])
def test_capability_changes_nothing_where_the_profile_knows_none(
    mocker: Mocker, tmp_path: Path, call: str
) -> None:
    options = ["--seccomp", str(find_profile("docker-of-old")), "--cap-add", "all"]

    assert answer(mocker, tmp_path, call, *options) == DENIED["docker-of-old"][call]


def test_administrator_mounts_under_dockers_profile(mocker: Mocker) -> None:
    options = ["--seccomp", str(find_profile("docker"))]

    plain = mocker("run", *options, *MOUNT)
    admin = mocker("run", *options, "--cap-add", "sys_admin", *MOUNT)

    assert (plain.returncode, plain.stdout) == (1, "")
    assert "permission denied" in plain.stderr
    assert (admin.returncode, admin.stderr) == (0, "")
    assert admin.stdout.startswith("none /mnt tmpfs rw")


def test_job_and_what_is_executed_in_it_are_under_dockers_profile(tmp_path: Path) -> None:
    text = f"""
        [jobs.web]
        command = ["sh", "-c", "echo up; sleep 1000"]
        ready = {{ log = "up" }}
        seccomp = "{find_profile("docker")}"
    """
    with open_controlled(tmp_path, text) as run:
        run.run.wait_event("job.ready")

        denied = run.mocker("exec", "web", "unshare", "-U", "true")
        shown = run.mocker("exec", "web", "grep", "^Seccomp:", "/proc/self/status")

    assert (denied.returncode, shown.stdout) == (1, "Seccomp:\t2\n")
    assert "Operation not permitted" in denied.stderr
