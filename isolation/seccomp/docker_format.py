"""Docker's format of seccomp profiles: a JSON document as values, or a sentence about its mistake.

What docker passes over in silence is a mistake here: a key that does not exist, an action that
nobody carries out. Names of system calls are not looked up; other machines have others.

Source: moby/profiles seccomp/seccomp.go; containers/common pkg/seccomp/types.go, which adds errno
and defaultErrno; the OCI runtime specification, "Seccomp".
"""

import json
from _collections_abc import Iterable, Iterator, Set
from errno import EPERM, errorcode

from .bpf import (
    ALLOW,
    EQ,
    ERRNO,
    GE,
    GT,
    KILL_PROCESS,
    KILL_THREAD,
    LE,
    LOG,
    LT,
    NE,
    TRACE,
    TRAP,
    WORD,
    Condition,
)

_ACTIONS = {
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_TRAP": TRAP,
}
_WITH_NUMBER = {ERRNO, TRACE}
_MASKED = "SCMP_CMP_MASKED_EQ"
_OPERATORS = {
    "SCMP_CMP_EQ": EQ,
    "SCMP_CMP_GE": GE,
    "SCMP_CMP_GT": GT,
    "SCMP_CMP_LE": LE,
    "SCMP_CMP_LT": LT,
    "SCMP_CMP_NE": NE,
    _MASKED: EQ,
}
# How a filter is loaded. These change nothing here: who loads it has one thread, no question waits
# for an answer, and the processor's protection that the third does without is kept up.
_FLAGS = (
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
)
_LISTENER = "listenerPath", "listenerMetadata"  # whom SCMP_ACT_NOTIFY asks
_MAX_ERRNO = 4095  # what the kernel hands on
_LAST_ARGUMENT = 5
_MOST_SHOWN = 60  # characters of a value in a sentence
_ERRNOS = {name: number for number, name in errorcode.items()}


class Circumstances:
    """What an entry may depend on.

    Attributes:
        machines: In docker's words, such as "amd64".
        capabilities: Without the "CAP_" in front.
        kernel: The oldest version; None for any.
    """

    __slots__ = ("capabilities", "kernel", "machines")

    def __init__(
        self,
        machines: Iterable[str] = (),
        capabilities: Iterable[str] = (),
        kernel: tuple[int, int] | None = None,
    ) -> None:
        self.machines, self.capabilities = frozenset(machines), frozenset(capabilities)
        self.kernel = kernel


class Entry:
    """What is to be done with some system calls.

    Attributes:
        names: Of the system calls.
        action: What is done if all of the conditions hold.
        conditions: About the arguments of the call.
        includes: When the entry counts.
        excludes: When it does not; one reason is enough.
    """

    __slots__ = ("action", "conditions", "excludes", "includes", "names")

    def __init__(
        self,
        names: tuple[str, ...],
        action: int,
        conditions: tuple[Condition, ...],
        includes: Circumstances,
        excludes: Circumstances,
    ) -> None:
        self.names, self.action, self.conditions = names, action, conditions
        self.includes, self.excludes = includes, excludes

    def counts(self, machine: str, capabilities: Set[str], kernel: tuple[int, int]) -> bool:
        """Whether the entry counts on a machine, in docker's words, and for such a container."""
        inside, outside = self.includes, self.excludes
        return (
            (not inside.machines or machine in inside.machines)
            and inside.capabilities <= capabilities
            and (inside.kernel is None or kernel >= inside.kernel)
            and machine not in outside.machines
            and not outside.capabilities & capabilities
            and (outside.kernel is None or kernel < outside.kernel)
        )


class Profile:
    """A profile.

    Attributes:
        default: The action for what no entry is about.
        entries: In their order.
        architectures: Whose tables of system calls it is about besides the machine's own, by the
            machine's architecture; under "" for any machine.
    """

    __slots__ = ("architectures", "default", "entries")

    def __init__(
        self, default: int, entries: tuple[Entry, ...], architectures: dict[str, tuple[str, ...]]
    ) -> None:
        self.default, self.entries, self.architectures = default, entries, architectures


def parse_profile(text: str) -> Profile:
    """Return the profile that a JSON document is.

    Raises:
        ValueError: It is none, with a sentence that says where.
    """
    try:
        document = json.loads(text)
    except RecursionError:
        raise ValueError("must be JSON that is not nested so deep") from None
    except ValueError as error:
        raise ValueError(f"must be JSON: {error}") from None
    keys = ("defaultAction", "defaultErrnoRet", "defaultErrno", "architectures", "archMap")
    table = _Table(document, "", *keys, "flags", *_LISTENER, "syscalls")
    for flag, where in table.each("flags"):
        if flag not in _FLAGS:
            raise _mistake(where, f"one of {', '.join(_FLAGS)}", flag)
    for value, where in map(table.at, _LISTENER):
        if value not in (None, ""):
            raise _mistake(where, "empty, as nobody can be asked", value)
    architectures = [_parse_architectures(value, where) for value, where in table.each("archMap")]
    if table.has("architectures"):
        architectures.append(("", tuple(table.texts("architectures", "SCMP_ARCH_"))))
    if table.has("architectures") and table.has("archMap"):
        raise ValueError("must have architectures or archMap, not both")
    return Profile(
        table.action("defaultAction", "defaultErrnoRet", "defaultErrno"),
        tuple(_parse_entry(value, where) for value, where in table.each("syscalls")),
        dict(architectures),
    )


def _parse_architectures(value: object, where: str) -> tuple[str, tuple[str, ...]]:
    table = _Table(value, where, "architecture", "subArchitectures")
    name = table.text("architecture", "SCMP_ARCH_")
    return name, tuple(table.texts("subArchitectures", "SCMP_ARCH_"))


def _parse_entry(value: object, where: str) -> Entry:
    keys = ("name", "names", "action", "errnoRet", "errno", "args", "includes", "excludes")
    table = _Table(value, where, *keys, "comment")
    if table.has("name") and table.has("names"):
        raise ValueError(f"{where} must have name or names, not both")
    names = [table.text("name")] if table.has("name") else table.texts("names")
    if not names:
        raise ValueError(f"{where} must have names")
    conditions = tuple(_parse_condition(item, place) for item, place in table.each("args"))
    if len({condition[0] for condition in conditions}) < len(conditions):
        raise ValueError(
            f"{where}.args must not have an index twice: some programs take one condition for "
            "enough, others want both; write an entry for each"
        )
    return Entry(
        tuple(names),
        table.action("action", "errnoRet", "errno"),
        conditions,
        _parse_circumstances(*table.at("includes")),
        _parse_circumstances(*table.at("excludes")),
    )


def _parse_condition(value: object, where: str) -> Condition:
    table = _Table(value, where, "index", "value", "valueTwo", "op")
    if not table.has("index"):
        raise ValueError(f"{where} must have an index")
    index, operator = table.whole("index", _LAST_ARGUMENT), table.word("op", _OPERATORS)
    first, second = table.whole("value", WORD), table.whole("valueTwo", WORD)
    if operator == _MASKED:
        return index, first, EQ, second & first
    return index, WORD, _OPERATORS[operator], first


def _parse_circumstances(value: object, where: str) -> Circumstances:
    if value is None:
        return Circumstances()
    table = _Table(value, where, "arches", "caps", "minKernel")
    names = [name.removeprefix("CAP_") for name in table.texts("caps", "CAP_")]
    kernel = None
    if table.has("minKernel"):
        text = table.text("minKernel")
        major, _, minor = text.partition(".")
        if not (major.isdecimal() and minor.isdecimal()):
            raise ValueError(f"{where}.minKernel must be a version such as '4.8', not {text!r}")
        kernel = int(major), int(minor)
    return Circumstances(table.texts("arches"), names, kernel)


class _Table:
    """An object of JSON that is to have certain keys; null is as good as none."""

    __slots__ = ("_fields", "_where")

    def __init__(self, value: object, where: str, *keys: str) -> None:
        if not isinstance(value, dict):
            raise _mistake(where, "a table", value)
        self._fields, self._where = value, where
        for key in value:
            if key not in keys:
                raise ValueError(f"{self._place(key)} is no key; there are {', '.join(keys)}")

    def has(self, key: str) -> bool:
        return self._fields.get(key) not in (None, [])

    def at(self, key: str) -> tuple[object, str]:
        """Return a value, and where it is."""
        return self._fields.get(key), self._place(key)

    def each(self, key: str) -> Iterator[tuple[object, str]]:
        """Return the values of a list, and where they are."""
        value, where = self.at(key)
        if value is None:
            return iter(())
        if not isinstance(value, list):
            raise _mistake(where, "a list", value)
        return iter([(item, f"{where}[{number}]") for number, item in enumerate(value)])

    def text(self, key: str, start: str = "") -> str:
        return _check_text(*self.at(key), start)

    def texts(self, key: str, start: str = "") -> list[str]:
        return [_check_text(value, where, start) for value, where in self.each(key)]

    def word(self, key: str, words: Iterable[str]) -> str:
        value, where = self.at(key)
        if not isinstance(value, str) or value not in words:
            raise _mistake(where, f"one of {', '.join(words)}", value)
        return value

    def whole(self, key: str, most: int) -> int:
        value, where = self.at(key)
        if value is None:
            return 0
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise _mistake(where, f"a whole number up to {most}", value)
        return value

    def action(self, key: str, number_key: str, name_key: str) -> int:
        """Return an action with the number that goes with it, which is given as such or by name."""
        if self._fields.get(key) == "SCMP_ACT_NOTIFY":
            raise ValueError(f"{self._place(key)} must not be SCMP_ACT_NOTIFY: nobody can be asked")
        action = _ACTIONS[self.word(key, _ACTIONS)]
        numbers = set[int]()
        if self.has(number_key):
            numbers.add(self.whole(number_key, _MAX_ERRNO))
        if self.has(name_key):
            name = self.text(name_key)
            if name not in _ERRNOS:
                raise _mistake(self._place(name_key), "the name of an error such as EPERM", name)
            numbers.add(_ERRNOS[name])
        if numbers and action not in _WITH_NUMBER:
            wanted = "SCMP_ACT_ERRNO or SCMP_ACT_TRACE"
            raise ValueError(f"{self._place(key)} must be {wanted}, as there is an errno")
        if len(numbers) > 1:
            places = f"{self._place(number_key)} and {self._place(name_key)}"
            raise ValueError(f"{places} must be the same")
        return action | (numbers.pop() if numbers else EPERM if action in _WITH_NUMBER else 0)

    def _place(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key


def _check_text(value: object, where: str, start: str) -> str:
    if isinstance(value, str) and value and value.startswith(start):
        return value
    raise _mistake(where, f"a name that begins with {start}" if start else "a text", value)


def _mistake(where: str, wanted: str, value: object) -> ValueError:
    found = "missing" if value is None else json.dumps(value)
    if len(found) > _MOST_SHOWN:
        found = f"{found[:_MOST_SHOWN]}…"
    return ValueError(f"{where} must be {wanted}, not {found}".lstrip())
