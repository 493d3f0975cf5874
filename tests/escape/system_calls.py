"""Probes of the system call filter.

Most calls have arguments that the kernel itself refuses, with another errno than the filter: so a
probe without the filter shows that it has reached the kernel, and does nothing there.
"""

import ctypes
import fcntl
import os
import signal
import socket
import struct
import tempfile

from .kernel import call
from .probe import (
    NAMESPACES,
    ROOT,
    ROOT_CAPABILITIES,
    SECCOMP,
    SECCOMP_AND_CAPABILITIES,
    Facts,
    Wall,
    probe,
)

_ADDR_NO_RANDOMIZE = 0x40000
_AF_ECONET, _AF_ALG, _AF_VSOCK = 19, 38, 40
_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
_FAN_REPORT_FID = 0x200
_EVERYTHING = -1  # as flags; no call knows all of them
_KEY_SPEC_SESSION_KEYRING = -3
_NO_FD = -1
_NS_GET_USERNS = 0xB701
_OPEN_TREE_CLONE = 1
_UFFD_USER_MODE_ONLY = 1
_REBOOT = Wall("seccomp, capabilities", "namespaces alone", place=NAMESPACES)


@probe("G-unshare-user", SECCOMP, "EPERM")
def unshare_user_namespace(facts: Facts) -> None:
    """Make a user namespace with unshare."""
    call("unshare", _CLONE_NEWUSER)


@probe("G-unshare-mount", SECCOMP_AND_CAPABILITIES, "EPERM")
def unshare_mount_namespace(facts: Facts) -> None:
    """Make a mount namespace with unshare."""
    call("unshare", _CLONE_NEWNS)


@probe("G-clone-user", SECCOMP, "EPERM")
def clone_user_namespace(facts: Facts) -> None:
    """Make a user namespace with clone."""
    pid = call("clone", _CLONE_NEWUSER | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


@probe("G-clone3-user", SECCOMP, "ENOSYS")
def clone3_user_namespace(facts: Facts) -> None:
    """Make a user namespace with clone3, whose flags no filter can see."""
    words = (_CLONE_NEWUSER, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    pid = call("clone3", struct.pack("8Q", *words), 64)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


@probe("G-setns", SECCOMP, "EPERM", then="EBADF")
def join_namespace(facts: Facts) -> None:
    """Join a namespace."""
    call("setns", _NO_FD, 0)


@probe("G-join-user", SECCOMP._replace(whom=(ROOT,)), "EPERM")
def join_namespace_above_host_name(facts: Facts) -> None:
    """Have all capabilities in the user namespace that the host name belongs to."""
    own = os.open("/proc/self/ns/uts", os.O_RDONLY)
    call("setns", fcntl.ioctl(own, _NS_GET_USERNS), _CLONE_NEWUSER)


@probe("G-domainname", SECCOMP._replace(whom=(ROOT,)), "EPERM")
def set_domain_name(facts: Facts) -> None:
    """Set the domain name of NIS."""
    call("setdomainname", b"other", 5)


@probe("G-keyctl", SECCOMP, "EPERM")
def use_keyring(facts: Facts) -> None:
    """Use the kernel's keyrings."""
    call("keyctl", 0, _KEY_SPEC_SESSION_KEYRING, 1)


@probe("G-add-key", SECCOMP, "EPERM")
def add_key(facts: Facts) -> None:
    """Add a key."""
    call("add_key", b"user", b"probe", b"key", 3, _KEY_SPEC_SESSION_KEYRING)


@probe("G-request-key", SECCOMP, "EPERM", then="ENOKEY")
def request_key(facts: Facts) -> None:
    """Ask for a key."""
    call("request_key", b"user", b"probe-that-nobody-has", None, 0)


@probe("G-bpf", SECCOMP, "EPERM", then="EINVAL")
def load_bpf(facts: Facts) -> None:
    """Reach the kernel's BPF machine."""
    call("bpf", 2**31 - 1, bytes(8), 8)


@probe("G-perf", SECCOMP, "EPERM", then="EINVAL")
def measure_kernel(facts: Facts) -> None:
    """Reach the kernel's performance counters."""
    call("perf_event_open", None, 0, -1, -1, _EVERYTHING)


@probe("G-userfaultfd", SECCOMP, "EPERM")
def handle_page_faults(facts: Facts) -> None:
    """Hold up the kernel in the middle of a copy."""
    os.close(call("userfaultfd", _UFFD_USER_MODE_ONLY | os.O_CLOEXEC))


@probe("G-io-uring", SECCOMP, "EPERM", then="EFAULT")
def set_up_ring(facts: Facts) -> None:
    """Reach io_uring, whose calls no filter can see."""
    call("io_uring_setup", 1, None)


@probe("G-fanotify", SECCOMP, "EPERM")
def watch_all_files(facts: Facts) -> None:
    """Watch what others open."""
    os.close(call("fanotify_init", _FAN_REPORT_FID, os.O_RDONLY))


@probe("G-personality", SECCOMP, "EPERM")
def change_personality(facts: Facts) -> None:
    """Turn off the kernel's randomization of addresses."""
    call("personality", _ADDR_NO_RANDOMIZE)


@probe("G-mount", SECCOMP_AND_CAPABILITIES, "EPERM")
def mount_file_system(facts: Facts) -> None:
    """Mount a file system."""
    call("mount", b"none", os.fsencode(tempfile.mkdtemp()), b"tmpfs", 0, None)


@probe("G-umount", SECCOMP, "EPERM", then="EINVAL")
def unmount_nothing(facts: Facts) -> None:
    """Unmount something."""
    call("umount2", b"/proc", _EVERYTHING)


@probe("G-fsopen", SECCOMP_AND_CAPABILITIES, "EPERM")
def open_file_system(facts: Facts) -> None:
    """Mount with the new system calls."""
    os.close(call("fsopen", b"tmpfs", 0))


@probe("G-open-tree", SECCOMP_AND_CAPABILITIES, "EPERM")
def clone_mounts(facts: Facts) -> None:
    """Copy mounts with the new system calls."""
    os.close(call("open_tree", _NO_FD, b"/dev/shm", _OPEN_TREE_CLONE))


@probe("G-move-mount", SECCOMP_AND_CAPABILITIES, "EPERM", then="EINVAL")
def move_mount(facts: Facts) -> None:
    """Move a mount with the new system calls."""
    call("move_mount", _NO_FD, b"", _NO_FD, b"", _EVERYTHING)


@probe("G-mount-setattr", SECCOMP, "EPERM", then="EINVAL")
def change_mount(facts: Facts) -> None:
    """Change a mount with the new system calls."""
    call("mount_setattr", _NO_FD, b"/", _EVERYTHING, bytes(32), 32)


@probe("G-af-alg", SECCOMP, "EPERM", then="through|EAFNOSUPPORT")
def open_crypto_socket(facts: Facts) -> None:
    """Reach the kernel's cryptography (AF_ALG)."""
    socket.socket(_AF_ALG, socket.SOCK_SEQPACKET).close()


@probe("G-af-vsock", SECCOMP, "EPERM")
def open_vm_socket(facts: Facts) -> None:
    """Reach the hypervisor (AF_VSOCK)."""
    socket.socket(_AF_VSOCK, socket.SOCK_STREAM).close()


@probe("G-af-vsock-wide", SECCOMP, "EPERM")
def open_vm_socket_by_wide_number(facts: Facts) -> None:
    """Reach it by a number with bits that the kernel ignores, and a filter may not."""
    os.close(call("socket", _AF_VSOCK | 1 << 32, socket.SOCK_STREAM, 0))


@probe("G-af-econet", SECCOMP, "EPERM", then="EAFNOSUPPORT")
def open_socket_of_a_retired_family(facts: Facts) -> None:
    """Reach a family of sockets that Linux has given up (AF_ECONET)."""
    socket.socket(_AF_ECONET, socket.SOCK_DGRAM).close()


@probe("G-clone-user-wide", SECCOMP, "EPERM")
def clone_user_namespace_by_wide_flags(facts: Facts) -> None:
    """Make a user namespace by flags with bits that the kernel ignores, and a filter may not."""
    pid = call("clone", 1 << 32 | _CLONE_NEWUSER | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


@probe("G-settimeofday", SECCOMP, "EPERM", then="EINVAL")
def set_clock(facts: Facts) -> None:
    """Set the host's clock."""
    call("settimeofday", struct.pack("2l", 0, -1), None)


@probe("G-swapon", SECCOMP, "EPERM", then="EINVAL")
def add_swap_space(facts: Facts) -> None:
    """Change the host's swap space."""
    call("swapon", b"/nowhere", _EVERYTHING)


@probe("G-mbind", SECCOMP, "EPERM", then="EINVAL|ENOSYS")
def place_memory(facts: Facts) -> None:
    """Place memory on a node."""
    call("mbind", None, 0, _EVERYTHING, None, 0, _EVERYTHING)


@probe("G-quotactl", SECCOMP, "EPERM", then="EINVAL|ENOSYS")
def change_quota(facts: Facts) -> None:
    """Change a quota of the host's."""
    call("quotactl", 2**31 - 1, None, 0, None)


@probe("G-open-by-handle", SECCOMP, "EPERM", then="EBADF|EINVAL")
def open_without_path(facts: Facts) -> None:
    """Reach files by their numbers."""
    call("open_by_handle_at", _NO_FD, bytes(136), 0)


@probe("G-pivot-root", SECCOMP_AND_CAPABILITIES, "EPERM", then="EINVAL")
def pivot_again(facts: Facts) -> None:
    """Change the root with pivot_root."""
    call("pivot_root", b"/tmp", b"/tmp")


@probe("G-reboot", _REBOOT, "EPERM", then="EINVAL")
def reboot(facts: Facts) -> None:
    """Reboot."""
    call("reboot", 0, 0, 0, None)


@probe("G-kexec", ROOT_CAPABILITIES, "EPERM", then="EINVAL|ENOSYS")
def load_kernel(facts: Facts) -> None:
    """Load another kernel."""
    call("kexec_load", 0, 0, None, _EVERYTHING)


@probe("G-module", ROOT_CAPABILITIES, "EPERM", then="EFAULT|ENOEXEC|ENOSYS")
def load_module(facts: Facts) -> None:
    """Load a kernel module."""
    call("init_module", None, 0, b"")


@probe("G-syslog", ROOT_CAPABILITIES, "EPERM")
def read_kernel_log(facts: Facts) -> None:
    """Read the kernel's log."""
    call("syslog", 3, ctypes.create_string_buffer(16), 16)


@probe("G-kcmp", SECCOMP, "EPERM")
def compare_processes(facts: Facts) -> None:
    """Learn where the kernel has what in its memory."""
    call("kcmp", os.getpid(), os.getpid(), 0, 0, 0)
