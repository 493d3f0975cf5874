import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mocker.supervisor.control import usage
from mocker.supervisor.control.usage import measure_use
from tests.containers import in_container, open_container, script
from tests.requirements import requires_user_namespaces

PATIENCE = 10.0
SPIN = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"


@contextmanager
def open_process(program: str) -> Iterator[subprocess.Popen[str]]:
    """Run a shell script that says when it is ready, and end it when its stdin does."""
    with subprocess.Popen(
        ["sh", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


def test_processes_below_an_init_are_counted_without_it() -> None:
    with open_process("sleep 1000 & echo ready; read -r _; kill $!") as process:
        uses = measure_use([process.pid])

    assert uses[process.pid].processes == 1
    assert uses[process.pid].memory_bytes >= os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_time_of_processes_that_have_ended_is_counted() -> None:
    with open_process(f"(sh -c '{SPIN}'; true); echo ready; read -r _") as process:
        uses = measure_use([process.pid])

    assert uses[process.pid].processes == 0
    assert uses[process.pid].cpu_s > 0


def test_each_is_measured_for_itself() -> None:
    with open_process("echo ready; read -r _") as one, open_process("echo ready; read _") as other:
        uses = measure_use([one.pid, other.pid])

    assert {pid: use.processes for pid, use in uses.items()} == {one.pid: 0, other.pid: 0}


def test_process_that_is_gone_is_left_out() -> None:
    with open_process("echo ready") as process:
        process.wait()

    assert measure_use([process.pid]) == {}


@in_container
def test_container_uses_what_its_processes_do() -> None:
    with open_container(script("sleep 1000 & sleep 1000 & echo ready; wait")) as (container, out):
        assert out.readline() == "ready\n"

        use = measure_use([container.pid])[container.pid]

    assert use.processes == 3


def test_name_with_spaces_and_parentheses_misleads_nobody(tmp_path: Path) -> None:
    program = tmp_path / ") R 1 ("
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)

    with subprocess.Popen([program, "1000"]) as process:
        deadline = time.monotonic() + PATIENCE
        while b") R 1 (" not in Path(f"/proc/{process.pid}/stat").read_bytes():
            assert time.monotonic() < deadline
        processes = measure_use([os.getpid()])[os.getpid()].processes
        process.kill()

    assert processes >= 1


def test_children_of_each_other_end_the_search() -> None:
    children = {1: [2], 2: [3], 3: [2]}

    assert usage._list_below(1, children) == [2, 3, 2]


@requires_user_namespaces
def test_nothing_is_known_where_proc_is_of_another_namespace() -> None:
    program = f"from {usage.__name__} import measure_use; print(measure_use([1]))"
    in_another = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]

    result = subprocess.run(
        [*in_another, sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert (result.stdout, result.stderr) == ("{}\n", "")


def test_processes_that_come_and_go_are_no_error() -> None:
    with open_process("echo ready; while :; do sh -c 'sh -c :'; done") as process:
        used = [measure_use([process.pid])[process.pid].cpu_s for _ in range(50)]
        process.kill()

    assert used[-1] >= used[0]
