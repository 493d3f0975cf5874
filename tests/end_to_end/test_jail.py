"""What a container must not get hold of: the caller's keys, the host's devices, a way out."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mocker.isolation import ContainerSpec, ExitStatus, ForkServer
from tests.conftest import Mocker
from tests.requirements import requires_busybox, requires_root, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_busybox, requires_user_namespaces]

MOCKER = str(Path(sys.executable).with_name("mocker"))

PYTHON = os.path.realpath(sys.executable)  # that of the host, where an environment is in /tmp

# keyctl(2) and add_key(2) by number, as libkeyutils is not everywhere: 1 joins a session keyring,
# 10 searches, -3 names the session's.
WITH_A_KEY = """
import ctypes, os, sys
x86 = os.uname().machine == "x86_64"
add_key, keyctl = (248, 250) if x86 else (217, 219)
libc = ctypes.CDLL(None)
assert libc.syscall(keyctl, 1, None) > 0
assert libc.syscall(add_key, b"user", b"mocker-secret", b"hunter2", ctypes.c_size_t(7), -3) > 0
os.execv(sys.argv[1], sys.argv[1:])
"""
SEARCH_FOR_THE_KEY = """
import ctypes, os
libc = ctypes.CDLL(None)
keyctl = 250 if os.uname().machine == "x86_64" else 219
print("found" if libc.syscall(keyctl, 10, -3, b"user", b"mocker-secret", 0) > 0 else "none")
"""


def test_keys_of_the_caller_are_out_of_reach() -> None:
    search = [PYTHON, "-ISc", SEARCH_FOR_THE_KEY]

    answers = [
        subprocess.run(
            [PYTHON, "-ISc", WITH_A_KEY, *prefix, *search],
            capture_output=True,
            text=True,
            check=False,
        )
        for prefix in ([], [MOCKER, "run", "--rootfs", "host"])
    ]

    assert [(answer.stdout, answer.stderr) for answer in answers] == [
        ("found\n", ""),
        ("none\n", ""),
    ]


@requires_root
@pytest.mark.parametrize(
    "options",
    [[], ["--rootfs-mode", "rw"], ["--userns", "host"], ["--rootfs-mode", "rw", "--userns=host"]],
)
def test_device_node_in_a_rootfs_is_dead(
    mocker: Mocker, tmp_path: Path, options: list[str]
) -> None:
    shutil.copy(shutil.which("busybox") or "", tmp_path / "head")
    os.mknod(tmp_path / "zero", 0o666 | 0o020000, os.makedev(1, 5))

    result = mocker("run", "--rootfs", str(tmp_path), *options, "/head", "-c", "1", "/zero")

    assert (result.returncode, result.stdout) == (1, "")
    assert "Permission denied" in result.stderr


def test_interrupt_that_the_caller_ignores_is_not_forwarded() -> None:
    ignore = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]
    command = [*ignore, MOCKER, "run", "sh", "-c", "echo ready; read line; exit 7"]

    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        process.communicate("go on\n")

    assert process.returncode == 7


def test_signal_before_the_command_is_executed_ends_it_and_not_mocker() -> None:
    with ForkServer() as server:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            container = server.start(ContainerSpec(["sleep", "1000"]))
            container.send_signal(number)
            container.wait_started()

            status = container.wait(10)
            container.close()

            assert status == ExitStatus(signal=number)
