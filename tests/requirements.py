"""What a test needs of its host: a mark for each ability, probed once.

A test whose host lacks the ability skips and says what is missing. With MOCKER_TESTS_MUST_RUN=1,
which CI sets, it fails instead, so that a pass cannot be hollow. The two marks that exclude each
other, requires_root and requires_user, are then deselected where they do not fit, because the suite
runs once as each.

Probing says "" if all is well, or what is in the way.
"""

import getpass
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest

MUST_RUN = os.environ.get("MOCKER_TESTS_MUST_RUN") == "1"
IS_ROOT = os.geteuid() == 0

# How many IDs a range must hold: an image's files belong to any ID below nobody's, 65534.
SUBORDINATE_IDS = 65536
PT_INTERP = 3  # elf(5): the program header that names the dynamic linker

Probe = Callable[[], str]


def requires(find_obstacle: Probe) -> pytest.MarkDecorator:
    """Return the mark of tests that need what the probe does not report as missing."""
    # with_args, because a mark called with a function alone decorates that function.
    return pytest.mark.requires.with_args(find_obstacle)


def requires_commands(*names: str) -> pytest.MarkDecorator:
    """Return the mark of tests that run these programs."""

    return requires(partial(find_command_obstacle, *names))


def find_command_obstacle(*names: str) -> str:
    missing = [name for name in names if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


@cache
def find_busybox_obstacle() -> str:
    path = shutil.which("busybox")
    if path is None:
        return "busybox is not installed"
    if is_dynamic(Path(path).read_bytes()):
        return f"{path} is not linked statically; install busybox-static"
    return ""


def is_dynamic(program: bytes) -> bool:
    """Tell whether a 64-bit ELF file asks for a dynamic linker, without which it cannot start."""
    (offset,) = struct.unpack_from("=Q", program, 32)
    size, count = struct.unpack_from("=HH", program, 54)
    headers = (offset + size * index for index in range(count))
    return any(struct.unpack_from("=I", program, header)[0] == PT_INTERP for header in headers)


@cache
def find_user_namespace_obstacle() -> str:
    # A mount too: AppArmor's restriction grants the namespace and takes every capability in it.
    probe = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    try:
        result = subprocess.run(probe, capture_output=True, text=True, timeout=10, check=False)
    except OSError as error:
        return f"cannot run unshare: {error.strerror}"
    return result.stderr.strip() if result.returncode else ""


@cache
def find_subordinate_id_obstacle() -> str:
    if IS_ROOT:
        return ""  # root maps any range without asking newuidmap
    for helper, table in (("newuidmap", "/etc/subuid"), ("newgidmap", "/etc/subgid")):
        if shutil.which(helper) is None:
            return f"{helper} is not installed"
        if count_subordinate_ids(Path(table)) < SUBORDINATE_IDS:
            return f"{table} grants {getpass.getuser()} no range of {SUBORDINATE_IDS} IDs"
    return ""


def count_subordinate_ids(table: Path) -> int:
    """Return the length of the caller's longest range in a subuid(5) table."""
    lines = table.read_text().splitlines() if table.exists() else []
    entries = (line.split(":") for line in lines)
    owners = {getpass.getuser(), str(os.getuid())}
    return max((int(entry[2]) for entry in entries if entry[0] in owners), default=0)


requires_root = pytest.mark.privileged
requires_user = pytest.mark.unprivileged
requires_busybox = requires(find_busybox_obstacle)
requires_user_namespaces = requires(find_user_namespace_obstacle)
requires_subordinate_ids = requires(find_subordinate_id_obstacle)


def find_identity_obstacle(item: pytest.Item) -> str:
    """Say which user the test needs, if it is not the one who runs it; "" if it fits."""
    if item.get_closest_marker("privileged") and not IS_ROOT:
        return "needs root"
    if item.get_closest_marker("unprivileged") and IS_ROOT:
        return "needs an ordinary user"
    return ""
