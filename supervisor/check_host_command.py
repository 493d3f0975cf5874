"""`mocker check-host`: what this host grants, a line each, and what to turn on."""

import os

from mocker.isolation import check_host

_NOT_ENOUGH = 1


def print_host_checks() -> int:
    """Print the checks; return 0 only if `mocker run` can work here."""
    checks = check_host()
    width = max(len(check.name) for check in checks)
    for check in checks:
        word = "ok" if check.granted else "MISSING" if check.needed else "absent"
        print(f"{word:8}{check.name:{width}}  {check.detail}")
    if all(check.granted for check in checks if check.needed):
        return os.EX_OK
    return _NOT_ENOUGH
