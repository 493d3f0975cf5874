import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from errno import E2BIG, EACCES, ELOOP, ENOENT
from itertools import product
from pathlib import Path

import pytest

from mocker.isolation import CommandError, SetupError
from mocker.isolation.command import change_directory, execute, place_stdio, try_execute
from mocker.isolation.syscalls import mount
from mocker.isolation.tape import perform
from tests.in_namespaces import InNewNamespaces, Output, capture_child, run_in_child
from tests.leaks import read_descriptors
from tests.requirements import requires_user_namespaces

SAY = "#!/bin/sh\necho {}\n"


def put(path: Path, text: str, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def become(argv: Sequence[str], env: Mapping[str, str]) -> None:
    """Execute a command as the command's process of a container does."""
    words = tuple(argv)
    with suppress(OSError):
        perform(try_execute(words, env, guarded=None))
    execute(words, env, guarded=None)


def run(argv: Sequence[str], path: str | None = None, **env: str) -> Output:
    """Execute a command in a child and return what it writes."""
    variables = env if path is None else {"PATH": path, **env}
    return capture_child(lambda: become(argv, variables))


def refuse(argv: Sequence[str], path: str | None = None) -> CommandError:
    """Return the error of a command that can't be executed."""
    env = {} if path is None else {"PATH": path}
    with pytest.raises(CommandError) as info:
        run_in_child(lambda: become(argv, env))
    assert info.value.command == argv[0]
    return info.value


def test_command_is_found_in_the_first_directory_of_the_path_that_has_it(tmp_path: Path) -> None:
    put(tmp_path / "b/say", SAY.format("second"))
    put(tmp_path / "c/say", SAY.format("third"))

    assert run(["say"], f"{tmp_path}/a:{tmp_path}/b:{tmp_path}/c") == ("second\n", 0)


@pytest.mark.parametrize(
    "obstruct",
    [
        lambda path: put(path, SAY.format("wrong"), 0o644),
        lambda path: path.mkdir(parents=True),
        lambda path: put(path, "#!/no/such/interpreter\n"),
        lambda path: (path.parent.mkdir(), path.symlink_to("/no/such/program")),
        lambda path: put(path.parent, "the directory is a file"),
    ],
    ids=["not executable", "directory", "no interpreter", "dangling link", "no directory"],
)
def test_search_goes_on_behind_what_cannot_be_executed(
    tmp_path: Path, obstruct: Callable[[Path], object]
) -> None:
    obstruct(tmp_path / "a/say")
    put(tmp_path / "b/say", SAY.format("right"))

    assert run(["say"], f"{tmp_path}/a:{tmp_path}/b") == ("right\n", 0)


def test_path_is_not_searched_for_a_command_with_a_slash(tmp_path: Path) -> None:
    put(tmp_path / "bin/say", SAY.format("found"))

    error = refuse(["bin/say"], str(tmp_path))

    assert (error.errno, error.exit_code, error.hint) == (ENOENT, 127, "")


@pytest.mark.parametrize("path", ["", ":/nowhere", "/nowhere:", "/nowhere::/neither"])
def test_empty_element_of_the_path_is_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    put(tmp_path / "say", SAY.format("here"))
    monkeypatch.chdir(tmp_path)

    assert run(["say"], path) == ("here\n", 0)


def test_without_a_path_the_usual_directories_are_searched() -> None:
    assert run(["echo", "hi"]) == ("hi\n", 0)


def test_path_of_the_caller_is_not_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "say", SAY.format("wrong"))
    monkeypatch.setenv("PATH", str(tmp_path))

    assert refuse(["say"], "/nowhere").exit_code == 127


def test_command_gets_its_words_and_its_environment_and_nothing_else(tmp_path: Path) -> None:
    program = put(
        tmp_path / "show",
        f"#!{sys.executable} -IS\nimport os, sys\nprint(sys.argv[1:], sorted(os.environ))\n",
    )

    text, code = run([str(program), "a b", "", "-x"], None, ONE="1", TWO="2")

    # Python itself may set LC_CTYPE when it starts; execve(2) did not.
    assert (text.replace("'LC_CTYPE', ", ""), code) == ("['a b', '', '-x'] ['ONE', 'TWO']\n", 0)


def test_first_word_is_the_command_as_it_was_given() -> None:
    assert run(["sh", "-c", "cat /proc/$$/cmdline"], "/usr/bin:/bin").text.split("\0")[0] == "sh"


@pytest.mark.parametrize("by_path", [True, False])
def test_script_without_an_interpreter_is_run_by_the_shell(tmp_path: Path, by_path: bool) -> None:
    program = put(tmp_path / "say", 'echo "$0" "$@"\n')

    output = run(["say" if by_path else str(program), "a", "b c"], str(tmp_path))

    assert output == (f"{program} a b c\n", 0)


@pytest.mark.parametrize("path", ["/nowhere", "/nowhere:/neither", "/dev/null"])
def test_command_that_is_nowhere_is_not_found(path: str) -> None:
    error = refuse(["nosuch"], path)

    assert (error.errno, error.exit_code) == (ENOENT, 127)
    assert error.hint == "it is in no directory of the container's PATH"


@pytest.mark.parametrize("command", ["/no/such/file", "./nosuch", "/dev/null/x"])
def test_file_that_is_not_there_is_not_found(command: str) -> None:
    error = refuse([command])

    assert (error.errno, error.exit_code) == (ENOENT, 127)


@pytest.mark.parametrize("rest", ["", ":/nowhere"])
def test_command_that_may_not_be_executed_is_denied_wherever_else_it_is_missing(
    tmp_path: Path, rest: str
) -> None:
    put(tmp_path / "say", SAY.format("wrong"), 0o644)

    error = refuse(["say"], f"{tmp_path}{rest}")

    assert (error.errno, error.exit_code) == (EACCES, 126)


@pytest.mark.parametrize("command", ["say", "./say"])
def test_directory_is_not_executable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (tmp_path / "say").mkdir()
    monkeypatch.chdir(tmp_path)

    error = refuse([command], str(tmp_path))

    assert (error.errno, error.exit_code) == (EACCES, 126)


@pytest.mark.parametrize("by_path", [True, False])
@pytest.mark.parametrize("rest", ["", ":/nowhere"])
def test_script_whose_interpreter_is_missing_is_not_found_and_told_why(
    tmp_path: Path, by_path: bool, rest: str
) -> None:
    program = put(tmp_path / "say", "#!/no/such/interpreter\n")

    error = refuse(["say" if by_path else str(program)], f"{tmp_path}{rest}")

    assert (error.errno, error.exit_code) == (ENOENT, 127)
    assert error.hint == f"{program} is there, but the interpreter or loader that it names is not"


@pytest.mark.parametrize("by_path", [True, False])
def test_command_that_is_a_link_to_nothing_is_not_found_and_told_why(
    tmp_path: Path, by_path: bool
) -> None:
    program = tmp_path / "say"
    program.symlink_to("/no/such/program")

    error = refuse(["say" if by_path else str(program)], str(tmp_path))

    assert (error.errno, error.exit_code) == (ENOENT, 127)
    assert error.hint == f"{program} is a link to something that is not there"


def test_loop_of_links_is_not_executable(tmp_path: Path) -> None:
    (tmp_path / "say").symlink_to("say")

    error = refuse([str(tmp_path / "say")])

    assert (error.errno, error.exit_code) == (ELOOP, 126)


def test_arguments_that_the_kernel_has_no_room_for_are_refused() -> None:
    error = refuse(["/bin/echo", "x" * 2**18])

    assert (error.errno, error.exit_code) == (E2BIG, 126)


def test_twenty_thousand_arguments_arrive() -> None:
    output = run(["sh", "-c", 'echo $#; shift 19999; echo "$1"', "sh", *map(str, range(20_000))])

    assert output == ("20000\n19999\n", 0)


def test_working_directory_is_changed(tmp_path: Path) -> None:
    def change() -> str:
        change_directory(str(tmp_path), needed=True)
        return str(Path.cwd())

    assert run_in_child(change) == str(tmp_path)


def test_working_directory_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=rf"cannot change to directory {tmp_path}/no: .*ENOENT"):
        run_in_child(lambda: change_directory(f"{tmp_path}/no", needed=True))


def test_working_directory_that_nobody_asked_for_may_be_missing(tmp_path: Path) -> None:
    def change() -> str:
        change_directory(f"{tmp_path}/no", needed=False)
        return str(Path.cwd())

    assert run_in_child(change) == "/"


@requires_user_namespaces
@pytest.mark.parametrize("needed", [True, False])
def test_working_directory_is_never_outside_of_the_root(
    in_new_namespaces: InNewNamespaces, needed: bool
) -> None:
    def change() -> str:
        mount("none", "/mnt", "tmpfs")
        os.chdir("/usr")
        os.chroot("/mnt")
        try:
            change_directory(".", needed=needed)
        except SetupError:
            return "refused"
        return str(Path.cwd())

    assert in_new_namespaces(change) == ("refused" if needed else "/")


@pytest.mark.parametrize("order", list(product([0, 1, 2, 9], repeat=3)))
def test_standard_descriptors_are_placed_in_any_order(order: tuple[int, int, int]) -> None:
    def place() -> tuple[list[str], list[int]]:
        for number in (0, 1, 2, 9):
            os.dup2(os.memfd_create(f"was {number}"), number)
        perform(place_stdio(order))
        names = [read_descriptors()[str(number)] for number in range(3)]
        return names, [fd for fd in map(int, read_descriptors()) if os.get_inheritable(fd)]

    names, inherited = run_in_child(place)

    assert names == [f"/memfd:was {number} (deleted)" for number in order]
    assert sorted(inherited) == [0, 1, 2]


def test_descriptor_that_the_caller_leaks_does_not_reach_the_command() -> None:
    def leak() -> None:
        os.set_inheritable(os.memfd_create("leak"), True)
        perform(place_stdio([0, 1, 2]))
        become(("sh", "-c", "ls -l /proc/self/fd"), {"PATH": "/usr/bin:/bin"})

    output = capture_child(leak)

    assert output.code == 0
    assert "leak" not in output.text
