"""What `mocker.supervisor` offers to other programs, and that it says what they need to know."""

import ast
import inspect
import subprocess
import sys
from inspect import signature
from pathlib import Path
from typing import TypeGuard

import pytest

from mocker import supervisor
from mocker.supervisor.client import run as run_module
from mocker.supervisor.client.exec_command import COMMAND as EXEC

_FOLDER = Path(inspect.getfile(run_module)).parent
COMMAND_MODULES = [*sorted(_FOLDER.glob("*_command*.py")), _FOLDER / "candidates.py"]
PUBLIC = [
    "AnswerError",
    "AnswerLines",
    "AttachedJob",
    "Client",
    "ExecutedProcess",
    "NoSupervisorError",
    "ProtocolError",
]
METHODS = [
    "ask",
    "attach",
    "config",
    "events",
    "exec",
    "jobs",
    "kill",
    "logs",
    "pause",
    "reload",
    "restart",
    "resume",
    "scale",
    "shutdown",
    "signal",
    "start",
    "stats",
    "stop",
    "stream",
    "supervisor",
    "truncate_logs",
    "wait",
]


def test_public_names_are_these() -> None:
    assert sorted(supervisor.__all__) == PUBLIC
    assert all(inspect.isclass(getattr(supervisor, name)) for name in PUBLIC)


def test_there_are_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Server'"):
        supervisor.Server  # type: ignore[attr-defined]  # noqa: B018


def test_client_can_do_this() -> None:
    names = [name for name in vars(supervisor.Client) if not name.startswith("_")]

    assert sorted(set(names) - {"path"}) == METHODS


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("AnswerLines", {"receive_text"}),
        (
            "ExecutedProcess",
            {"stdin", "stdout", "stderr", "terminal", "wait", "send_signal", "kill", "resize"},
        ),
        ("AttachedJob", {"job", "terminal", "wait", "resize"}),
    ],
)
def test_what_client_returns_can_do_this(name: str, attributes: set[str]) -> None:
    assert attributes <= set(dir(getattr(supervisor, name)))


@pytest.mark.parametrize("module", COMMAND_MODULES, ids=lambda path: path.stem)
def test_commands_reach_a_supervisor_by_client_alone(module: Path) -> None:
    imports = [node for node in ast.walk(ast.parse(module.read_text())) if is_import(node)]
    names = {
        part
        for node in imports
        for part in (*[alias.name for alias in node.names], getattr(node, "module", None) or "")
    }

    assert not names & {"socket", "connect", "choose_socket", "connections", "conversation"}


def is_import(node: ast.AST) -> TypeGuard[ast.Import | ast.ImportFrom]:
    return isinstance(node, ast.Import | ast.ImportFrom)


def test_options_of_exec_are_those_of_the_command() -> None:
    options = {option.names[-1].removeprefix("--") for option in EXEC._options}

    parameters = signature(supervisor.Client.exec).parameters

    assert options - set(parameters) == {"interactive", "supervisor", "help"}


@pytest.mark.parametrize("name", METHODS)
def test_each_method_is_described(name: str) -> None:
    method = getattr(supervisor.Client, name)

    assert (inspect.getdoc(method) or "").split("\n")[0].endswith((".", ":"))


@pytest.mark.parametrize("name", PUBLIC)
def test_each_begins_with_a_sentence(name: str) -> None:
    first = (inspect.getdoc(getattr(supervisor, name)) or "").split("\n\n")[0]

    assert first.endswith(".")


def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    program = "import mocker.supervisor, sys; print({'trio', 'json', 'typing'} & set(sys.modules))"

    packages = [path for path in sys.path if path]
    result = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path += {packages!r}; {program}"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.stdout, result.stderr) == ("set()\n", "")
