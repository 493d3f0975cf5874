"""What a process that is not isolated may still change: landlock(7), a second wall around it.

It sees the host's files, and reads and executes what its user may; but it writes only below the
paths that were named, and to the harmless devices. It reaches nobody outside by a signal or an
abstract socket. Landlock knows nothing of modes, owners and times of files, of sockets that have a
path, and of system calls that need no file at all: for who is root it is a fence and no wall.

The init puts itself under the rules, once, before anything else. So its command and what is
executed beside that are in one domain, and may signal one another. All of it are calls on a tape,
so that this module is needed by who plans a container, and by nobody else.

Rather all than a part: where the kernel lacks some of it, there is no such container.

Source: landlock(7), landlock_add_rule(2), the kernel's Documentation/userspace-api/landlock.rst.
"""

import os
from _collections_abc import Sequence
from errno import ENOSYS, EOPNOTSUPP, EPERM
from stat import S_ISDIR
from struct import pack

from .calls import close, open_file, prepare, store_int
from .errors import SetupError
from .hints import filters_system_calls
from .library import get_errno, get_function
from .memory import Buffer, Cell
from .process_calls import prctl
from .spec import ContainerSpec
from .steps import Step
from .syscalls import PR_SET_NO_NEW_PRIVS
from .tape import Call

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1  # a flag: tell which there is
_PATH_BENEATH = 1

# What a rule may allow to be done with a file.
_WRITE_FILE = 1 << 1
_TRUNCATE = 1 << 14
_IOCTL_DEVICE = 1 << 15
# And in a directory: to remove directories and files, to make them, sockets, FIFOs and links, and
# to move a file from another directory.
_CHANGE_DIRECTORY = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 12 | 1 << 13
_MAKE_DEVICE = 1 << 6 | 1 << 11  # allowed nowhere: root would write to the disk itself
_FILE = _WRITE_FILE | _TRUNCATE | _IOCTL_DEVICE
_DIRECTORY = _FILE | _CHANGE_DIRECTORY
_HANDLED = _DIRECTORY | _MAKE_DEVICE
_SCOPED = 1 | 2  # abstract sockets, and signals
_PARENT_FD = 8  # where struct landlock_path_beneath_attr has the descriptor

_OLDEST = 6  # of Linux 6.12: the first that has all of these
_USUAL = ("/tmp", "/var/tmp", "/dev/shm")
# Where nothing is kept. Both ways to a new terminal are for `exec` on one, too.
_HARMLESS = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts")


def find_landlock() -> int:
    """Return the version of landlock that the kernel has.

    Raises:
        SetupError: It has none, or one that knows too little.
    """
    found = get_function("syscall")(_CREATE_RULESET, 0, 0, _VERSION, 0, 0)
    return check_version(found, get_errno())


def check_version(found: int, errno: int = 0) -> int:
    """Return the version, or raise SetupError where there is none (-1) or too old a one."""
    step = "put up a wall by landlock"
    if found < 0:
        raise SetupError(step, errno, hint=_explain(errno))
    if found < _OLDEST:
        hint = f"the kernel's knows too little (version {found} of it); it takes Linux 6.12"
        raise SetupError(step, hint=hint)
    return found


def plan_landlock(spec: ContainerSpec) -> Step:
    """Return the step that puts the init under landlock.

    Raises:
        SetupError: The kernel lacks it, or what is to be written to is not there.
    """
    find_landlock()
    paths = list_writable(spec)
    action = f"forbid by landlock to write but below {', '.join(paths)}"
    devices = filter(os.path.exists, (f"/dev/{name}" for name in _HARMLESS))
    return Step(action, "", calls=_restrict([*paths, *devices]))


def list_writable(spec: ContainerSpec) -> list[str]:
    """Return the paths below which a process may write, devices apart; all of them are there.

    Raises:
        SetupError: One that was named is not, or a link is in the way.
    """
    named, usual = list(spec.writable or ()), list[str]()
    if spec.writable is None:
        # Above these nobody but root can put a link.
        usual = [os.path.realpath(path) for path in _USUAL if os.path.exists(path)]
        if spec.workdir is not None and os.path.exists(spec.workdir):
            named = [spec.workdir]
    for path in named:
        try:
            os.stat(path)
        except OSError as error:
            hint = "make it first, or leave it out"
            raise SetupError("let it write to ", error.errno or 0, path, hint) from error
        if os.path.realpath(path) != os.path.normpath(path):
            hint = "a link is in the way, which the job itself may have made; name where it leads"
            raise SetupError("let it write to ", 0, path, hint)
    return [*named, *usual]


def _explain(errno: int) -> str:
    if errno in {ENOSYS, EPERM} and filters_system_calls():
        return "a seccomp filter forbids it"
    if errno == EOPNOTSUPP:
        return "it is switched off; name it in lsm= of the kernel's command line"
    return "the kernel is built without it"


def _restrict(paths: Sequence[str]) -> list[Call]:
    ruleset, parent = Cell(-1), Cell(-1)
    attributes = pack("3Q", _HANDLED, 0, _SCOPED)
    made = [
        # The kernel's condition for who is not privileged.
        prctl(PR_SET_NO_NEW_PRIVS, 1),
        prepare("syscall", _CREATE_RULESET, attributes, len(attributes), 0, to=ruleset),
    ]
    for path in paths:
        access = _DIRECTORY if S_ISDIR(os.stat(path).st_mode) else _FILE
        rule = Buffer(12, pack("=Qi", access, -1))
        made += [
            open_file(path, os.O_PATH, to=parent),
            store_int(rule, _PARENT_FD, parent),
            prepare("syscall", _ADD_RULE, ruleset, _PATH_BENEATH, rule, 0),
            close(parent),
        ]
    return [*made, prepare("syscall", _RESTRICT_SELF, ruleset, 0), close(ruleset)]
