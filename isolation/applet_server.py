"""The process that has the tree with busybox and its applets, and hands out clones of it.

A mount can be cloned only in the mount namespace that it belongs to, by who has the right to mount
there. An ordinary user has it in a user namespace alone. So the tree is in namespaces of this
process's own, which hold nothing else, and which end with it.

Nobody asks it for a clone: it makes them in advance, as many as the socket takes, and whoever needs
one takes it at the other end. When nobody is left there, it ends. It ends, too, where something is
refused; then each container gets links of its own, see `applets`.

Source: open_tree(2), user_namespaces(7), unix(7) SCM_RIGHTS.
"""

import _signal as signal
import _socket as socket
import os

from .applets import copy_busybox, overlay, render_stamp
from .busybox import Busybox, find_busybox
from .calls import umount2
from .handshake import send_with_fds
from .layers import stack_tmpfs
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
from .user_mapping import IdRange, UserMapping, plan_user_mapping, write_user_mapping

_TITLE = "mocker-applets"
_TREE, _OTHERS = "tree", ("merged", "upper", "work")
_IN_ADVANCE = 2**12  # bytes of the socket, the least that it takes: some six trees


def run_applet_server(peer: socket.socket) -> None:
    """Hand out trees until nobody takes any; does not return."""
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        set_process_name(_TITLE)
        close_all_but(peer.fileno(), first=3)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _IN_ADVANCE)
        busybox, mapping = find_busybox(), plan_user_mapping()
        stamp = render_stamp(busybox, mapping)
        _enter_namespaces()
        _make_tree(busybox, mapping)
        while True:
            tree = open_tree(_TREE, OPEN_TREE_CLONE)
            send_with_fds(peer, stamp, [tree])
            os.close(tree)
    finally:
        os._exit(0)


def _enter_namespaces() -> None:
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        unshare(CLONE_NEWNS)
        mount("none", "/", "", MS_REC | MS_SLAVE)
    else:
        unshare(CLONE_NEWUSER | CLONE_NEWNS)
        own = UserMapping([IdRange(0, uid, 1)], [IdRange(0, gid, 1)], deny_setgroups=True)
        write_user_mapping(os.getpid(), own)


def _make_tree(busybox: Busybox, mapping: UserMapping) -> None:
    """Make it in a file system in memory that becomes the root, and go there.

    Raises:
        OSError: The kernel refused something that containers would need, too.
    """
    os.umask(0)
    perform(stack_tmpfs(ROOT))
    os.fchdir(ROOT.value)
    for name in (_TREE, *_OTHERS):
        os.mkdir(name, 0o755)
    copy_busybox(busybox.path, ROOT.value, _TREE)
    first, *others = (f"{_TREE}/{name}" for name in busybox.applets)
    os.symlink("busybox", first)
    for name in others:
        os.link(first, name, follow_symlinks=False)
    if os.geteuid() == 0:
        for name in (_TREE, f"{_TREE}/busybox", first):
            os.lchown(name, mapping.root_uid, mapping.root_gid)
    perform([overlay("merged", lower=_TREE, upper="upper", work="work"), umount2("merged", 0)])
    perform(pivot_to_root(layers=False))
