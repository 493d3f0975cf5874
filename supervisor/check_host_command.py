"""`mocker check-host`: what this host grants, a line each, and what to turn on."""

import os

from mocker.isolation import IsolationError, check_host

from .stderr import write_line

_NOT_ENOUGH = 1


def print_host_checks() -> int:
    """Print the checks; return 0 only if `mocker run` can work here."""
    try:
        checks = check_host()
    except IsolationError as error:
        write_line(f"mocker check-host: {error}")
        return error.exit_code
    width = max(len(check.name) for check in checks)
    for check in checks:
        word = "ok" if check.granted else "MISSING" if check.needed else "absent"
        print(f"{word:8}{check.name:{width}}  {check.detail}")
    if all(check.granted for check in checks if check.needed):
        return os.EX_OK
    return _NOT_ENOUGH
