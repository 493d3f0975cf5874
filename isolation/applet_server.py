"""The process that has the tree with busybox and its applets, and hands out clones of it.

A mount can be cloned only in the mount namespace that it belongs to, by who has the right to mount
there. An ordinary user has it in a user namespace alone. So the tree is in namespaces of this
process's own, which hold nothing else, and which end with it.

For each message it sends one, by which whoever is at the other end can ask ahead, and without it
where there are too many descriptors on their way. When nobody is left there, it ends. It ends, too,
where something is refused; then each container gets links of its own, see `applets`.

Source: open_tree(2), user_namespaces(7), unix(7) SCM_RIGHTS.
"""

import _signal as signal
import _socket as socket
import os
from errno import ETOOMANYREFS

from .applets import ASK, copy_busybox, render_stamp
from .busybox import Busybox, find_busybox
from .errors import IsolationError
from .handshake import send_with_fds
from .layers import stack_tmpfs, try_overlay
from .namespaces import pivot_to_root
from .steps import ROOT
from .syscalls import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MS_REC,
    MS_SLAVE,
    OPEN_TREE_CLONE,
    PR_SET_PDEATHSIG,
    close_all_but,
    mount,
    open_tree,
    prctl,
    set_process_name,
    unshare,
)
from .tape import perform
from .trials import try_in_namespaces
from .user_mapping import IdRange, UserMapping, plan_user_mapping, write_user_mapping

_TITLE = "mocker-applets"
_DEFECT = 125
_TREE = "tree"


def run_applet_server(peer: socket.socket) -> None:
    """Hand out trees until nobody takes any; does not return."""
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        set_process_name(_TITLE)
        close_all_but(peer.fileno(), first=3)
        busybox, mapping = find_busybox(), plan_user_mapping()
        stamp = render_stamp(busybox, mapping)
        is_root = _enter_namespaces()
        try_in_namespaces(CLONE_NEWUSER | CLONE_NEWNS, try_overlay, "mount overlay")
        _make_tree(busybox, mapping, is_root=is_root)
        while peer.recv(len(ASK)):
            _answer(peer, stamp)
        os._exit(0)
    except (IsolationError, OSError):
        os._exit(0)
    finally:
        os._exit(_DEFECT)


def _answer(peer: socket.socket, stamp: bytes) -> None:
    tree = open_tree(_TREE, OPEN_TREE_CLONE)
    try:
        send_with_fds(peer, stamp, [tree])
    except OSError as error:
        if error.errno != ETOOMANYREFS:
            raise
        peer.send(stamp, socket.MSG_NOSIGNAL)
    os.close(tree)


def _enter_namespaces() -> bool:
    """Have a mount namespace in which this process may mount; return whether it is root's."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        unshare(CLONE_NEWNS)
        mount("none", "/", "", MS_REC | MS_SLAVE)
    else:
        unshare(CLONE_NEWUSER | CLONE_NEWNS)
        own = UserMapping([IdRange(0, uid, 1)], [IdRange(0, gid, 1)], deny_setgroups=True)
        write_user_mapping(os.getpid(), own)
    return uid == 0


def _make_tree(busybox: Busybox, mapping: UserMapping, *, is_root: bool) -> None:
    """Make it in a file system in memory that becomes the root, and go there.

    Raises:
        OSError: The kernel refused something that containers would need, too.
    """
    os.umask(0)
    perform(stack_tmpfs(ROOT))
    os.fchdir(ROOT.value)
    os.mkdir(_TREE, 0o755)
    copy_busybox(busybox.path, ROOT.value, _TREE)
    first, *others = (f"{_TREE}/{name}" for name in busybox.applets)
    os.symlink("busybox", first)
    for name in others:
        os.link(first, name, follow_symlinks=False)
    if is_root:  # who is root of its own user namespace alone owns what containers' root does
        for name in (_TREE, f"{_TREE}/busybox", first):
            os.lchown(name, mapping.root_uid, mapping.root_gid)
    perform(pivot_to_root(layers=False))
