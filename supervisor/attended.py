"""What somebody in the foreground attends to: a container, or what is executed in a running one."""

from typing import Protocol

from mocker.isolation import ContainerSpec, ExitStatus


class Attended(Protocol):
    """Something that runs, and that has a terminal of its own or none; see `Container`.

    Attributes:
        spec: What was asked for.
        terminal_fd: The other side of its terminal; -1 without one.
    """

    spec: ContainerSpec
    terminal_fd: int

    @property
    def control_fd(self) -> int:
        """A descriptor that becomes readable when `take_stop` may have something to say."""

    def poll(self) -> ExitStatus | None:
        """Return how it ended, None if it has not; SIGCHLD says that this may be news."""

    def take_stop(self) -> int:
        """Return the signal that stopped it since this was last asked, 0 for none."""

    def send_signal(self, number: int) -> None:
        """Send it a signal."""

    def kill(self) -> None:
        """Kill it."""
