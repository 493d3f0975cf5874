"""What can go wrong with a container, and how it is said.

    IsolationError            exit code 125
    ├── SpecError             2     the description contradicts itself or cannot be meant
    ├── SetupError            125   the kernel, or the host, refused a step
    ├── CommandError          126   the container is ready, the command cannot be executed
    │                         127   … because it is not there
    └── ForkServerError       125   the fork server is gone

The exit code belongs to the class, so that every command line ends with the same one. The values
are those of docker run(1), which took them from chroot(1) and the shell.
"""

import os
from errno import errorcode

NOT_EXECUTABLE, NOT_FOUND = 126, 127  # exit codes


class IsolationError(Exception):
    """Anything that kept a container from being made, or from being watched."""

    exit_code = 125


class SpecError(IsolationError, ValueError):
    """A description that cannot be carried out on any host."""

    exit_code = 2


class SetupError(IsolationError):
    """A step between clone and exec that the kernel or the host refused.

    Attributes:
        step: A verb phrase, such as "mount proc". One that ends with a space goes on with the path,
            such as "read ", any other with "on" and the path.
        errno: The kernel's answer; 0 where it was not the kernel that refused.
        path: Where, as the container sees it; empty if the step has no path.
        hint: What the reader can do; empty if nothing is known.

    Source: errno(3).
    """

    def __init__(self, step: str, errno: int = 0, path: str = "", hint: str = "") -> None:
        super().__init__(step, errno, path, hint)
        self.step, self.errno, self.path, self.hint = step, errno, path, hint

    def __str__(self) -> str:
        what = f"cannot {render_step(self.step, self.path)}{render_reason(self.errno)}"
        return f"{what}; {self.hint}" if self.hint else what


class CommandError(IsolationError):
    """The container was ready, but its command could not be executed.

    Attributes:
        command: The first word of argv.
        errno: What execve(2) answered.
        exit_code: 127 if the command was not found, 126 if it was found and not executable.
        hint: What the reader can do; empty if nothing is known.
    """

    def __init__(self, command: str, errno: int, exit_code: int, hint: str = "") -> None:
        super().__init__(command, errno, exit_code, hint)
        self.command, self.errno, self.exit_code, self.hint = command, errno, exit_code, hint

    def __str__(self) -> str:
        what = f"cannot execute {self.command!r}{render_reason(self.errno)}"
        return f"{what}; {self.hint}" if self.hint else what


class ForkServerError(IsolationError):
    """The fork server died, or answered what it never should."""


def render_step(step: str, path: str) -> str:
    """Return a step with its path, as `SetupError.step` describes."""
    if not path:
        return step.rstrip(" ")
    return f"{step}{path}" if step.endswith(" ") else f"{step} on {path}"


def render_reason(errno: int) -> str:
    """Return ": TEXT (NAME)" for a kernel's errno, nothing for 0."""
    return f": {os.strerror(errno)} ({errorcode.get(errno, errno)})" if errno else ""
