"""How volumes, tmpfs, limits and signals are written: the words of docker run(1).

On a command line and in a file alike. A mistake is a ValueError with words that go on from the
name of the option or the key: "must be SRC:DST or SRC:DST:ro, not …".
"""

import _signal as signal  # whose numbers cost no import of enumerations

from mocker.isolation.capabilities import find_capability
from mocker.isolation.checks import MAX_CPU, MAX_UMASK
from mocker.isolation.seccomp import DEFAULT, UNCONFINED

from .quantities import parse_size

_ANYBODY = 0o1777  # mode of a tmpfs, as /tmp has it
_HELD_ANYWAY = ("rw", "nosuid", "nodev")  # of docker's options of a tmpfs
_MAX_DIGITS = 10  # int() of thousands takes long


def parse_volume(word: str) -> tuple[str, str, bool]:
    """Return (source, destination, read_only) of SRC:DST[:ro].

    Raises:
        ValueError: It is written in another way.
    """
    source, *rest = word.split(":")
    if not source or not 1 <= len(rest) <= 2 or (rest[1:] and rest[1] not in {"ro", "rw"}):
        raise ValueError(f"must be SRC:DST or SRC:DST:ro, not {word!r}")
    return source, rest[0], rest[1:] == ["ro"]


def parse_tmpfs(word: str) -> tuple[str, int | None, int]:
    """Return (destination, bytes or None, mode) of DST[:size=64m,mode=1777].

    Raises:
        ValueError: It is written in another way.
    """
    destination, _, options = word.partition(":")
    size, mode = None, _ANYBODY
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        if key == "size":
            size = _parse_size(value)
        elif key == "mode" and value and not set(value) - set("01234567"):
            mode = int(value, 8)
        elif option not in _HELD_ANYWAY:
            raise ValueError(f"takes size=… and mode=…, not {option!r}")
    return destination, size, mode


def parse_limits(text: str) -> tuple[int, int]:
    """Return (soft, hard) of SOFT[:HARD], -1 for unlimited.

    Raises:
        ValueError: It is written in another way.
    """
    soft, _, hard = text.partition(":")
    return _parse_limit(soft), _parse_limit(hard or soft)


def read_seccomp(word: str, path: str) -> str:
    """Return what a filter of system calls is chosen by: see `ContainerSpec.seccomp`.

    Args:
        word: "default", "unconfined", or else a file is meant.
        path: Of that.

    Raises:
        ValueError: It cannot be read, or is no profile.
    """
    if word in {DEFAULT, UNCONFINED}:
        return word
    from mocker.isolation.seccomp.profile import check_profile

    from .text_file import read_text_file

    try:
        text = read_text_file(path)
    except ValueError as error:
        raise ValueError(f"must be default, unconfined or a file; {path} {error}") from None
    check_profile(text, path)
    return text


def parse_cpus(text: str) -> float:
    """Return how many CPUs are meant: 2, 1.5 or .5.

    Raises:
        ValueError: It is written in another way.
    """
    digits = text.replace(".", "", 1)
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _MAX_DIGITS):
        raise ValueError(f"must be a number of CPUs such as 1.5, not {text!r}")
    return float(text)


def parse_count(text: str) -> int:
    """Return a whole number.

    Raises:
        ValueError: It is none.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS):
        hint = "; without the option there is no limit" if text == "-1" else ""
        raise ValueError(f"must be a whole number above 0, not {text!r}{hint}")
    return int(text)


def parse_capability(word: str) -> str:
    """Return a capability, in capitals and without "CAP_", or "ALL".

    Raises:
        ValueError: It is neither.
    """
    name = find_capability(word)
    if not name:
        raise ValueError(f"must be a capability such as NET_RAW, or ALL, not {word!r}")
    return name


def parse_umask(text: str) -> int:
    """Return the bits of an octal number.

    Raises:
        ValueError: It is none, or has more than those of permissions.
    """
    octal = 0 < len(text) < _MAX_DIGITS and not set(text) - set("01234567")
    if not octal or int(text, 8) > MAX_UMASK:
        raise ValueError(f"must be an octal number up to 777, such as 022, not {text!r}")
    return int(text, 8)


def parse_affinity(text: str) -> tuple[int, ...]:
    """Return the numbers of CPUs, as the kernel lists them: "0-1,3".

    Raises:
        ValueError: It is written in another way, or no machine has so many.
    """
    cpus = set[int]()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        for end in (first, last) if dash else (first,):
            whole = end.isascii() and end.isdecimal() and len(end) < _MAX_DIGITS
            if not whole or int(end) > MAX_CPU:
                raise ValueError(f"must be CPUs such as 0-1,3, up to {MAX_CPU}, not {text!r}")
        numbers = range(int(first), int(last or first) + 1)
        if not numbers:
            raise ValueError(f"must be CPUs such as 0-1,3, in rising order, not {text!r}")
        cpus.update(numbers)
    return tuple(sorted(cpus))


def parse_whole(text: str, least: int, most: int) -> int:
    """Return a whole number.

    Raises:
        ValueError: It is none, or not in the range.
    """
    digits = text.removeprefix("-")
    whole = digits.isascii() and digits.isdecimal() and len(digits) < _MAX_DIGITS
    if not whole or not least <= int(text) <= most:
        raise ValueError(f"must be a whole number from {least} to {most}, not {text!r}")
    return int(text)


def parse_signal(word: str) -> int:
    """Return the number of a signal: TERM, SIGTERM, RTMIN+3 or 15.

    Raises:
        ValueError: There is no such signal.
    """
    name = word.upper().removeprefix("SIG")
    base, plus, more = name.partition("+")
    number = getattr(signal, f"SIG{base}", 0) if base.isalnum() else 0
    if plus:
        counted = (
            base == "RTMIN" and more.isascii() and more.isdecimal() and len(more) < _MAX_DIGITS
        )
        number = number + int(more) if counted else 0
    if word.isascii() and word.isdecimal() and len(word) < _MAX_DIGITS:
        number = int(word)
    if number not in signal.valid_signals():
        raise ValueError(f"must be a signal such as TERM, not {word!r}")
    return int(number)


def _parse_limit(text: str) -> int:
    if text in {"unlimited", "-1"}:
        return -1
    if not (text.isascii() and text.isdecimal()):  # int() also takes "1_000" and " 1"
        raise ValueError(f"must be SOFT or SOFT:HARD, numbers or unlimited, not {text!r}")
    return int(text)


def _parse_size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise ValueError(f"size {error}") from None
