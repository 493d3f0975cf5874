"""Whether a command can be executed in a container: the file, its interpreter, its loader.

The libraries that a loader will look for are not: that is known to the loader alone.

Source: execve(2), "Interpreter scripts"; execvp(3) for the search; elf(5), PT_INTERP.
"""

import os
import struct
from stat import S_ISDIR, S_ISREG

from mocker.isolation.own_program import SHELL
from mocker.isolation.plan import choose_workdir
from mocker.isolation.spec import DEFAULT_PATH

from .config import ContainerConfig
from .container_view import ContainerView, Found, NotThereError
from .mistakes import MistakeError

_PT_INTERP = 3
_HEAD = 256  # bytes of a script in which the kernel looks for the interpreter, BINPRM_BUF_SIZE
_MAX_NESTING = 5  # scripts that are interpreters of scripts; one more is ELOOP
_MAX_HEADERS = 4096  # bytes of program headers; a program has about a dozen of 56
_MAX_PATH = 4096  # bytes, PATH_MAX


def check_command(view: ContainerView, container: ContainerConfig, command: str) -> None:
    """Raise MistakeError if a command, the first word of an argv, could not be executed."""
    _Search(view, container).check(command)


class _Search:
    """Where a container looks for commands."""

    def __init__(self, view: ContainerView, container: ContainerConfig) -> None:
        self._view = view
        self._directory = choose_workdir(container.rootfs, container.workdir)
        self._search_path = container.env.get("PATH", DEFAULT_PATH)

    def check(self, command: str, nesting: int = 0) -> None:
        if "/" in command:
            try:
                found = self._view.find(command, self._directory)
            except NotThereError as error:
                raise MistakeError(f"cannot execute {command!r}: {error}") from None
            self._check_file(found, command, nesting)
            return
        refusal = MistakeError(
            f"cannot execute {command!r}: it is in no directory of the container's PATH, "
            f"{self._search_path}"
        )
        for place in self._search_path.split(":"):
            try:
                found = self._view.find(f"{place or '.'}/{command}", self._directory)
                self._check_file(found, command, nesting)
            except NotThereError:
                continue
            except MistakeError as error:
                refusal = error  # what is there and can't be executed says more
            else:
                return
        raise refusal

    def _check_file(self, found: Found, command: str, nesting: int) -> None:
        """Raise MistakeError if the kernel would not execute a file."""
        if not found.mode:
            return  # the kernel's own, such as /proc/self/exe
        reason = ""
        if not S_ISREG(found.mode):
            reason = (
                f"{found.path} is {'a directory' if S_ISDIR(found.mode) else 'no regular file'}"
            )
        elif not found.mode & 0o111:
            reason = f"{found.path} is not executable"
        elif nesting > _MAX_NESTING:
            reason = "its interpreters are scripts in turn"
        if reason:
            raise MistakeError(f"cannot execute {command!r}: {reason}")
        for needed, what in _list_needed(found):
            try:
                self.check(needed, nesting + 1)
            except MistakeError as error:
                text = str(error).removeprefix(f"cannot execute {needed!r}: ")
                raise MistakeError(
                    f"cannot execute {command!r}: {found.path} needs {what} {needed!r}: {text}"
                ) from None


def _list_needed(found: Found) -> list[tuple[str, str]]:
    """Return the programs that a file needs to be executed, and what each is to it."""
    if found.host is None:
        return []
    try:
        fd = os.open(found.host, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return []  # who may execute it need not be able to read it
    try:
        head = os.read(fd, _HEAD)
        if head.startswith(b"\x7fELF"):
            loader = _read_loader(fd, head)
            return [(loader, "the loader")] if loader else []
    finally:
        os.close(fd)
    if not head.startswith(b"#!"):
        return [(SHELL, "a shell")]
    words = [os.fsdecode(word) for word in head[2:].split(b"\n")[0].split()]
    if words and "/" not in words[0]:
        words[0] = f"./{words[0]}"  # the kernel knows no PATH
    if len(words) == 2 and words[0].endswith("/env") and words[1][0] != "-" and "=" not in words[1]:
        return [(word, "the interpreter") for word in words]
    return [(words[0] if words else SHELL, "the interpreter")]


def _read_loader(fd: int, head: bytes) -> str:
    """Return what PT_INTERP says; "" for a static program, and for what is no whole ELF file."""
    try:
        order = "<" if head[5] == 1 else ">"
        # Two ways to write one header, 64 and 32 bits wide: e_phoff, e_phentsize, e_phnum.
        if wide := head[4] == 2:
            (start,) = struct.unpack_from(f"{order}Q", head, 32)
            size, count = struct.unpack_from(f"{order}HH", head, 54)
        else:
            (start,) = struct.unpack_from(f"{order}I", head, 28)
            size, count = struct.unpack_from(f"{order}HH", head, 42)
        table = os.pread(fd, min(size * count, _MAX_HEADERS), start)
        for header in range(0, len(table), max(size, 1)):
            (kind,) = struct.unpack_from(f"{order}I", table, header)
            if kind == _PT_INTERP:
                # p_offset and p_filesz
                form, at = (f"{order}Q", (8, 32)) if wide else (f"{order}I", (4, 16))
                offset, length = (struct.unpack_from(form, table, header + n)[0] for n in at)
                return os.fsdecode(os.pread(fd, min(length, _MAX_PATH), offset).rstrip(b"\0"))
    except (struct.error, IndexError, OSError, OverflowError):
        pass
    return ""
