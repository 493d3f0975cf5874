"""Who the command runs as, looked up in the container's own /etc/passwd and /etc/group.

The files belong to whoever made the root directory, so they are read with care: a FIFO there must
not block, a huge file must not fill the memory. They are read after pivot_root, where a symbolic
link can't lead out.

Source: passwd(5), group(5); docker run(1), --user.
"""

import os
from _collections_abc import Iterator
from errno import EPERM
from stat import S_ISREG

from .errors import SetupError
from .process_calls import setgroups, setresgid, setresuid
from .syscalls import PR_GET_NO_NEW_PRIVS, prctl
from .tape import Call
from .user_mapping import NO_HELP, UserMapping

_MAX_FILE = 4 * 2**20  # bytes; 40,000 users fit
_MAX_ID = 2**32 - 2  # 2**32 - 1 means "no ID" to the kernel
_MAX_DIGITS = 10
_ROOT = 0


class User:
    """What the kernel and the environment need to know of a user.

    Attributes:
        uid: In the container.
        gid: In the container.
        groups: Supplementary groups.
        home: Of the user's passwd entry, or "/".
    """

    __slots__ = ("gid", "groups", "home", "uid")

    def __init__(self, uid: int, gid: int, groups: tuple[int, ...], home: str) -> None:
        self.uid, self.gid, self.groups, self.home = uid, gid, groups, home


def look_up_user(user: str | None, home_uid: int) -> User:
    """Return the user that USER[:GROUP] names, in the root directory of the calling process.

    Args:
        user: Names or numbers; a number needs no entry in a file. None for root.
        home_uid: Whose home directory root has, where `user` is None.

    Raises:
        SetupError: A name that is not there, or a number that is none.
    """
    if user is None:
        entry = _find(_read_entries("/etc/passwd"), str(home_uid), 2)
        return User(_ROOT, _ROOT, (), _home(entry))
    name, _, group = user.partition(":")
    passwd = _read_entries("/etc/passwd")
    if name.isdecimal():
        uid = _parse_id(name)
        entry = _find(passwd, str(uid), 2)
    else:
        entry = _find(passwd, name, 0)
        if entry is None:
            raise SetupError(
                f"find user {name!r} in ", 0, "/etc/passwd", "the container has no such"
            )
        uid = _parse_id(entry[2])
    if group:
        return User(uid, _look_up_group(group), (), _home(entry))
    if entry is None:
        return User(uid, _ROOT, (), _home(entry))
    members = tuple(
        _parse_id(fields[2])
        for fields in _read_entries("/etc/group")
        if entry[0] in fields[3].split(",") and fields[2].isdecimal()
    )
    return User(uid, _parse_id(entry[3]), members, _home(entry))


def become(user: User, mapping: UserMapping | None) -> list[Call]:
    """Return the calls that change a process to a user, groups first: afterwards it could not.

    Raises:
        SetupError: The user namespace does not have these IDs.
    """
    # Where root is the only user, the kernel lets nobody set supplementary groups anyway.
    single = mapping is not None and mapping.is_single
    gids = (user.gid,) if single else (user.gid, *user.groups)
    # Of a caller without an ID, the kernel makes no namespace, and that is what is said then.
    if (mapping is not None and mapping.uids and mapping.gids) and not (
        mapping.maps_uid(user.uid) and all(map(mapping.maps_gid, gids))
    ):
        last = sum(r.count for r in mapping.uids) - 1
        hint = f"the container has no such ID, its last is {last}"
        if single:
            grant = (
                "grant the caller a range in /etc/subuid and /etc/subgid and install newuidmap "
                "(package uidmap)"
            )
            missing = NO_HELP if prctl(PR_GET_NO_NEW_PRIVS) else grant
            hint = f"the container has no such ID; {missing}"
        raise SetupError(f"become user {user.uid}:{','.join(map(str, gids))}", hint=hint)
    return [
        # Forbidden where root is the only user; see user_namespaces(7), setgroups.
        setgroups(user.groups, tolerated=(EPERM,) if single else ()),
        setresgid(user.gid),
        setresuid(user.uid),
    ]


def _look_up_group(group: str) -> int:
    if group.isdecimal():
        return _parse_id(group)
    entry = _find(_read_entries("/etc/group"), group, 0)
    if entry is None:
        raise SetupError(f"find group {group!r} in ", 0, "/etc/group", "the container has no such")
    return _parse_id(entry[2])


def _find(entries: Iterator[list[str]], value: str, field: int) -> list[str] | None:
    return next((entry for entry in entries if entry[field] == value), None)


def _home(entry: list[str] | None) -> str:
    return (entry[5] if entry is not None and len(entry) > 5 else "") or "/"


def _parse_id(text: str) -> int:
    digits = text.lstrip("0")
    if not text.isdecimal() or len(digits) > _MAX_DIGITS or int(text) > _MAX_ID:
        raise SetupError(f"use {text!r} as an ID", hint=f"IDs are numbers from 0 to {_MAX_ID}")
    return int(text)


def _read_entries(path: str) -> Iterator[list[str]]:
    """Yield the fields of each line that has enough of them; nothing if there is no such file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        stat = os.fstat(fd)
        if not S_ISREG(stat.st_mode):
            return
        text = os.read(fd, min(stat.st_size, _MAX_FILE))
    finally:
        os.close(fd)
    for line in text.decode("utf-8", "surrogateescape").split("\n"):
        fields = line.split(":")
        if len(fields) >= 4:
            yield fields
