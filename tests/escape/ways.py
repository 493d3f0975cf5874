"""The ways to run a program that `mocker run` is not: as a job, and beside a job's command."""

import os
from collections.abc import Sequence

from mocker.isolation import ContainerSpec, ForkServer, Volume

_MOST = 2**20  # bytes of output


def run_as_job(argv: Sequence[str], stdin: int, user: str | None, volumes: list[Volume]) -> str:
    """Run a program in a container as a supervisor does, by a fork server; return its output."""
    output = os.memfd_create("output")
    try:
        spec = ContainerSpec(argv, rootfs="host", volumes=volumes, user=user)
        with (
            ForkServer() as server,
            server.spawn(spec, stdin=stdin, stdout=output, stderr=output) as container,
        ):
            container.wait()
        return os.pread(output, _MOST, 0).decode()
    finally:
        os.close(output)


def run_beside(argv: Sequence[str], stdin: int, user: str | None, volumes: list[Volume]) -> str:
    """Run a program beside the command of such a container; return its output."""
    output = os.memfd_create("output")
    try:
        spec = ContainerSpec(["sleep", "1000"], rootfs="host", volumes=volumes, user=user)
        with (
            ForkServer() as server,
            server.spawn(spec, stdin=stdin, stdout=output, stderr=output) as container,
            container.start_process(argv, stdio=(stdin, output, output)) as process,
        ):
            process.wait()
        return os.pread(output, _MOST, 0).decode()
    finally:
        os.close(output)
