import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from errno import ENOSYS, EOPNOTSUPP, EPERM
from pathlib import Path

import pytest

from mocker.isolation import ContainerSpec, ForkServer, SetupError, SpecError, describe, spawn
from mocker.isolation.landlock import check_version, find_landlock, list_writable
from mocker.isolation.syscalls import mount
from tests.beside import run_script, running
from tests.containers import Outcome, run_captured, script
from tests.in_namespaces import run_in_child
from tests.refusals import Refusal, enter_private_mounts, refuse_system_calls
from tests.requirements import requires_root

HOST: Mapping[str, object] = {"isolate": False, "rootfs": "host", "network": "host"}
PYTHON = os.path.realpath(sys.executable)
BIND = "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])"

# What changes a file or a directory, $1 being where both are.
CHANGES = {
    "make a file": "echo >$1/new",
    "write to a file": "echo 1<>$1/file",
    "add to a file": "echo >>$1/file",
    "shorten a file": f"{PYTHON} -c 'import os, sys; os.truncate(sys.argv[1], 0)' $1/file",
    "remove a file": "rm $1/file",
    "rename a file": "mv $1/file $1/other",
    "link a file": "ln $1/file $1/other",
    "make a symbolic link": "ln -s file $1/new",
    "make a directory": "mkdir $1/new",
    "remove a directory": "rmdir $1/empty",
    "make a FIFO": "mkfifo $1/new",
    "make a socket": f"{PYTHON} -c '{BIND}' $1/new",
}


def fenced(text: str, *arguments: str, **fields: object) -> ContainerSpec:
    """Return the spec of a shell script of the host's under landlock."""
    return script(text, *arguments, **{**HOST, "landlock": True, **fields})


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """Make a directory that may be written to, beside one that may not: see `outside`."""
    return fill(tmp_path / "inside")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return fill(tmp_path / "outside")


def fill(directory: Path) -> Path:
    (directory / "empty").mkdir(parents=True)
    (directory / "file").write_text("as it was\n")
    return directory


def is_refused(outcome: Outcome) -> bool:
    """Whether a script failed, and for want of a permission."""
    refused = "ermission" in outcome.stderr or "not permitted" in outcome.stderr
    return not outcome.status.success and refused


@pytest.mark.parametrize("change", CHANGES)
def test_files_are_changed_where_that_is_allowed_and_nowhere_else(
    inside: Path, outside: Path, change: str
) -> None:
    text, writable = CHANGES[change], [str(inside)]

    there = run_captured(fenced(text, str(inside), writable=writable))
    elsewhere = run_captured(fenced(text, str(outside), writable=writable))
    without = run_captured(script(text, str(outside), **HOST))

    assert (there.status.success, there.stderr) == (True, "")
    assert is_refused(elsewhere)
    assert without.status.success  # so it was landlock that refused


def test_file_is_not_moved_out_of_where_it_may_be_changed(inside: Path, outside: Path) -> None:
    text = "mv $1/file $2/other"

    outcome = run_captured(fenced(text, str(inside), str(outside), writable=[str(inside)]))

    assert is_refused(outcome)
    assert (inside / "file").exists()


def test_several_places_and_single_files_can_be_written_to(inside: Path, outside: Path) -> None:
    writable = [str(inside), str(outside / "file")]
    text = "echo >$1/new && echo >$2/file && mv $1/file $1/empty/file && echo >$2/new"

    outcome = run_captured(fenced(text, str(inside), str(outside), writable=writable))

    assert is_refused(outcome)
    assert (inside / "new").exists()
    assert (outside / "file").read_text() == "\n"
    assert (inside / "empty/file").exists()


def test_everything_is_read_and_executed(outside: Path) -> None:
    outcome = run_captured(fenced("cat $1/file; ls $1; id -u", str(outside), writable=[]))

    assert outcome.stdout == f"as it was\nempty\nfile\n{os.getuid()}\n"


@pytest.mark.parametrize("name", ["null", "zero", "full", "random", "urandom", "tty", "ptmx"])
def test_harmless_devices_are_written_to_in_any_case(name: str) -> None:
    # Only opened: to write to one of them fails by its nature, and no terminal controls a test.
    text = f"import os; os.open('/dev/{name}', os.O_RDWR)"
    spec = ContainerSpec([PYTHON, "-c", text], landlock=True, writable=[], **HOST)  # type: ignore[arg-type]

    outcome = run_captured(spec)

    assert "PermissionError" not in outcome.stderr
    assert outcome.status.success or name == "tty"


def test_places_for_what_is_temporary_and_the_workdir_are_what_is_usual(inside: Path) -> None:
    script = "echo >here && file=$(mktemp -p /tmp) && echo >$file && rm $file && pwd"
    spec = fenced(script, workdir=str(inside))

    assert run_captured(spec).stdout == f"{inside}\n"
    assert list_writable(spec)[:2] == [str(inside), "/tmp"]


def test_directory_of_the_caller_is_not_written_to_unasked(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inside)
    spec = fenced("true")

    assert str(inside) not in list_writable(spec)


@requires_root
@pytest.mark.parametrize("text", ["mknod $1/disk b 7 0", "mount -t tmpfs none $1", "umount $1"])
def test_root_makes_no_devices_and_no_mounts(inside: Path, text: str) -> None:
    def act() -> tuple[bool, str]:
        # Where the test can do no harm without the wall.
        enter_private_mounts()
        mount("none", str(inside), "tmpfs")
        outcome = run_captured(fenced(text, str(inside), writable=[str(inside)]))
        return outcome.status.success, outcome.stderr

    succeeded, complaint = run_in_child(act)

    assert not succeeded
    assert "ermission denied" in complaint or "must be superuser" in complaint


def test_programs_of_other_users_are_executed_as_the_caller(inside: Path) -> None:
    outcome = run_captured(fenced("grep NoNewPrivs /proc/self/status", writable=[]))

    assert outcome.stdout == "NoNewPrivs:\t1\n"


@requires_root
def test_user_of_the_host_is_under_it_too(inside: Path, outside: Path) -> None:
    for directory in (inside.parent, inside.parent.parent, inside, outside):
        directory.chmod(0o777)
    text = "id -un; echo >$1/new && echo >$2/new"
    spec = fenced(text, str(inside), str(outside), writable=[str(inside)], user="nobody")

    outcome = run_captured(spec)

    assert outcome.stdout == "nobody\n"
    assert is_refused(outcome)


def test_nobody_outside_is_signalled() -> None:
    text = "kill -0 $1"

    with_wall = run_captured(fenced(text, str(os.getpid())))
    without = run_captured(script(text, str(os.getpid()), **HOST))

    assert is_refused(with_wall)
    assert without.status.success


def test_nobody_outside_is_looked_into() -> None:
    text = ": </proc/$1/mem"  # which takes the rights of ptrace(2)

    with_wall = run_captured(fenced(text, str(os.getpid())))
    without = run_captured(script(text, str(os.getpid()), **HOST))
    own = run_captured(fenced("sleep 1000 & : </proc/$!/mem && kill $!"))

    assert is_refused(with_wall)
    assert without.status.success
    assert own.status.success


def test_own_processes_are_signalled() -> None:
    assert run_captured(fenced("sleep 1000 & kill $! && wait $!")).status.code == 128 + 15


def test_init_ends_what_is_left() -> None:
    with running(fenced("trap '' TERM; (sleep 1000 &); sleep 1000")) as container:
        container.kill()

        assert container.wait(10).signal == 9


@contextmanager
def listening() -> Iterator[str]:
    """Listen on an abstract socket, and return its name."""
    name = f"mocker-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        yield name


def test_abstract_sockets_of_others_are_out_of_reach() -> None:
    code = "import socket, sys; socket.socket(socket.AF_UNIX).connect('\\0' + sys.argv[1])"
    text = f'{PYTHON} -c "$1" $2'

    with listening() as name:
        with_wall = run_captured(fenced(text, code, name))
        without = run_captured(script(text, code, name, **HOST))

    assert is_refused(with_wall)
    assert without.status.success


def test_process_beside_the_command_is_behind_the_same_wall(inside: Path, outside: Path) -> None:
    spec = fenced("exec sleep 1000", writable=[str(inside)])

    with running(spec) as container:
        there = run_script(container, f"echo >{inside}/new")
        elsewhere = run_script(container, f"echo >{outside}/new")
        (command, *_) = (
            Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().split()
        )
        # In the same domain, so that `exec` can signal what it finds.
        signalled = run_script(container, f"kill -0 {command}")

    assert (there.status.success, there.text) == (True, "")
    assert "ermission denied" in elsewhere.text
    assert (signalled.status.success, signalled.text) == (True, "")


def test_fork_server_puts_it_up_as_well(inside: Path, outside: Path) -> None:
    text = "echo >$1/new; echo >$2/new"
    spec = fenced(text, str(inside), str(outside), writable=[str(inside)])

    with ForkServer() as server:
        outcomes = [run_captured(spec, spawn=server.spawn) for _ in range(2)]

    assert list(map(is_refused, outcomes)) == [True, True]
    assert (inside / "new").exists()
    assert not (outside / "new").exists()


def test_place_that_is_not_there_is_said(tmp_path: Path) -> None:
    message = f"cannot let it write to {tmp_path}/nosuch: No such file or directory (ENOENT); make "

    with pytest.raises(SetupError) as caught:
        run_captured(fenced("true", writable=[str(tmp_path / "nosuch")]))

    assert str(caught.value).startswith(message)


def test_link_that_the_job_may_have_made_is_not_followed_at_its_next_start(inside: Path) -> None:
    work = inside / "work"
    work.symlink_to("/")

    with pytest.raises(SetupError, match=r"cannot let it write to .*/work; a link is in the way"):
        run_captured(fenced("true", writable=[str(work)]))


def test_wall_is_among_the_steps(inside: Path) -> None:
    step = f"forbid by landlock to write but below {inside}"

    assert step in describe(fenced("true", writable=[str(inside)]))
    assert step not in describe(script("true", **HOST))


@pytest.mark.parametrize("errno", [ENOSYS, EPERM, EOPNOTSUPP])
def test_process_does_not_start_without_the_wall_that_it_asked_for(errno: int) -> None:
    def act() -> str:
        refuse_system_calls([Refusal("landlock_create_ruleset", errno)])
        with pytest.raises(SetupError) as caught:
            run_captured(fenced("true"))
        return str(caught.value)

    text = run_in_child(act)

    assert text.startswith("cannot put up a wall by landlock: ")
    assert text.endswith("; a seccomp filter forbids it") or errno == EOPNOTSUPP


@pytest.mark.parametrize("through", ["spawn", "server"])
def test_process_does_not_start_if_the_wall_does_not_stand(inside: Path, through: str) -> None:
    def act() -> str:
        refuse_system_calls([Refusal("landlock_restrict_self", EPERM)])
        spec = fenced("true", writable=[str(inside)])
        with pytest.raises(SetupError) as caught, ForkServer() as server:
            run_captured(spec, spawn=server.spawn if through == "server" else spawn)
        return str(caught.value)

    step = f"cannot forbid by landlock to write but below {inside}"
    assert run_in_child(act) == f"{step}: Operation not permitted (EPERM)"


@pytest.mark.parametrize(
    ("found", "errno", "reason"),
    [
        (-1, ENOSYS, ": Function not implemented (ENOSYS); the kernel is built without it"),
        (-1, EOPNOTSUPP, ": Operation not supported (ENOTSUP); it is switched off; name it in "),
        (1, 0, "; the kernel's knows too little (version 1 of it); it takes Linux 6.12"),
        (5, 0, "; the kernel's knows too little (version 5 of it); it takes Linux 6.12"),
    ],
)
def test_kernel_that_cannot_do_all_of_it_is_told(found: int, errno: int, reason: str) -> None:
    with pytest.raises(SetupError) as caught:
        check_version(found, errno)

    assert str(caught.value).startswith(f"cannot put up a wall by landlock{reason}")


def test_kernel_that_can_is_told_with_its_version() -> None:
    assert find_landlock() >= 6
    assert check_version(6) == 6


def test_container_that_does_not_ask_for_it_does_not_load_it() -> None:
    program = (
        "import sys; from mocker.isolation import ContainerSpec, describe; "
        "describe(ContainerSpec(['true'], isolate=False, rootfs='host', network='host')); "
        "print('mocker.isolation.landlock' in sys.modules)"
    )

    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert shown.stdout == b"False\n"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"isolate": True}, "landlock is for a process without isolation"),
        ({"landlock": False, "writable": ["/a"]}, "what is writable can be said with landlock"),
        ({"writable": ["a"]}, "writable path must be absolute, not 'a'"),
        ({"writable": ["/a/.."]}, "landlock forbids nothing where / is writable"),
        ({"workdir": "/"}, "landlock forbids nothing where / is writable"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        fenced("true", **fields)
