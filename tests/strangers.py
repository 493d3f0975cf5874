"""What somebody who has no rights on the host would find there, to be looked for from inside.

A file that only its owner may read proves nothing of a jail: the container's root is another user.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mocker.isolation.user_mapping import plan_user_mapping
from tests.requirements import IS_ROOT


@contextmanager
def readable_by_everybody(content: str) -> Iterator[Path]:
    """Make a file for the length of a block that is out of reach for nobody on the host."""
    with tempfile.TemporaryDirectory(prefix="for-everybody-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        file = Path(name, "file")
        file.write_text(content)
        file.chmod(0o644)
        yield file


def run_outside(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script as who a container's root is on the host, but in no container."""
    mapping = plan_user_mapping()
    return subprocess.run(
        ["busybox", "sh", "-c", script, *arguments],
        cwd="/tmp",
        user=mapping.uids[0].outside if IS_ROOT else None,
        group=mapping.gids[0].outside if IS_ROOT else None,
        extra_groups=() if IS_ROOT else None,
        capture_output=True,
        text=True,
        check=False,
    )
