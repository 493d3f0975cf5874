"""Which user and group IDs a container sees, and who they are outside.

The kernel takes the answer as text in /proc/PID/uid_map and /proc/PID/gid_map, one line a range
(user_namespaces(7)). This module decides the ranges, builds that text and writes it; it runs in
the parent, because a process may not map more than its own ID from inside its new namespace.

Three callers, three answers. Root gets an unprivileged range, so that root in the container is
nobody on the host. An ordinary user becomes root inside; where /etc/subuid and /etc/subgid grant
more IDs and newuidmap(1) is there to check that, those follow as 1, 2, 3 and so on. Root of a user
namespace that is itself only a part of the host's IDs (a container) hands on all that it has: it is
nobody on the host already.
"""

import os
from _collections_abc import Iterable, Sequence

from .errors import SetupError
from .syscalls import PR_GET_NO_NEW_PRIVS, prctl

_MAX_RANGES = 340  # user_namespaces(7), since Linux 4.15
_MAX_MAP = 4095  # bytes; a map is written at once, and less than a page of the smallest size
_MAX_DIGITS = 10  # of 2**32
_ALL_IDS = 2**32 - 1  # 2**32 - 1 itself means "no ID" to the kernel
_RANGE_SIZE = 65536
_ROOT_RANGE_BASE = 0x8_0000  # the first ID of those that systemd sets aside for containers
_ROOT_RANGE_LIMIT = 0x6FFF_0000  # the last, see systemd's "Users, Groups, UIDs and GIDs"
_FIRST_SUBORDINATE_ID = 100_000  # SUB_UID_MIN of login.defs(5)
_HELPERS = ("newuidmap", "newgidmap")
NO_HELP = (
    "no_new_privs is in force here (NoNewPrivileges= of a unit, allowPrivilegeEscalation: false), "
    "so that newuidmap gains nothing"
)
_HELPER_PATH = "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin"


class IdRange:
    """A run of IDs: `count` of them, from `inside` in the container and `outside` on the host."""

    __slots__ = ("count", "inside", "outside")

    def __init__(self, inside: int, outside: int, count: int) -> None:
        self.inside, self.outside, self.count = inside, outside, count

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IdRange):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"IdRange({self.inside}, {self.outside}, {self.count})"

    def _key(self) -> tuple[int, int, int]:
        return self.inside, self.outside, self.count


class UserMapping:
    """Who is who, and how it is written.

    Attributes:
        uids: Ranges of user IDs.
        gids: Ranges of group IDs.
        helpers: Paths of newuidmap and newgidmap where they have to write, else empty.
        deny_setgroups: Whether the kernel wants setgroups(2) forbidden first.
    """

    __slots__ = ("_texts", "deny_setgroups", "gids", "helpers", "uids")

    def __init__(
        self,
        uids: Sequence[IdRange],
        gids: Sequence[IdRange],
        *,
        helpers: tuple[str, ...] = (),
        deny_setgroups: bool = False,
    ) -> None:
        self.uids, self.gids = tuple(uids), tuple(gids)
        self.helpers, self.deny_setgroups = helpers, deny_setgroups
        self._texts: tuple[tuple[str, str], ...] = ()

    def maps_uid(self, uid: int) -> bool:
        """Whether a user ID exists inside."""
        return any(r.inside <= uid < r.inside + r.count for r in self.uids)

    def maps_gid(self, gid: int) -> bool:
        """Whether a group ID exists inside."""
        return any(r.inside <= gid < r.inside + r.count for r in self.gids)

    @property
    def texts(self) -> tuple[tuple[str, str], ...]:
        """The names of the map files, and what belongs into them; rendered once."""
        if not self._texts:
            uids, gids = render_id_map(self.uids), render_id_map(self.gids)
            self._texts = (("uid_map", uids), ("gid_map", gids))
        return self._texts

    @property
    def root_uid(self) -> int:
        """The ID outside of the container's root."""
        return self.uids[0].outside

    @property
    def root_gid(self) -> int:
        """The ID outside of the group of the container's root."""
        return self.gids[0].outside

    @property
    def is_single(self) -> bool:
        """Whether root is the only user inside."""
        return sum(r.count for r in self.uids) == 1


_planned: dict[tuple[object, ...], UserMapping] = {}  # as long as the files are as they were


def plan_user_mapping() -> UserMapping:
    """Return the mapping for a container of the calling process.

    Source: user_namespaces(7), subuid(5), newuidmap(1).
    """
    uid, gid = os.geteuid(), os.getegid()
    namespace, *_ = _stamp("/proc/self/ns/user")  # has the time of whoever looked at it last
    files = map(_stamp, ("/etc/subuid", "/etc/subgid"))
    key = uid, gid, prctl(PR_GET_NO_NEW_PRIVS), namespace, *files, find_helpers()
    if key not in _planned:
        _planned.clear()
        _planned[key] = _plan(uid, gid)
    return _planned[key]


def _plan(uid: int, gid: int) -> UserMapping:
    if uid == 0:
        own_uids, own_gids = _read_id_map("uid_map"), _read_id_map("gid_map")
        if _is_whole(own_uids) and _is_whole(own_gids):
            return UserMapping(_pick_root_range("/etc/subuid"), _pick_root_range("/etc/subgid"))
        return UserMapping(_hand_on(own_uids), _hand_on(own_gids), deny_setgroups=False)
    single = UserMapping([IdRange(0, uid, 1)], [IdRange(0, gid, 1)], deny_setgroups=True)
    helpers = find_helpers()
    if not helpers or prctl(PR_GET_NO_NEW_PRIVS):
        return single
    uids = _keep_mapped(_granted_after_self("/etc/subuid", uid), _read_id_map("uid_map"))
    gids = _keep_mapped(_granted_after_self("/etc/subgid", gid), _read_id_map("gid_map"))
    if len(uids) == 1 or len(gids) == 1:
        return single
    return UserMapping(uids, gids, helpers=helpers)


def find_ungranted_ids() -> int:
    """Return the first ID from which on nobody was granted any, as useradd(8) counts."""
    entries = _read_subid_file("/etc/subuid") + _read_subid_file("/etc/subgid")
    return max([_FIRST_SUBORDINATE_ID, *(first + count for _, first, count in entries)])


def find_helpers() -> tuple[str, ...]:
    """Return the paths of newuidmap and newgidmap, or nothing if one of them is missing."""
    found = []
    for name in _HELPERS:
        for directory in _HELPER_PATH.split(":"):
            path = f"{directory}/{name}"
            if os.access(path, os.X_OK):
                found.append(path)
                break
    return tuple(found) if len(found) == len(_HELPERS) else ()


def read_subordinate_ids(path: str, names: Iterable[str]) -> list[tuple[int, int]]:
    """Return the (first, count) pairs that /etc/subuid or /etc/subgid grants to any of `names`.

    Lines that cannot be understood are passed over, as newuidmap(1) does.
    """
    wanted = set(names)
    return [(first, count) for name, first, count in _read_subid_file(path) if name in wanted]


def render_id_map(ranges: Iterable[IdRange]) -> str:
    """Return the text the kernel wants in an ID map file.

    Args:
        ranges: At most 340 of them, none overlapping another on either side.

    Returns:
        One "inside outside length" line a range, in the given order.

    Raises:
        ValueError: Two ranges overlap, or there are more than 340, or than a page of text.

    Source: user_namespaces(7), "Defining user and group ID mappings".
    """
    ranges = tuple(ranges)
    if len(ranges) > _MAX_RANGES:
        raise ValueError(f"an ID map has at most {_MAX_RANGES} ranges, not {len(ranges)}")
    for side in ("inside", "outside"):
        end = 0
        for first, count in sorted((getattr(r, side), r.count) for r in ranges):
            if count < 1 or first < end or first + count > _ALL_IDS:
                raise ValueError(f"ID ranges overlap or leave the 32 bits: {ranges}")
            end = first + count
    text = "".join(f"{r.inside} {r.outside} {r.count}\n" for r in ranges)
    if len(text) > _MAX_MAP:
        raise ValueError(f"an ID map has at most {_MAX_MAP} bytes, not {len(text)}")
    return text


def write_user_mapping(pid: int, mapping: UserMapping) -> None:
    """Give the new user namespace of process `pid` its IDs.

    Raises:
        SetupError: The kernel, or newuidmap(1), refused.
    """
    if mapping.helpers:
        for helper, ranges in zip(mapping.helpers, (mapping.uids, mapping.gids), strict=True):
            _run_helper(helper, pid, ranges)
        return
    if mapping.deny_setgroups:
        _write_proc(pid, "setgroups", "deny")
    for name, text in mapping.texts:
        _write_proc(pid, name, text)


def _write_proc(pid: int, name: str, text: str) -> None:
    path = f"/proc/{pid}/{name}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise SetupError("write the user mapping to ", error.errno or 0, path) from error


def _run_helper(helper: str, pid: int, ranges: Iterable[IdRange]) -> None:
    numbers = [str(n) for r in ranges for n in (r.inside, r.outside, r.count)]
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    try:
        child = os.posix_spawn(
            helper,
            [helper, str(pid), *numbers],
            {},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, write_end, 2),
                (os.POSIX_SPAWN_DUP2, write_end, 1),
            ],
            setsigmask=(),
        )
        os.close(write_end)
        write_end = -1
        said = os.read(read_end, 4096).decode(errors="replace").strip()
        status = _wait_for_helper(child, said)
    finally:
        os.close(read_end)
        if write_end >= 0:
            os.close(write_end)
    if status:
        raise SetupError(
            f"map {' '.join(numbers)} with {helper}", hint=said or f"it ended with status {status}"
        )


def _wait_for_helper(child: int, said: str) -> int:
    """Return the exit status; a caller that ignores SIGCHLD never learns it, but reads errors."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except ChildProcessError:
        return 1 if said else 0


def _stamp(path: str) -> tuple[int, int, int]:
    """Return what differs once somebody has changed a file."""
    try:
        stat = os.stat(path)
    except OSError:
        return 0, 0, 0
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _granted_after_self(path: str, own: int) -> list[IdRange]:
    names = {str(os.geteuid()), _user_name()}
    ranges = [IdRange(0, own, 1)]
    for first, count in read_subordinate_ids(path, names):
        more = [*ranges, IdRange(ranges[-1].inside + ranges[-1].count, first, count)]
        try:
            render_id_map(more)
        except ValueError:
            continue  # with this one, the kernel would refuse all of them
        ranges = more
    return ranges


def _keep_mapped(ranges: list[IdRange], own: list[IdRange]) -> list[IdRange]:
    """Return the ranges that the caller's own user namespace has; it may itself be a part."""
    return [
        r
        for r in ranges
        if any(o.inside <= r.outside and r.outside + r.count <= o.inside + o.count for o in own)
    ]


def _user_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return ""


def _read_subid_file(path: str) -> list[tuple[str, int, int]]:
    entries = []
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                name, _, numbers = line.strip().partition(":")
                first, _, count = numbers.partition(":")
                if _is_id(first) and _is_id(count) and int(count) > 0:
                    entries.append((name, int(first), int(count)))
    except OSError:
        return []
    return entries


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS


def _pick_root_range(path: str) -> list[IdRange]:
    """Choose IDs that nobody was granted, so that no user of the host owns the container."""
    granted = _read_subid_file(path)
    for name, first, count in granted:
        if name in {"root", "0"} and count >= _RANGE_SIZE:
            return [IdRange(0, first, _RANGE_SIZE)]
    for base in range(_ROOT_RANGE_BASE, _ROOT_RANGE_LIMIT, _RANGE_SIZE):
        if all(first >= base + _RANGE_SIZE or first + count <= base for _, first, count in granted):
            return [IdRange(0, base, _RANGE_SIZE)]
    raise SetupError("find unused IDs for the container in ", 0, path, "grant root a range there")


def _read_id_map(name: str) -> list[IdRange]:
    try:
        with open(f"/proc/self/{name}", "rb") as file:
            return [IdRange(*map(int, line.split())) for line in file]
    except OSError as error:
        raise SetupError(
            "read the user mapping from ", error.errno or 0, f"/proc/self/{name}"
        ) from error


def _is_whole(ranges: list[IdRange]) -> bool:
    return len(ranges) == 1 and ranges[0].count == _ALL_IDS


def _hand_on(ranges: list[IdRange]) -> list[IdRange]:
    return [IdRange(r.inside, r.inside, r.count) for r in sorted(ranges, key=lambda r: r.inside)]
