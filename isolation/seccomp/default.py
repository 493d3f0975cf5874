"""The filter that a command gets if nobody asks for another.

What docker's default profile denies given the capabilities of the container, and moreover user
namespaces and what types into terminals. Whatever is denied fails with EPERM, as if the caller
lacked a right. ENOSYS is for what a C library tries first and can do without.

What is written here is what is denied. A number that no table has is denied, too;
one that is higher than all of them is absent (ENOSYS).

Source: moby/profiles seccomp/default.json, as of 2026 (02e898b137ae, which knows of Linux 7.2);
ioctl_tty(2), personality(2); linux/socket.h.
"""

from _collections_abc import Set
from errno import ENOSYS

from .bpf import ALLOW, DENY, EQ, ERRNO, GT, WORD, Condition, Verdict, decide
from .ranges import Policy

_ABSENT = ERRNO | ENOSYS
# The mask of an argument that the kernel takes as an int; the rest may be anything.
_INT = 2**32 - 1
_CLONE_NEWUSER = 0x1000_0000
_NEW_NAMESPACES = 0x7E02_0000  # of clone(2): all but that of time, which it can't make
# What nothing in a container needs, AF_ALG and AF_VSOCK; and what Linux has given up, AF_DECnet,
# AF_ECONET, AF_ATMSVC, AF_IRDA, AF_WANPIPE, AF_ISDN and AF_CAIF, but an older kernel may have.
_DENIED_FAMILIES = 38, 40, 12, 19, 20, 23, 25, 34, 37
_AF_MCTP = 45  # the newest family; what comes after it is denied until somebody has looked at it
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_SYS_SOCKET = 1  # of socketcall(2)
# Linux, with 32 bits, with a version number of old, with both; and which it is at present.
_PERSONALITIES = 0, 8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF

# Not for any capability that can be had in a container.
_NEVER = """
    keyctl add_key request_key
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
    kexec_load kexec_file_load swapon swapoff pivot_root
    migrate_pages move_pages
    nfsservctl sysfs ustat uselib uprobe

    afs_syscall break create_module ftime get_kernel_syms getpmsg gtty lock mpx prof profil putpmsg
    query_module security stty tuxcall ulimit vserver _sysctl

    bdflush idle nice oldfstat oldlstat oldolduname oldstat olduname readdir sgetmask sigaction
    signal sigpending sigsuspend ssetmask vm86 vm86old

    pciconfig_iobase pciconfig_read pciconfig_write usr26 usr32 get_tls
"""
# mount(8) does with mount(2), then, which takes SYS_ADMIN.
_MOUNT_API = "open_tree open_tree_attr move_mount fsopen fsconfig fsmount fspick mount_setattr"
# Newer than what docker's profile knows; its runtime takes them for absent.
_TOO_NEW = "file_getattr file_setattr listns"
# For who has one of these capabilities.
_BY_CAPABILITY = {
    "DAC_READ_SEARCH": "open_by_handle_at",
    "SYS_ADMIN": """
        mount umount umount2 setns unshare fanotify_init lookup_dcookie quotactl quotactl_fd
        setdomainname syslog lsm_get_self_attr lsm_set_self_attr lsm_list_modules
    """,
    "SYS_BOOT": "reboot",
    "SYS_CHROOT": "chroot",
    "SYS_MODULE": "init_module finit_module delete_module",
    "SYS_NICE": "get_mempolicy set_mempolicy mbind set_mempolicy_home_node",
    "SYS_PACCT": "acct",
    "SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "SYS_RAWIO": "iopl ioperm",
    "SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "SYS_TTY_CONFIG": "vhangup",
    "SYSLOG": "syslog",
}


def plan_default(capabilities: Set[str]) -> Policy:
    """Return what becomes of each system call, in any table.

    Args:
        capabilities: Those that the container may have, such as "SYS_ADMIN".
    """
    verdicts: dict[str, Verdict] = dict.fromkeys(_NEVER.split(), DENY)
    verdicts |= dict.fromkeys(_TOO_NEW.split(), _ABSENT)
    for names in _BY_CAPABILITY.values():
        verdicts |= dict.fromkeys(names.split(), DENY)
    for capability, names in _BY_CAPABILITY.items():
        if capability in capabilities:
            verdicts |= dict.fromkeys(names.split(), ALLOW)
    is_admin = "SYS_ADMIN" in capabilities
    verdicts |= dict.fromkeys(_MOUNT_API.split(), _ABSENT if is_admin else DENY)
    namespaces = _CLONE_NEWUSER if is_admin else _NEW_NAMESPACES
    verdicts["clone"] = _deny_unless((0, namespaces, EQ, 0))
    if is_admin:
        verdicts["unshare"] = _deny_unless((0, _CLONE_NEWUSER, EQ, 0))
    # Its flags are in memory, where no filter can look.
    verdicts["clone3"] = _ABSENT
    # A number with bits that the kernel ignores is greater than any family's.
    verdicts["socket"] = _deny_if(
        (0, WORD, GT, _AF_MCTP), *((0, _INT, EQ, family) for family in _DENIED_FAMILIES)
    )
    # So are the arguments of this one's calls: it would open what `socket` does not.
    verdicts["socketcall"] = _deny_if((0, _INT, EQ, _SYS_SOCKET))
    verdicts["ioctl"] = _deny_if(*((1, _INT, EQ, number) for number in (_TIOCSTI, _TIOCLINUX)))
    verdicts["personality"] = _deny_unless(*((0, WORD, EQ, flags) for flags in _PERSONALITIES))
    return Policy(verdicts, ALLOW, DENY, _ABSENT)


def _deny_if(*conditions: Condition) -> Verdict:
    return decide([(DENY, (condition,)) for condition in conditions], ALLOW)


def _deny_unless(*conditions: Condition) -> Verdict:
    return decide([(ALLOW, (condition,)) for condition in conditions], DENY)
