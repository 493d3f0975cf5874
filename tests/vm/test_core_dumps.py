"""No core dump of a container's reaches the program that takes those of the host."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Mocker
from tests.requirements import requires_busybox, requires_root
from tests.vm.machine import wait_until

PATTERN = Path("/proc/sys/kernel/core_pattern")
TAKER = "#!/bin/sh\ncat >/dev/null\necho $1 >>{}\n"
CRASH = ["sh", "-c", "kill -ABRT $$"]


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Path]:
    """Let a program take all core dumps, as Ubuntu's does; return where it notes them."""
    program, told = tmp_path / "taker", tmp_path / "told"
    program.write_text(TAKER.format(told))
    program.chmod(0o755)
    before = PATTERN.read_text()
    PATTERN.write_text(f"|{program} %h")
    yield told
    PATTERN.write_text(before)


@requires_root
@requires_busybox
def test_program_that_takes_core_dumps_is_told_of_those_alone_that_are_asked_for(
    mocker: Mocker, told: Path
) -> None:
    mocker("run", "--name", "unasked", *CRASH, timeout=60)
    mocker("run", "--name", "asked", "--ulimit", "core=-1", *CRASH, timeout=60)
    wait_until(lambda: told.exists() and "\nasked" in f"\n{told.read_text()}")

    assert told.read_text() == "asked\n"
