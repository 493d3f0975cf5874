"""Which version of mocker this is, for who wants to know it without waiting.

The metadata has it and is read by importlib.metadata, which takes longer to load than an answer to
come. The directory of the metadata has it in its name, and that will do to tell two versions apart.

Source: Python Packaging User Guide, "Binary distribution format", on the .dist-info directory.
"""

import os
import sys
from collections.abc import Iterable

_PREFIX, _SUFFIX = "mocker_supervise-", ".dist-info"


def find_version(path: Iterable[str]) -> str:
    """Return the version; empty if it is not installed as other packages are.

    Args:
        path: Where modules are looked for, as sys.path.
    """
    for directory in path:
        try:
            names = os.listdir(directory or ".")
        except OSError:
            continue
        for name in names:
            if name.startswith(_PREFIX) and name.endswith(_SUFFIX):
                return name[len(_PREFIX) : -len(_SUFFIX)]
    return ""


VERSION = find_version(sys.path)  # of what is loaded: what is installed may be newer soon
