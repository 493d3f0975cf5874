"""Make calls of a tape in a test, and see what has become of the process."""

from pathlib import Path

from mocker.isolation.tape import Call, perform


def errno_of(*prepared: Call) -> int:
    """Return the errno of the call that failed, 0 if none did."""
    try:
        perform(prepared)
    except OSError as error:
        return error.errno or 0
    return 0


def read_status(*keys: str) -> list[str]:
    """Return lines of /proc/self/status, without their keys, in the order in which it has them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return [line.split(":", 1)[1].strip() for line in lines if line.split(":")[0] in keys]
