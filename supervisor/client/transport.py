"""How a `Client` waits: all that differs between a program on trio and a command of `mocker`.

What is sent, understood and told is the same code for both. It is written for `await`; whether
that lets others go on or just blocks is decided here: `trio_transport` for programs,
`blocking_transport` for commands, which have nothing else to do and cannot afford to load trio, and
`question` for the loop of `mocker top`.
"""

import socket
from typing import Protocol


class Transport(Protocol):
    """What waits."""

    async def find(self, wanted: str | None) -> str:
        """Return the path of the socket of the supervisor that is meant, see `choose_socket`.

        Raises:
            NoSupervisorError: None is found, or several.
        """

    async def connect(self, path: str, kind: int) -> socket.socket:
        """Return a connection, see `address.connect`.

        Raises:
            NoSupervisorError: Nobody answers there.
        """

    async def wait_readable(
        self, fd: int, limit_s: float | None = None, *, is_shown: bool = False
    ) -> bool:
        """Wait until a descriptor can be read from; return False if it took too long.

        Args:
            fd: The descriptor.
            limit_s: Seconds; None for as long as it takes.
            is_shown: Whether what comes is only to be shown, line by line.

        Raises:
            NoSupervisorError: It is closed meanwhile, see `forget`.
        """

    async def wait_writable(self, fd: int) -> None:
        """Wait until a descriptor can be written to.

        Raises:
            NoSupervisorError: See `wait_readable`.
        """

    def forget(self, fd: int) -> None:
        """Tell who waits for a descriptor that it is about to be closed."""
