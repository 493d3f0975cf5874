"""What to do about a refusal: which switch of the host is in the way, and how it is turned.

Asked only after something was refused, so it may take its time to look.

Source: user_namespaces(7); keyrings(7); the kernel's Documentation/admin-guide/sysctl/user.rst;
Ubuntu's "Restricted unprivileged user namespaces"; docker run(1), --security-opt.
"""

import os
import sys
from errno import (
    EACCES,
    EAGAIN,
    EDQUOT,
    EFBIG,
    EINVAL,
    EMFILE,
    ENOENT,
    ENOMEM,
    ENOSPC,
    ENOSYS,
    EPERM,
    EUSERS,
)

from .errors import IsolationError, SetupError

_APPARMOR_SWITCH = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
_DEBIAN_SWITCH = "/proc/sys/kernel/unprivileged_userns_clone"
_MAX_SWITCH = "/proc/sys/user/max_user_namespaces"
_SHORTAGES = {
    EAGAIN: "the limit on processes is reached; see ulimit -u, or pids.max of the cgroup",
    EFBIG: "the limit on the size of files is reached; see ulimit -f",
    EMFILE: "the limit on open files is reached; see ulimit -n",
    ENOMEM: "the limit on memory is reached; see ulimit -v, or memory.max of the cgroup",
}
_FILTERED = (
    "a seccomp filter forbids it; start the outer container with "
    "--security-opt seccomp=unconfined, or --privileged (one of mocker's: --seccomp unconfined)"
)


KEYRING_STEP = "have a session keyring"
MASKS_STEP = "cover parts of "
PIVOT_STEP = "make it the only root, and let go of the host's"


def explain(error: IsolationError) -> IsolationError:
    """Return the error with a hint, where one is known and it has none."""
    if isinstance(error, SetupError) and not error.hint:
        hint = _find_hint(error)
        if hint:
            return SetupError(error.step, error.errno, error.path, hint)
    return error


def _find_hint(error: SetupError) -> str:
    if error.step == "create namespaces" and error.errno not in _SHORTAGES:
        return _explain_clone(error.errno)
    if error.errno == EDQUOT and error.step == KEYRING_STEP:
        return (
            "its user has all the keys that it may have, and each container needs one for its "
            "session keyring; raise sysctl kernel.keys.maxkeys"
        )
    if error.errno == EINVAL and error.step.startswith("overlay "):
        return (
            "mounts lie below it, or the kernel takes no overlay of its file system; "
            "use --rootfs-mode rw with a copy"
        )
    if error.errno in {EPERM, EACCES}:
        return _explain_denial(error)
    if error.errno == ENOENT and error.path.startswith("/proc/self/"):
        return "mount proc on /proc"
    return _SHORTAGES.get(error.errno, "")


def _explain_denial(error: SetupError) -> str:
    if error.path.startswith("/proc/") and "user mapping" in error.step:
        return explain_apparmor() or _explain_mapping()
    if error.step in {"mount proc", "mount sysfs", MASKS_STEP}:
        return explain_apparmor() or (
            f"the host's {error.path} is partly covered, as in a container; start the outer "
            "one with --security-opt systempaths=unconfined"
        )
    if error.step == PIVOT_STEP and filters_system_calls():
        return _FILTERED  # docker's does even with --cap-add SYS_ADMIN, which allows the mounts
    return explain_apparmor()


def explain_apparmor() -> str:
    """Return how to turn AppArmor's restriction of user namespaces, if it is on."""
    if os.geteuid() != 0 and read_switch(_APPARMOR_SWITCH) == "1":
        python = os.path.realpath(sys.executable)
        return (
            "AppArmor lets ordinary users make user namespaces without rights in them; allow it "
            f"with a profile for {python} that has 'userns,', "
            "or with sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        )
    return ""


def read_switch(path: str) -> str:
    """Return what a file of /proc/sys has, nothing if there is no such switch."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def filters_system_calls() -> bool:
    """Whether a seccomp filter is in force, as in an ordinary container of docker's."""
    try:
        with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
            return any(line.split() == ["Seccomp:", "2"] for line in file)
    except OSError:
        return False


def _explain_clone(errno: int) -> str:
    if errno in {ENOSPC, EUSERS}:
        if read_switch(_MAX_SWITCH) == "0":
            return "user namespaces are switched off; turn on with sysctl user.max_user_namespaces"
        return "a limit of sysctl user.max_*_namespaces is reached, or 32 are nested"
    if errno in {EPERM, ENOSYS, EACCES}:
        return _explain_forbidden_clone()
    return ""


def _explain_forbidden_clone() -> str:
    if os.geteuid() != 0 and read_switch(_DEBIAN_SWITCH) == "0":
        return "turn on with sysctl kernel.unprivileged_userns_clone=1"
    if filters_system_calls():
        return _FILTERED
    return explain_apparmor() or (
        "the kernel refuses it in a chroot, and to who has no ID in their own user namespace"
    )


def _explain_mapping() -> str:
    return "the caller lacks CAP_SETUID or CAP_SETGID over these IDs"
