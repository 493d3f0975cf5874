"""What `mocker.isolation` offers to other programs, and that it says what they need to know."""

import inspect
import re
from collections.abc import Iterator

import pytest

from mocker import isolation

PUBLIC = [
    "DEFAULT_HOSTNAME",
    "CommandError",
    "Container",
    "ContainerSpec",
    "ExitStatus",
    "ForkServer",
    "ForkServerError",
    "HostCheck",
    "IsolationError",
    "Limits",
    "Process",
    "Reply",
    "Rlimit",
    "SetupError",
    "SpecError",
    "Tmpfs",
    "Volume",
    "check_host",
    "default_rootfs",
    "describe",
    "receive_descriptors",
    "run",
    "spawn",
]
# What models something of the kernel's or of another program's says where that is described.
SOURCED = [
    "CommandError",
    "Container",
    "ContainerSpec",
    "ExitStatus",
    "ForkServer",
    "Limits",
    "Process",
    "Reply",
    "Rlimit",
    "SetupError",
    "Tmpfs",
    "Volume",
    "check_host",
    "receive_descriptors",
    "spawn",
]
UNITS = {
    ("ContainerSpec", "grace"): "Seconds",
    ("ContainerSpec", "hostname"): "bytes",
    ("ExitStatus", "code"): "0 to 255",
    ("ExitStatus", "signal"): "number of the signal",
    ("Limits", "memory"): "Bytes",
    ("SetupError", "errno"): "kernel",
    ("Tmpfs", "size"): "Bytes",
    ("Tmpfs", "mode"): "Permission bits",
}
CLASSES = [name for name in PUBLIC if inspect.isclass(getattr(isolation, name))]
FUNCTIONS = [name for name in PUBLIC if inspect.isfunction(getattr(isolation, name))]


def text_of(name: str) -> str:
    return inspect.getdoc(getattr(isolation, name)) or ""


def find_methods() -> Iterator[tuple[str, str]]:
    """Yield (class, method) of all that may be called, properties included."""
    for name in CLASSES:
        for attribute, value in vars(getattr(isolation, name)).items():
            if not attribute.startswith("_") and (callable(value) or isinstance(value, property)):
                yield name, attribute


def find_attributes(name: str) -> list[str]:
    """Return the attributes that instances of a class are made with."""
    public = getattr(isolation, name)
    slots: tuple[str, ...] = getattr(public, "__slots__", ())
    if issubclass(public, Exception):
        slots = tuple(inspect.signature(public).parameters) if "__init__" in vars(public) else ()
    return [slot for slot in slots if not slot.startswith("_")]


def test_public_names_are_these() -> None:
    assert sorted(isolation.__all__) == sorted(PUBLIC)
    assert all(hasattr(isolation, name) for name in PUBLIC)


def test_nothing_else_has_the_look_of_a_public_name() -> None:
    others = {
        name
        for name in {*vars(isolation), *dir(isolation)}
        if not name.startswith("_") and not inspect.ismodule(getattr(isolation, name))
    }

    assert others == {*PUBLIC, "TYPE_CHECKING"}


def test_what_is_not_there_is_said_as_python_says_it() -> None:
    with pytest.raises(
        AttributeError, match=r"module 'mocker\.isolation' has no attribute 'Forks'"
    ):
        getattr(isolation, "Forks")  # noqa: B009 - a type checker would see it, too


@pytest.mark.parametrize("name", CLASSES + FUNCTIONS)
def test_each_begins_with_a_sentence(name: str) -> None:
    first = text_of(name).split("\n\n")[0]

    assert first.endswith(".")
    assert "\n" not in first


@pytest.mark.parametrize("name", CLASSES)
def test_each_attribute_is_described(name: str) -> None:
    described = re.findall(r"^    (\w+): ", text_of(name), re.MULTILINE)

    assert set(find_attributes(name)) <= set(described)


@pytest.mark.parametrize(("name", "method"), list(find_methods()))
def test_each_method_is_described(name: str, method: str) -> None:
    assert inspect.getdoc(getattr(getattr(isolation, name), method))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_parameter_of_a_function_is_described(name: str) -> None:
    parameters = set(inspect.signature(getattr(isolation, name)).parameters) - {"spec"}

    described = re.findall(r"^    (\w+): ", text_of(name), re.MULTILINE)

    assert parameters <= set(described)


@pytest.mark.parametrize(
    "name",
    [
        "ContainerSpec",
        "ForkServer",
        "Process",
        "Reply",
        "check_host",
        "describe",
        "receive_descriptors",
        "run",
        "spawn",
    ],
)
def test_what_can_fail_says_how(name: str) -> None:
    assert "Raises:" in text_of(name)


@pytest.mark.parametrize("name", SOURCED)
def test_what_models_something_says_where_that_is_described(name: str) -> None:
    assert re.search(r"\w\(\d\w?\)", text_of(name))


@pytest.mark.parametrize(("name", "attribute"), list(UNITS))
def test_number_has_a_unit(name: str, attribute: str) -> None:
    (line,) = re.findall(rf"^    {attribute}: (.*)$", text_of(name), re.MULTILINE)

    assert UNITS[name, attribute] in line
