import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from tests.leaks import find_leaks, observe
from tests.requirements import requires_root


def test_nothing_done_is_no_leak() -> None:
    before = observe()

    assert find_leaks(before) == []


def test_open_descriptor_is_a_leak() -> None:
    before = observe()

    with Path(os.devnull).open():
        leaks = find_leaks(before, patience=0)

    assert [leak.rpartition(": ")[2] for leak in leaks] == [os.devnull]


def test_unreaped_child_is_a_leak() -> None:
    before = observe()

    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        leaks = find_leaks(before, patience=0)

    assert leaks == [f"child {child.pid}: a zombie"]


def test_child_that_is_about_to_end_is_no_leak() -> None:
    before = observe()
    child = subprocess.Popen(["sleep", "0.05"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    child.wait()

    assert find_leaks(before) == []


def test_thread_is_a_leak() -> None:
    before = observe()
    goes_on = threading.Event()
    thread = threading.Thread(target=goes_on.wait)
    thread.start()

    leaks = find_leaks(before, patience=0)
    goes_on.set()
    thread.join()

    assert leaks == [f"thread {thread.native_id}"]


def test_temporary_file_is_a_leak() -> None:
    before = observe()

    with tempfile.TemporaryDirectory(prefix="mocker-") as path:
        leaks = find_leaks(before, patience=0)

    assert leaks == [f"file {path}"]


@requires_root
def test_mount_is_a_leak(tmp_path: Path) -> None:
    before = observe()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path], check=True)

    leaks = find_leaks(before, patience=0)
    subprocess.run(["umount", tmp_path], check=True)

    assert [leak.split()[5] for leak in leaks] == [str(tmp_path)]
