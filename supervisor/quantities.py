"""How durations and sizes are written: "500ms", "10s", "2m"; "64k", "64M"."""

MAX_SECONDS = 10 * 365 * 86400.0  # what a poll(2) of several takes, and nobody waits longer

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "b": 1} | {
    letter + end: 1024**power for power, letter in enumerate("kmgt", 1) for end in ("", "b", "ib")
}
_MAX_DIGITS = 20  # of 2**64


def parse_duration(text: str) -> float:
    """Return seconds; a number without a unit is seconds.

    Raises:
        ValueError: It is not a duration, negative, or longer than ten years.
    """
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = text[len(number) :] or "s"
    if unit not in _SECONDS or not _is_number(number):
        raise ValueError(f"must be a duration such as '500ms', '10s' or '2m', not {text!r}")
    seconds = float(number) * _SECONDS[unit]
    if seconds > MAX_SECONDS:
        raise ValueError(f"must be at most ten years, not {text!r}")
    return seconds


def parse_size(text: str) -> int:
    """Return bytes; units are powers of 1024, upper or lower case; without one it is bytes.

    Raises:
        ValueError: It is not a size.
    """
    lower = text.lower()
    number = lower.rstrip("bkmgti")
    unit = lower[len(number) :]
    if unit not in _BYTES or not _is_number(number) or len(number) > _MAX_DIGITS:
        raise ValueError(f"must be a size such as '64k', '64M' or '1G', not {text!r}")
    # Of a whole number every digit counts, and a float has 53 bits.
    return int((int(number) if number.isdecimal() else float(number)) * _BYTES[unit])


def _is_number(text: str) -> bool:
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    return digits.isascii() and digits.isdecimal()
