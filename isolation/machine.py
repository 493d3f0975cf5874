"""Which machine it is, as far as the numbers of its system calls go.

uname(2) names a 32-bit one to whom setarch(8) or systemd's `Personality=` has started. The calls of
such a process, and of its commands, have the numbers of 64 bits all the same.
"""

import os
import sys

# By what such a process is told, what a process of 64 bits is on.
_WIDE = {
    "armv8l": "aarch64",
    "i686": "x86_64",
    "ppcle": "ppc64le",
    "riscv32": "riscv64",
    "s390": "s390x",
}


def find_machine() -> str:
    """Return the name of the machine whose system calls this process makes, such as "x86_64".

    Source: personality(2), PER_LINUX32; COMPAT_UTS_MACHINE of the kernel's asm/compat.h.
    """
    name = os.uname().machine
    return _WIDE.get(name, name) if sys.maxsize > 2**32 else name
