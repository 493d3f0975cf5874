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
from tests.in_namespaces import run_in_child
from tests.keys import SEARCH, hold_key
from tests.requirements import requires_busybox, requires_root, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_busybox, requires_user_namespaces]

MOCKER = str(Path(sys.executable).with_name("mocker"))


@pytest.mark.parametrize("options", [[], ["--allow-new-privs"]], ids=" ".join)
def test_keys_of_the_caller_are_out_of_reach(options: list[str]) -> None:
    # The filter would keep the program from looking.
    inside = [MOCKER, "run", "--rootfs", "host", "--seccomp", "unconfined", *options]

    def act() -> list[tuple[str, str]]:
        hold_key()
        commands = SEARCH, [*inside, *SEARCH]
        return [run_captured(command) for command in commands]

    assert run_in_child(act) == [("found\n", ""), ("none\n", "")]


def run_captured(command: list[str]) -> tuple[str, str]:
    """Return what a command writes to stdout and to stderr."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return ended.stdout, ended.stderr


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
