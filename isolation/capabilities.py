"""Which capabilities there are, and which of them the root of a container has.

The rules are docker run(1)'s: of a set to begin with, some are dropped, then others are added.
"ALL" stands for all of them; then the other list says which are missing, or which there are.

Source: capabilities(7), docker run(1) --cap-add and --cap-drop.
"""

from _collections_abc import Iterable

from .errors import SpecError
from .syscalls import PR_CAPBSET_READ, prctl

ALL = "ALL"
NUMBERS = {
    name: number
    for number, name in enumerate(
        (
            "CHOWN",
            "DAC_OVERRIDE",
            "DAC_READ_SEARCH",
            "FOWNER",
            "FSETID",
            "KILL",
            "SETGID",
            "SETUID",
            "SETPCAP",
            "LINUX_IMMUTABLE",
            "NET_BIND_SERVICE",
            "NET_BROADCAST",
            "NET_ADMIN",
            "NET_RAW",
            "IPC_LOCK",
            "IPC_OWNER",
            "SYS_MODULE",
            "SYS_RAWIO",
            "SYS_CHROOT",
            "SYS_PTRACE",
            "SYS_PACCT",
            "SYS_ADMIN",
            "SYS_BOOT",
            "SYS_NICE",
            "SYS_RESOURCE",
            "SYS_TIME",
            "SYS_TTY_CONFIG",
            "MKNOD",
            "LEASE",
            "AUDIT_WRITE",
            "AUDIT_CONTROL",
            "SETFCAP",
            "MAC_OVERRIDE",
            "MAC_ADMIN",
            "SYSLOG",
            "WAKE_ALARM",
            "BLOCK_SUSPEND",
            "AUDIT_READ",
            "PERFMON",
            "BPF",
            "CHECKPOINT_RESTORE",
        )
    )
}
DEFAULT_SET = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)


def check_capabilities(names: Iterable[str], what: str) -> tuple[str, ...]:
    """Return capabilities as `NUMBERS` has them, or "ALL", each once and in order.

    Args:
        names: In letters of any case, with or without "CAP_" in front.
        what: What they are called where they are asked for.

    Raises:
        SpecError: One is no capability.
    """
    if isinstance(names, str):  # an iterable of names for a type checker, and of letters in truth
        raise SpecError(f"{what} must be a sequence of names, not the text {names!r}")
    found = set[str]()
    for name in names:
        plain = find_capability(name)
        if not plain:
            raise SpecError(f"{what} must be a capability such as NET_RAW, or ALL, not {name!r}")
        found.add(plain)
    return tuple(sorted(found))


def find_capability(name: str) -> str:
    """Return a capability as `NUMBERS` has it, or "ALL"; nothing if it is none."""
    # Other alphabets have letters whose capitals are ASCII.
    plain = name.upper().removeprefix("CAP_") if name.isascii() else ""
    return plain if plain == ALL or plain in NUMBERS else ""


def effective_set(
    cap_add: Iterable[str], cap_drop: Iterable[str], default: frozenset[str] = DEFAULT_SET
) -> frozenset[str]:
    """Return the capabilities that are left of a set, as `check_capabilities` has their names.

    Args:
        cap_add: What comes to it.
        cap_drop: What is taken off.
        default: The set; none where the container's root is the host's.
    """
    added, dropped = frozenset(cap_add), frozenset(cap_drop)
    if ALL in added:
        return frozenset(NUMBERS) - dropped
    return (frozenset() if ALL in dropped else default - dropped) | added


def mask_of(names: Iterable[str]) -> int:
    """Return capabilities as the kernel's bit mask."""
    return sum(1 << NUMBERS[name] for name in set(names))


def names_of(mask: int) -> list[str]:
    """Return the names of the capabilities in a bit mask, those without one left out."""
    return [name for name, number in NUMBERS.items() if mask >> number & 1]


def find_last_capability() -> int:
    """Return the highest number of a capability that the kernel knows."""
    last = max(NUMBERS.values())
    while _is_known(last + 1):
        last += 1
    while not _is_known(last):
        last -= 1
    return last


def _is_known(number: int) -> bool:
    try:
        prctl(PR_CAPBSET_READ, number)
    except OSError:
        return False
    return True
