"""What of a container can be known to be wrong without looking at the host: one function a kind.

Each returns what it was given, or raises SpecError with a sentence.
"""

import os
from _collections_abc import Iterable

from .errors import SpecError

MAX_READY_FD = 255  # any process may have that many descriptors
MAX_CPU = 8191  # CONFIG_NR_CPUS of the kernel is 8192 at most
MAX_UMASK = 0o777
NICE_VALUES = (-20, 19)  # getpriority(2)
OOM_SCORES = (-1000, 1000)  # OOM_SCORE_ADJ_MIN and _MAX of the kernel
_MAX_HOSTNAME = 64  # __NEW_UTS_LEN of the kernel
_MAX_NOTIFY = 107  # unix(7): sun_path, less the NUL of an abstract name
_RESERVED = ("/proc",)  # a volume there could fake what init and libraries believe of themselves


def check_text(text: str, what: str) -> str:
    """Return `text`, or raise SpecError if the kernel cannot take it as a C string."""
    if "\0" in text:
        raise SpecError(f"{what} must not contain a NUL byte: {text!r}")
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise SpecError(f"{what} must be text that UTF-8 can encode, not {text!r}") from None
    return str.__str__(text)  # of str itself, which is what can be sent to another process


def check_argv(argv: Iterable[str]) -> tuple[str, ...]:
    """Return a command's words, or raise SpecError if there is none."""
    if isinstance(argv, str):  # an iterable of words for a type checker, and of letters in truth
        raise SpecError(f"a command must be a sequence of words, not the text {argv!r}")
    words = tuple(check_text(word, "argument") for word in argv)
    if not words or not words[0]:
        raise SpecError("a container needs a command")
    return words


def check_word(word: str, words: tuple[str, ...], what: str) -> str:
    """Return `word`, or raise SpecError if it is none of `words`."""
    if word not in words:
        raise SpecError(f"{what} must be one of {', '.join(map(repr, words))}, not {word!r}")
    return str.__str__(word)


def check_destination(path: str, what: str) -> str:
    """Return a mount destination, or raise SpecError if it cannot be one in any container."""
    if not check_text(path, what).startswith("/"):
        raise SpecError(f"{what} must be an absolute path, not {path!r}")
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise SpecError(f"{what} must not contain '..', as {path!r} does")
    clean = "/" + "/".join(parts)
    if clean == "/":
        raise SpecError(f"{what} must not be the root; --rootfs sets that")
    for reserved in _RESERVED:
        if clean == reserved or clean.startswith(reserved + "/"):
            raise SpecError(f"{what} must not be {reserved} or lie below it, as {path!r} does")
    return clean


def check_distinct(destinations: list[str]) -> None:
    """Raise SpecError if two volumes or tmpfs have the same destination."""
    for destination in destinations:
        if destinations.count(destination) > 1:
            raise SpecError(f"two volumes or tmpfs have the destination {destination!r}")


def check_hostname(name: str) -> str:
    """Return a host name, or raise SpecError if it is empty, too long, or not one line."""
    name = check_text(name, "host name")
    size = len(name.encode("utf-8", "surrogateescape"))
    if not 1 <= size <= _MAX_HOSTNAME:
        raise SpecError(f"host name must have 1 to {_MAX_HOSTNAME} bytes, {name!r} has {size}")
    if not name.isprintable() or any(map(str.isspace, name)) or "/" in name:
        raise SpecError(f"host name must be one printable word, not {name!r}")
    return name


def check_notify(name: str) -> str:
    """Return a name for a socket, or raise SpecError if it does not fit into an address."""
    name = check_text(name, "notify name")
    size = len(name.encode("utf-8", "surrogateescape"))
    if not 1 <= size <= _MAX_NOTIFY:
        raise SpecError(f"notify name must have 1 to {_MAX_NOTIFY} bytes, {name!r} has {size}")
    return name


def check_ready_fd(number: int) -> int:
    """Return a descriptor's number, or raise SpecError if it is one of the standard ones."""
    if not 3 <= number <= MAX_READY_FD:
        raise SpecError(f"ready descriptor must be 3 to {MAX_READY_FD}, not {number}")
    return number


def check_workdir(path: str) -> str:
    """Return a working directory, or raise SpecError if it is not an absolute path."""
    path = check_text(path, "workdir")
    if not path.startswith("/"):
        raise SpecError(f"workdir must be an absolute path, not {path!r}")
    return path


def check_writable(path: str) -> str:
    """Return a path to write below, or raise SpecError if it is not absolute or is everything."""
    path = check_text(path, "writable path")
    if not path.startswith("/"):
        raise SpecError(f"writable path must be absolute, not {path!r}")
    if not os.path.normpath(path).strip("/"):
        raise SpecError("landlock forbids nothing where / is writable; name what is below it")
    return path


def check_env_name(name: str) -> str:
    """Return the name of an environment variable, or raise SpecError."""
    name = check_text(name, "variable name")
    if not name or "=" in name:
        raise SpecError(f"variable name must not be empty or contain '=', as {name!r} does")
    return name


def check_user(user: str) -> str:
    """Return USER[:GROUP], or raise SpecError if a part is empty, negative or not one word."""
    user = check_text(user, "user")
    name, colon, group = user.partition(":")
    for part in (name, group) if colon else (name,):
        if not part or part.startswith("-") or not part.isprintable() or ":" in part:
            raise SpecError(f"user must be USER[:GROUP], names or numbers, not {user!r}")
    return user


def check_range(number: int, least: int, most: int, what: str, form: str = "d") -> int:
    """Return a number, or raise SpecError if it is not in a range; `form` is how it is shown."""
    if not least <= number <= most:
        raise SpecError(f"{what} must be {least:{form}} to {most:{form}}, not {number:{form}}")
    return number


def check_cpus(numbers: Iterable[int]) -> tuple[int, ...]:
    """Return the numbers of CPUs in order, or raise SpecError if one is none, or there is none."""
    cpus = tuple(sorted(set(numbers)))
    if not cpus:
        raise SpecError("cpu_affinity must have at least one CPU")
    for cpu in (cpus[0], cpus[-1]):
        check_range(cpu, 0, MAX_CPU, "cpu_affinity")
    return cpus
