"""What a container would find at a path, seen from the host, before there is a container.

A path is followed by hand, a component at a time, because a symbolic link means what it means in
the container: an absolute one begins at the container's root, and none leads out of it. What a
volume covers is looked for in the volume. Nothing is made or mounted, and nothing is executed.
"""

import os
from stat import S_IFDIR, S_IFLNK, S_IFREG, S_ISDIR, S_ISLNK

import attrs

from mocker.isolation.busybox import Busybox
from mocker.isolation.errors import render_reason
from mocker.isolation.etc_files import render_user_files
from mocker.isolation.host_root import FRESH_ON_HOST, KERNEL_DIRECTORIES
from mocker.isolation.rootfs import FRESH_DIRECTORIES, FRESH_LINKS

from .config import ContainerConfig
from .text_file import read_text_file

_MAX_LINKS = 40  # as many as the kernel follows, path_resolution(7)
_EMPTY = ""  # instead of a path of the host: a fresh file system in memory
_KERNEL = "kernel"  # … or one whose files are the kernel's; relative, so it is no path either


class NotThereError(ValueError):
    """A path leads to nothing in the container, or to nothing that can be looked at."""


@attrs.frozen(kw_only=True)
class Found:
    """A file or directory.

    Attributes:
        path: In the container, without links.
        mode: As in stat(2); 0 where the kernel decides what is there.
        host: Where the host has it; None if only the container will.
        target: Of a link.
    """

    path: str
    mode: int
    host: str | None = None
    target: str = ""


class ContainerView:
    """The files of a container that is yet to be made."""

    def __init__(self, container: ContainerConfig, busybox: Busybox | None) -> None:
        self._fresh = {} if busybox is None else _list_fresh_root(busybox)
        self._texts = {f"/etc/{name}": text for name, text in render_user_files().items()}
        self._mounts = {"/": "/" if container.rootfs == "host" else container.rootfs}
        if busybox is not None:
            self._mounts["/"] = _EMPTY
        if container.isolate:
            self._mounts |= {f"/{name}": _KERNEL for name in KERNEL_DIRECTORIES}
        if container.isolate and container.rootfs == "host":
            self._mounts |= dict.fromkeys(FRESH_ON_HOST, _EMPTY)
        mounts = [(destination, source) for source, destination, _ in container.volumes]
        mounts += [(destination, _EMPTY) for destination, _, _ in container.tmpfs]
        for destination, source in sorted(mounts, key=lambda mount: mount[0].count("/")):
            self._mounts[self._resolve_mount_point(destination)] = source

    def find(self, path: str, directory: str = "/") -> Found:
        """Return what is at a path, all links followed.

        Args:
            path: Of the container, absolute or not.
            directory: What a relative one is relative to.

        Raises:
            NotThereError: Nothing is, with a sentence about it.
        """
        current, rest = "/", _split(f"{directory}/{path}" if path[:1] != "/" else path)
        links, is_link = 0, False
        while rest:
            part = rest.pop(0)
            if part == "..":
                current = os.path.dirname(current)
                continue
            found = self._look(os.path.join(current, part))
            if found is None:
                what = "is a link to something that is not there" if is_link else "is not there"
                raise NotThereError(f"{path} {what}")
            if S_ISLNK(found.mode):
                links += 1
                is_link = is_link or not rest
                if links > _MAX_LINKS:
                    raise NotThereError(f"{path} leads through too many links")
                rest = _split(found.target) + rest
                current = "/" if found.target.startswith("/") else current
            elif rest and found.mode and not S_ISDIR(found.mode):
                raise NotThereError(f"{path} is not there; {found.path} is not a directory")
            else:
                current = found.path
        found = self._look(current)
        if found is None:  # gone since
            raise NotThereError(f"{path} is not there")
        return found

    def read(self, path: str) -> str:
        """Return what a text file says; nothing if there is none that can be read."""
        try:
            found = self.find(path)
            return self._texts[found.path] if found.host is None else read_text_file(found.host)
        except (KeyError, ValueError):
            return ""

    def _look(self, path: str) -> Found | None:
        """Return what is at a path whose parents are directories, without following a link."""
        point = path
        while point not in self._mounts:
            point = os.path.dirname(point)
        source = self._mounts[point]
        if source == _KERNEL:
            return Found(path=path, mode=0)
        if source == _EMPTY:
            found = self._fresh.get(path) if point == "/" else None
            is_directory = path == point
        else:
            found, is_directory = _look_at_host(path, point, source), False
        if found is None and (is_directory or self._has_mount_below(path)):
            return Found(path=path, mode=S_IFDIR | 0o755)
        return found

    def _has_mount_below(self, path: str) -> bool:
        return any(point.startswith(f"{path}/") for point in self._mounts)

    def _resolve_mount_point(self, destination: str) -> str:
        """Return where a mount ends up, links of the root followed as far as they are there."""
        head, tail = destination, ""
        while head != "/":
            try:
                return os.path.join(self.find(head).path, tail).rstrip("/")
            except NotThereError:
                head, name = os.path.split(head)
                tail = os.path.join(name, tail)
        return destination


def _look_at_host(path: str, point: str, source: str) -> Found | None:
    rest = os.path.relpath(path, point)
    host = source if path == point else os.path.join(source, rest)
    try:
        # A volume's source is a path of the host's; inside of it a link is the container's.
        mode = (os.stat if path == point else os.lstat)(host).st_mode
        target = os.readlink(host) if S_ISLNK(mode) else ""
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = render_reason(error.errno or 0) if isinstance(error, OSError) else f": {error}"
        raise NotThereError(f"{path} cannot be looked at{reason}") from None
    return Found(path=path, mode=mode, host=host, target=target)


def _list_fresh_root(busybox: Busybox) -> dict[str, Found]:
    """Return what the root named busybox has, by path."""
    names = [f"etc/{name}" for name in render_user_files()]
    links = FRESH_LINKS | {f"bin/{name}": "busybox" for name in busybox.applets}
    found = [
        *(Found(path=f"/{name}", mode=S_IFDIR | mode) for name, mode in FRESH_DIRECTORIES.items()),
        *(Found(path=f"/{name}", mode=S_IFREG | 0o644) for name in names),
        *(Found(path=f"/{name}", mode=S_IFLNK, target=target) for name, target in links.items()),
        Found(path="/bin/busybox", mode=S_IFREG | 0o755, host=busybox.path),
    ]
    return {file.path: file for file in found}


def _split(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]
