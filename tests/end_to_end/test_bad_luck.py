"""A caller or host in a bad way: the command is none the worse, or one line says what is short."""

import mmap
import os
import resource
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest

from mocker.isolation.busybox import find_busybox
from mocker.isolation.syscalls import PR_SET_NO_NEW_PRIVS, mount, prctl
from mocker.supervisor import cli
from tests.callers import (
    MOCKER,
    Outcome,
    adopted_orphans,
    be_mocker,
    call,
    describe_tree,
    do_nothing,
    read_refusal,
    run,
    run_prepared,
    start,
)
from tests.refusals import enter_private_mounts
from tests.requirements import (
    IS_ROOT,
    requires_busybox,
    requires_commands,
    requires_subordinate_ids,
    requires_user,
    requires_user_namespaces,
)

pytestmark = [pytest.mark.end_to_end, requires_busybox, requires_user_namespaces]

BUSYBOX = shutil.which("busybox") or ""
MS_REMOUNT = 0x20
RUNS = 100


def limit(name: str, value: int) -> Callable[[], None]:
    """Return a function that limits what the calling process may have."""
    number = getattr(resource, f"RLIMIT_{name}")
    return partial(resource.setrlimit, number, (value, value))


@pytest.mark.parametrize("rootfs", ["busybox", "host"])
@pytest.mark.parametrize("processes", [0, 1])
@requires_user
def test_no_process_left_is_said(rootfs: str, processes: int) -> None:
    outcome = run_prepared(limit("NPROC", processes), "run", "--rootfs", rootfs, "true")

    sentence = read_refusal(outcome, 125)
    assert ": Resource temporarily unavailable (EAGAIN); the limit on processes " in sentence


@pytest.mark.slow
def test_no_descriptor_left_is_said() -> None:
    outcomes = [run_prepared(limit("NOFILE", n), "run", "true") for n in range(6, 20)]

    refusals = [outcome for outcome in outcomes if outcome != (0, "", "")]
    assert refusals
    assert outcomes[-1] not in refusals
    for outcome in refusals:
        sentence = read_refusal(outcome, 125)
        assert ": Too many open files (EMFILE); the limit on open files is reached; " in sentence


@pytest.mark.slow
def test_no_descriptor_left_is_said_by_the_check_of_the_host() -> None:
    outcomes = [run_prepared(limit("NOFILE", n), "check-host") for n in range(6, 20, 2)]

    assert outcomes[-1].code == 0
    assert outcomes[0].code in {1, 125}
    for outcome in outcomes:
        assert outcome.code == 0 or ": Too many open files (EMFILE)" in str(outcome)
        assert outcome.stderr.count("\n") <= 1


@pytest.mark.parametrize("size", [0, 1, 100])
def test_file_that_may_not_grow_is_said(size: int) -> None:
    outcome = run_prepared(limit("FSIZE", size), "run", "true")

    sentence = read_refusal(outcome, 125)
    assert "cannot write passwd, group in /etc: " in sentence
    assert "(EFBIG); the limit on the size of files is reached; see ulimit -f" in sentence


@pytest.mark.slow
def test_no_memory_left_is_said() -> None:
    outcomes = [
        call(partial(run_short_of_memory, pages * mmap.PAGESIZE, rootfs))
        for pages in range(4, 24, 2)
        for rootfs in ("busybox", "host")
    ]

    refusals = [outcome for outcome in outcomes if outcome != (0, "", "")]
    assert refusals
    assert {outcome.code for outcome in refusals} <= {1, 125}
    for outcome in refusals:
        assert outcome.stderr.startswith("mocker")
        assert ": Cannot allocate memory (ENOMEM)" in outcome.stderr
        assert outcome.stderr.count("\n") == 1


def run_short_of_memory(more: int, rootfs: str) -> None:
    """Be `mocker run` with that many bytes beside what its modules take."""
    find_busybox()  # which takes most
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit("AS", pages * mmap.PAGESIZE)()
    hoard = []
    try:
        while True:  # what is mapped already, and free
            hoard.append(bytearray(mmap.PAGESIZE // 2))
    except MemoryError:
        del hoard[-more * 2 // mmap.PAGESIZE :]
    be_mocker("run", "--rootfs", rootfs, "true")


def enter_full_disk(top: Path) -> None:
    """Mount a file system with a rootfs in it, and no room for one more file or directory."""
    enter_private_mounts(as_root=True)
    mount("none", str(top), "tmpfs", 0, "mode=755")
    (top / "bin").mkdir()
    shutil.copy(BUSYBOX, top / "bin/sh")
    used = len(list(top.rglob("*"))) + 1
    mount("none", str(top), "", MS_REMOUNT, f"nr_inodes={used}")


def test_disk_that_is_full_is_said(tmp_path: Path) -> None:
    # For root without ID mapping, which a tmpfs has only since Linux 6.3.
    words = ["--userns", "host"] if IS_ROOT else []
    words += ["--rootfs", str(tmp_path), "--rootfs-mode", "rw", "/bin/sh", "-c", "true"]

    outcome = run_prepared(lambda: enter_full_disk(tmp_path), "run", *words)

    sentence = "cannot make the directory /proc: No space left on device (ENOSPC)"
    assert read_refusal(outcome, 125).startswith(sentence)


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)])
def test_closed_standard_descriptors_are_no_obstacle(closed: tuple[int, ...]) -> None:
    outcome = run_prepared(lambda: close(closed), "run", "sh", "-c", "exit 7")

    assert outcome == (7, "", "")


@pytest.mark.parametrize("closed", [(0,), (1,), (0, 1)])
def test_closed_standard_descriptors_do_not_swallow_a_refusal(closed: tuple[int, ...]) -> None:
    outcome = run_prepared(lambda: close(closed), "run", "frobnicate")

    assert read_refusal(outcome, 127).startswith("cannot execute 'frobnicate'")


@pytest.mark.parametrize(("words", "code"), [(["run", "frobnicate"], 127), (["frobnicate"], 2)])
@pytest.mark.parametrize("closed", [(2,), (0, 1, 2)])
def test_refusal_that_nobody_can_read_has_its_exit_status(
    closed: tuple[int, ...], words: list[str], code: int
) -> None:
    outcome = run_prepared(lambda: close(closed), *words)

    assert outcome == (code, "", "")


@pytest.mark.parametrize(
    ("closed", "command", "says"),
    [
        (0, ["cat"], "cat: read error: Bad file descriptor\n"),
        (1, ["echo", "x"], "echo: write error: Bad file descriptor\n"),
    ],
)
def test_what_the_caller_closed_is_of_no_use_to_the_command(
    closed: int, command: list[str], says: str
) -> None:
    outcome = run_prepared(lambda: os.close(closed), "run", *command)

    assert outcome == (1, "", says)


def close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def fill(fd: int) -> None:
    """Put a device in a descriptor's place that has no room for anything."""
    os.dup2(os.open("/dev/full", os.O_WRONLY), fd)


def test_command_is_told_that_nothing_can_be_written() -> None:
    outcome = run_prepared(lambda: fill(1), "run", "echo", "x")

    assert outcome == (1, "", "echo: write error: No space left on device\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words", [["run", "--dry-run", "true"], ["run", "--help"], ["--version"], ["check-host"]]
)
def test_answer_that_cannot_be_written_is_a_failure_of_one_line(
    words: list[str], unbuffered: str
) -> None:
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}

    outcome = run_prepared(lambda: fill(1), *words, env=env)

    assert outcome == (1, "", "mocker: cannot go on: No space left on device (ENOSPC)\n")


@pytest.mark.parametrize("words", [["run", "--help"], ["--version"], ["check-host"]])
def test_answer_to_nobody_is_no_failure(words: list[str]) -> None:
    outcome = run_prepared(lambda: os.close(1), *words)

    assert outcome == (0, "", "")


@pytest.mark.parametrize(("words", "code"), [(["run", "frobnicate"], 127), (["run"], 2)])
def test_refusal_that_cannot_be_written_has_its_exit_status(words: list[str], code: int) -> None:
    outcome = run_prepared(lambda: fill(2), *words)

    assert outcome == (code, "", "")


def ignore(numbers: Iterable[int]) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


@pytest.mark.parametrize(
    "numbers",
    [{signal.SIGCHLD}, {signal.SIGPIPE}, {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}],
    ids=["CHLD", "PIPE", "HUP INT TERM"],
)
def test_signals_that_the_caller_ignores_have_their_default_action_inside(
    numbers: set[int],
) -> None:
    script = "grep -E 'Sig(Blk|Ign)' /proc/self/status; exit 7"

    outcome = run_prepared(lambda: ignore(numbers), "run", "sh", "-c", script)

    assert outcome == (7, f"SigBlk:\t{0:016x}\nSigIgn:\t{0:016x}\n", "")


def test_writer_inside_ends_with_its_reader_though_the_caller_ignores_sigpipe() -> None:
    outcome = run_prepared(lambda: ignore({signal.SIGPIPE}), "run", "sh", "-c", "yes | head -n 1")

    assert outcome == (0, "y\n", "")


def test_host_can_be_checked_by_who_ignores_sigchld() -> None:
    outcome = run_prepared(lambda: ignore({signal.SIGCHLD}), "check-host")

    assert outcome.code == 0


def block_all() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def test_signals_that_the_caller_blocks_reach_the_command() -> None:
    script = "trap 'echo told; exit 3' TERM; kill -TERM $$; exit 1"

    outcome = run_prepared(block_all, "run", "sh", "-c", script)

    assert outcome == (3, "told\n", "")


def test_signals_that_the_caller_blocks_are_forwarded() -> None:
    ready, told = os.pipe()
    with adopted_orphans():
        pid = start(lambda: be_blocked_mocker("echo ready; exec sleep 1000"), (0, told, 2))
        os.close(told)
        line = os.read(ready, 100)

        os.kill(pid, signal.SIGTERM)

        _, status = os.waitpid(pid, 0)
    os.close(ready)
    assert (line, os.waitstatus_to_exitcode(status)) == (b"ready\n", 128 + signal.SIGTERM)


def be_blocked_mocker(script: str) -> None:
    block_all()
    exec_mocker("run", "sh", "-c", script)


def exec_mocker(*arguments: str) -> None:
    os.execv(MOCKER, (MOCKER, *arguments))  # noqa: S606


def test_twenty_thousand_arguments_arrive() -> None:
    arguments = [str(number) for number in range(20_000)]

    outcome = run("run", "sh", "-c", 'echo $# "$1" "${20000}"', "sh", *arguments)

    assert outcome == (0, "20000 0 19999\n", "")


def test_longest_argument_that_there_can_be_arrives() -> None:
    outcome = run("run", "sh", "-c", "echo ${#1}", "sh", "x" * (32 * mmap.PAGESIZE - 1))

    assert outcome == (0, f"{32 * mmap.PAGESIZE - 1}\n", "")


def test_two_thousand_variables_arrive() -> None:
    options = [word for number in range(2000) for word in ("-e", f"V{number}={number}")]

    outcome = run("run", *options, "sh", "-c", "echo $V0 $V1999; env | grep -c ^V")

    assert outcome == (0, "0 1999\n2000\n", "")


def test_variable_that_is_too_long_for_the_kernel_is_said(tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text(f"LONG={'x' * 200_000}\n")

    outcome = run("run", "--env-file", str(env_file), "true")

    assert read_refusal(outcome, 126) == "cannot execute 'true': Argument list too long (E2BIG)"


def leak_descriptors() -> None:
    for number in (3, 7, 63, 200):
        os.dup2(os.open("/etc/passwd", os.O_RDONLY), number, inheritable=True)


@pytest.mark.parametrize("words", [[], ["--rootfs", "host"], ["--tmpfs", "/x", "-u", "0"]])
def test_no_descriptor_that_the_caller_leaks_reaches_the_command(words: list[str]) -> None:
    script = "ls /proc/$$/fd; exit 0"

    outcome = run_prepared(leak_descriptors, "run", *words, "sh", "-c", script)

    assert outcome.stdout.split() == ["0", "1", "2"]


@pytest.fixture(scope="module")
def set_up_s() -> float:
    """Seconds that a container takes to come and go."""
    began = time.monotonic()
    run("run", "true")
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize("share", range(4))
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signal_at_any_moment_of_the_set_up_ends_everything(
    tmp_path: Path, set_up_s: float, number: signal.Signals, share: int
) -> None:
    rootfs, volume = tmp_path / "rootfs", tmp_path / "volume"
    (rootfs / BUSYBOX[1:]).parent.mkdir(parents=True)
    shutil.copy(BUSYBOX, rootfs / BUSYBOX[1:])
    volume.mkdir()
    before = describe_tree(tmp_path)
    kinds = [["--rootfs", "busybox"], ["--rootfs", "host"], ["--rootfs", str(rootfs)]]
    rest = ["-v", f"{volume}:/data", BUSYBOX, "sleep", "1000"]

    outcomes = [
        interrupt(number, moment * set_up_s / RUNS, *kinds[moment % 3], *rest)
        for moment in range(share, RUNS, 4)
    ]

    assert {code for code, _, _ in outcomes} <= {-number, 128 + number}
    assert {stderr for _, _, stderr in outcomes} == {""}
    assert describe_tree(tmp_path) == before


def interrupt(number: int, after: float, *words: str) -> Outcome:
    """Start `mocker run`, send it a signal after so many seconds, and wait until all has ended."""
    said, say = os.pipe()
    with adopted_orphans():
        pid = start(lambda: exec_mocker("run", *words), (0, say, say))
        os.close(say)
        pidfd = os.pidfd_open(pid)
        # Not a sleep: that would go on if mocker ended by itself.
        select.select([pidfd], [], [], after)
        os.kill(pid, number)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(pidfd)
    with os.fdopen(said) as output:
        return Outcome(code, "", output.read())


def lose_directory(top: Path) -> None:
    gone = top / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()


@pytest.mark.parametrize("rootfs", ["busybox", "host"])
def test_current_directory_that_was_removed_is_no_obstacle(tmp_path: Path, rootfs: str) -> None:
    outcome = run_prepared(lambda: lose_directory(tmp_path), "run", "--rootfs", rootfs, "pwd")

    assert outcome == (0, "/\n", "")


@pytest.mark.parametrize("words", [["--rootfs", "here"], ["-v", "here:/data"]])
def test_path_from_a_current_directory_that_was_removed_is_refused(
    tmp_path: Path, words: list[str]
) -> None:
    outcome = run_prepared(lambda: lose_directory(tmp_path), "run", *words, "true")

    sentence = read_refusal(outcome, 2)
    assert sentence.startswith(
        f"cannot find {words[0].replace('-v', '--volume')} 'here' from here: "
    )


@pytest.mark.parametrize("rootfs", ["busybox", "host"])
def test_current_directory_that_cannot_be_read_is_no_obstacle(tmp_path: Path, rootfs: str) -> None:
    shut = tmp_path / "shut"
    shut.mkdir()

    outcome = run_prepared(lambda: shut_directory(shut), "run", "--rootfs", rootfs, "echo", "x")

    assert outcome == (0, "x\n", "")


def shut_directory(path: Path) -> None:
    os.chdir(path)
    path.chmod(0)


@pytest.mark.parametrize("rootfs", ["busybox", "host"])
def test_caller_needs_no_environment(rootfs: str) -> None:
    outcome = run_prepared(do_nothing, "run", "--rootfs", rootfs, "sh", "-c", "echo $PATH", env={})

    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert outcome == (0, f"{path}\n", "")


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LC_ALL": "C.UTF-8"},
        {"LC_ALL": "no_SUCH"},
    ],
    ids=["C", "ASCII", "UTF-8", "unknown"],
)
def test_bytes_that_are_no_text_arrive_in_any_locale(env: dict[str, str]) -> None:
    word = b"\xff\xfe-\xc3\xa9-\xe9"

    outcome = run_prepared(
        do_nothing, "run", "-e", b"V=" + word, "sh", "-c", 'echo "$1 $V"', "sh", word, env=env
    )

    assert os.fsencode(outcome.stdout) == word + b" " + word + b"\n"
    assert (outcome.code, outcome.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["run", b"\xff"], 127),
        (["run", "--rootfs", b"/\xff", "true"], 125),
        (["run", "-v", b"/\xff:/x", "true"], 125),
        (["run", "-u", b"\xff", "true"], 2),
        (["run", "--hostname", b"\xff", "true"], 2),
        (["run", b"--\xff", "true"], 2),
    ],
)
def test_bytes_that_are_no_text_are_shown_escaped(words: list[str | bytes], code: int) -> None:
    outcome = run_prepared(do_nothing, *words, env={"LC_ALL": "C"})

    assert r"\udcff" in read_refusal(outcome, code)


def set_no_new_privs() -> None:
    prctl(PR_SET_NO_NEW_PRIVS, 1)


@requires_user
@requires_subordinate_ids
@requires_commands("newuidmap")
def test_caller_who_may_gain_no_privileges_maps_its_own_id_alone() -> None:
    outcome = run_prepared(set_no_new_privs, "run", "cat", "/proc/self/uid_map")

    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.stdout.split() == ["0", "0", "1"]


@pytest.mark.parametrize("as_root", [True, False])
@requires_user
def test_caller_whose_user_namespace_has_one_id_hands_that_one_on(as_root: bool) -> None:
    outcome = run_prepared(
        lambda: enter_private_mounts(as_root=as_root), "run", "cat", "/proc/self/uid_map"
    )

    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.stdout.split() == ["0", "0", "1"]


@requires_commands("unshare")
def test_container_is_made_by_root_of_a_user_namespace() -> None:
    wrapper = ["unshare", "--user", "--map-root-user", "--mount"]

    outcome = call(lambda: os.execvp(wrapper[0], [*wrapper, str(MOCKER), "run", "id", "-u"]))  # noqa: S606

    assert outcome == (0, "0\n", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            [],
            "cannot create namespaces: Function not implemented (ENOSYS); a seccomp filter forbids",
        ),
        (
            ["--seccomp", "unconfined"],
            "cannot mount proc on /proc: Operation not permitted (EPERM); the host's /proc is "
            "partly covered",
        ),
    ],
)
def test_container_in_a_container_is_refused_with_the_reason(
    options: list[str], sentence: str
) -> None:
    # What is installed below /tmp is out of sight in there, so it is brought along.
    tops = {Path(sys.prefix), Path(cli.__file__).resolve().parent.parent}
    volumes = [word for top in tops for word in ("-v", f"{top}:{top}:ro")]

    outcome = run("run", "--rootfs", "host", *options, *volumes, str(MOCKER), "run", "true")

    assert read_refusal(outcome, 125).startswith(sentence)
