"""A step between clone and exec, and what the steps of one container share.

A step is data: a verb phrase, a path and calls, of which one may be a function of Python's, where
something has to be decided. It can say what it would do without doing it.
"""

import _socket as socket
import os
from _collections_abc import Callable, Hashable, Sequence

from .calls import new_mount, then
from .errors import render_step
from .memory import Cell
from .mounts import TreeSource, attach, attach_in_view, open_source
from .syscalls import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID
from .tape import Call, Segment, keep_own, perform
from .user_mapping import UserMapping

ROOT = Cell(shared=True)  # the new root, once a step has mounted it


class Setup:
    """What the steps of one container hand on to one another, in the child.

    Attributes:
        mapping: The IDs of the user namespace; None if it is the caller's.
        control: To the parent, see `handshake`.
        root_fd: The new root; -1 until a step has mounted it.
        trees: The sources as trees that are attached nowhere, where the parent sent them.
        master_fd: The master side of the container's terminal; -1 if it has none.
        slave_fd: The side that the command gets; -1 if it has none.
    """

    __slots__ = (
        "_sources",
        "control",
        "mapping",
        "master_fd",
        "slave_fd",
        "trees",
    )

    def __init__(
        self, mapping: UserMapping | None, sources: Sequence[TreeSource], control: socket.socket
    ) -> None:
        self.mapping, self._sources, self.control = mapping, sources, control
        self.trees = list[int]()
        self.master_fd = self.slave_fd = -1

    @property
    def root_fd(self) -> int:
        """The new root; -1 until a step has mounted it."""
        return ROOT.value

    @root_fd.setter
    def root_fd(self, fd: int) -> None:
        ROOT.value = fd

    def open_tree(self, index: int) -> int:
        """Return the detached tree of source number `index`, from the parent where it sent one."""
        if self.trees:
            return self.trees[index]
        return open_source(self._sources[index])

    def attach(self, index: int, path: str) -> None:
        """Attach source number `index` at a path below the new root."""
        tree = self.open_tree(index)
        attach(tree, self.root_fd, path)
        os.close(tree)

    def attach_volume(self, index: int, path: str) -> None:
        """Attach source number `index` below the new root, once that has /proc."""
        tree = self.open_tree(index)
        attach_in_view(tree, self.root_fd, path)
        os.close(tree)

    def attach_tmpfs(self, path: str, options: tuple[tuple[str, str], ...]) -> None:
        """Attach a fresh file system in memory below the new root, once that has /proc."""
        tree = Cell(-1)
        perform(new_mount("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, to=tree))
        attach_in_view(tree.value, self.root_fd, path)
        os.close(tree.value)

    def attach_as_is(self, source: str, path: str, attributes: int) -> None:
        """Attach what the init itself sees at a place, owners as they are."""
        tree = open_source(TreeSource(source, recursive=False, attributes=attributes))
        attach(tree, self.root_fd, path)
        os.close(tree)


class Step:
    """One thing to do in the new namespaces.

    Attributes:
        action: A verb phrase, such as "mount proc"; see `SetupError.step`.
        path: Where, as the container sees it; empty if the step has no path.
        calls: What is done; an OSError in one of them is the step's failure.
    """

    __slots__ = ("action", "calls", "path")

    def __init__(
        self,
        action: str,
        path: str,
        function: Callable[..., None] | None = None,
        *arguments: Hashable,
        calls: Segment = (),
    ) -> None:
        """Describe a step that is known in advance (`calls`), or one that decides (`function`).

        Args:
            action: A verb phrase.
            path: Where.
            function: Called with the Setup.
            arguments: And with these.
            calls: What is done, where no function decides: a plain tuple if others have the same.
        """
        self.action, self.path = action, path
        if function is not None:
            calls = keep_own(_decide, function, *arguments)
        self.calls: Segment = calls

    def __str__(self) -> str:
        return render_step(self.action, self.path)


def _decide(function: Callable[..., None], *arguments: Hashable) -> list[Call]:
    return [then(function, ..., *arguments)]
