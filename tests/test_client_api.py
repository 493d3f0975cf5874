"""What `mocker.supervisor` offers to other programs, and that it says what they need to know."""

import inspect
import subprocess
import sys

import pytest

from mocker import supervisor

PUBLIC = ["AnswerError", "Client", "NoSupervisorError", "ProtocolError"]
METHODS = [
    "ask",
    "events",
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
