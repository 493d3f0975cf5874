"""A key of the caller's, and a program that looks for it: keyctl(2), add_key(2)."""

import os
import sys

from tests.escape.kernel import call

_JOIN_SESSION_KEYRING, _SESSION_KEYRING = 1, -3
_PYTHON = os.path.realpath(sys.executable)  # that of the host, where an environment is in /tmp
_SEARCH = """
import ctypes, os
keyctl, search, session = 250 if os.uname().machine == "x86_64" else 219, 10, -3
found = ctypes.CDLL(None).syscall(keyctl, search, session, b"user", b"mocker-secret", 0) > 0
print("found" if found else "none")
"""

# By number, as libkeyutils is not everywhere.
SEARCH = [_PYTHON, "-ISc", _SEARCH]


def hold_key() -> None:
    """Have a key in a session keyring of one's own; called in a fork of the test's."""
    call("keyctl", _JOIN_SESSION_KEYRING, None)
    call("add_key", b"user", b"mocker-secret", b"hunter2", 7, _SESSION_KEYRING)
