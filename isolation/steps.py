"""A step between clone and exec, and what the steps of one container share.

A step is data: a verb phrase, a path and a function with its arguments. It can say what it would
do without doing it.
"""

import os
from collections.abc import Callable, Sequence

from .mounts import TreeSource, attach, mount_new, open_source
from .user_mapping import UserMapping


class Setup:
    """What the steps of one container hand on to one another, in the child.

    Attributes:
        mapping: The IDs of the user namespace; None if it is the caller's.
        root_fd: The new root; -1 until a step has mounted it.
        base_fd: The file system that holds overlay layers; -1 where none is needed.
        master_fd: The master side of the container's terminal; -1 if it has none.
        slave_fd: The side that the command gets; -1 if it has none.
    """

    __slots__ = (
        "_received",
        "_sources",
        "base_fd",
        "mapping",
        "master_fd",
        "root_fd",
        "slave_fd",
    )

    def __init__(
        self,
        mapping: UserMapping | None,
        sources: Sequence[TreeSource],
        received: Sequence[int],
    ) -> None:
        self.mapping = mapping
        self._sources, self._received = sources, received
        self.root_fd = self.base_fd = self.master_fd = self.slave_fd = -1

    def open_tree(self, index: int) -> int:
        """Return the detached tree of source number `index`, from the parent where it sent one."""
        if self._received:
            return self._received[index]
        return open_source(self._sources[index])

    def attach(self, source: int | TreeSource, path: str) -> None:
        """Attach a source, or the one of that number, at a path below the new root."""
        tree = self.open_tree(source) if isinstance(source, int) else open_source(source)
        attach(tree, self.root_fd, path)
        os.close(tree)

    def mount_new(self, path: str, fstype: str, flags: int = 0, data: str = "") -> None:
        """Mount a fresh file system at a path below the new root."""
        mount_new(self.root_fd, path, fstype, flags, data)


class Step:
    """One thing to do in the new namespaces.

    Attributes:
        action: A verb phrase, such as "mount proc".
        path: Where, as the container sees it; empty if the step has no path.
    """

    __slots__ = ("_arguments", "_function", "action", "path")

    def __init__(
        self, action: str, path: str, function: Callable[..., None], *arguments: object
    ) -> None:
        self.action, self.path = action, path
        self._function, self._arguments = function, arguments

    def perform(self, setup: Setup) -> None:
        """Do it; an OSError is the step's failure."""
        self._function(setup, *self._arguments)

    def __str__(self) -> str:
        return f"{self.action} on {self.path}" if self.path else self.action
