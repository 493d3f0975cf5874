"""The applets of busybox in /bin: linked there, or from a tree that many containers share.

Some 270 links take an eighth of the time of a start. So for who makes container after container,
`applet_server` links them once, and each gets a clone of the mount with that tree as the lower
layer of an overlay, which takes 30 KiB less of the kernel's memory, too: what it writes to /bin is
its own, and no other's.

Source: mount_namespaces(7), the kernel's Documentation/filesystems/overlayfs.rst.
"""

import _socket as socket
import os
import select

from . import calls
from .busybox import Busybox
from .handshake import receive_with_fds
from .memory import Cell
from .steps import ROOT
from .syscalls import MNT_DETACH, MS_NODEV
from .tape import Call
from .user_mapping import UserMapping

APPLET_TREE = 7  # the number of its descriptor in an init that has one, see `cloner`
ASK = b"?"  # for one more
_PATIENCE_MS = 1000  # for the first tree; those after it are there
_MOST_STAMP = 2**13  # bytes; a path has half as many
_CHUNK = 2**24  # bytes a sendfile(2) call; busybox fits in one
# Below the mount point of /proc, where nobody sees them once that is mounted.
_LOWER, _UPPER, _WORK = "proc/lower", "proc/upper", "proc/work"


def copy_busybox(path: str, dir_fd: int, directory: str) -> None:
    """Copy the binary at a path to a directory below another one."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    target = os.open(f"{directory}/busybox", flags, 0o755, dir_fd=dir_fd)
    while os.sendfile(target, source, None, _CHUNK):
        pass
    os.close(target)
    os.close(source)


def link_applets(names: tuple[str, ...]) -> tuple[Call, ...]:
    """Return the calls that make links to busybox in /bin of the new root."""
    directory = Cell(-1)
    return (
        calls.openat(ROOT, "bin", os.O_PATH, to=directory),
        calls.fchdir(directory),  # for link(2) alone: who goes by paths after it begins elsewhere
        calls.symlinkat("busybox", directory, names[0]),
        # More names of the one link: a fifth less time, and a quarter of the kernel's memory.
        calls.link(names[0], names[1:]),
        calls.close(directory),
    )


def overlay_applets() -> tuple[Call, ...]:
    """Return the calls that make the shared tree the lower layer of /bin of the new root."""
    place, layers = Cell(-1), f"lowerdir={_LOWER},upperdir={_UPPER},workdir={_WORK},userxattr"
    return (
        *(calls.mkdirat(ROOT, path, 0o755) for path in (_LOWER, _UPPER, _WORK)),
        calls.openat(ROOT, _LOWER, os.O_PATH, to=place),
        calls.move_mount(APPLET_TREE, place),
        calls.close(place),
        calls.close(APPLET_TREE),
        calls.fchdir(ROOT),
        calls.mount("overlay", "bin", "overlay", MS_NODEV, layers),
        # The overlay has a clone of its own.
        calls.umount2(_LOWER, MNT_DETACH),
    )


def render_stamp(busybox: Busybox, mapping: UserMapping) -> bytes:
    """Return what tells one tree from another: the binary in it, and to whom it belongs."""
    return repr((*busybox.stamp, mapping.root_uid, mapping.root_gid)).encode()


class AppletTrees:
    """Where clones of the tree come from; nothing comes if there is no server, or none any more.

    One is asked for ahead. It is on its way then, and of such descriptors a user may have no more
    than RLIMIT_NOFILE.
    """

    __slots__ = ("_is_asked", "_patience_ms", "_socket", "_stamp", "_tree")

    def __init__(self, peer: socket.socket) -> None:
        """Ask at a socket to `applet_server`, at which others may ask, too."""
        self._socket: socket.socket | None = peer
        self._patience_ms = _PATIENCE_MS
        self._tree, self._stamp = -1, b""
        self._ask(peer)

    def fetch_for(self, busybox: Busybox, mapping: UserMapping) -> bool:
        """Fetch a tree, and return whether it is one for this busybox and these IDs.

        It stays here until somebody takes it.
        """
        if self._tree < 0 and self._socket is not None:
            self._fetch(self._socket)
        return self._tree >= 0 and self._stamp == render_stamp(busybox, mapping)

    def take(self) -> int:
        """Return the tree that was fetched; the caller closes it."""
        tree, self._tree = self._tree, -1
        return tree

    def _ask(self, peer: socket.socket) -> None:
        try:
            peer.send(ASK, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            self._is_asked = False  # who hangs has no room for it; who is gone says so to `_fetch`
        else:
            self._is_asked = True

    def _fetch(self, peer: socket.socket) -> None:
        if not self._is_asked:
            self._ask(peer)
        poll = select.poll()
        poll.register(peer, select.POLLIN)
        if not poll.poll(self._patience_ms):
            self._patience_ms = 0  # who hangs is not waited for again
            return
        try:
            stamp, fds = receive_with_fds(peer, _MOST_STAMP, 1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return  # another planner was faster, and there will be what that one has asked for
        if not stamp:
            peer.close()
            self._socket = None
            return
        self._ask(peer)
        if fds:  # else there was no room for a descriptor, just now
            self._stamp, (self._tree,) = stamp, fds
