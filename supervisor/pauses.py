"""The pause of a run: all that it has is frozen at the same moment, and goes on later.

The kernel freezes a cgroup with all that is in it, the container's init too. So nothing inside can
tell, and nothing inside answers: meanwhile nobody asks whether the run is alive.

Source: the kernel's Documentation/admin-guide/cgroup-v2.rst, cgroup.freeze.
"""

from collections.abc import Awaitable, Callable

import trio

from mocker.isolation import Container, SetupError
from mocker.isolation.delegation import name_scope_command

_FROZEN_S = 5.0  # for all to be frozen, where something waits for a disk
_LOOK_S = 0.005  # between two looks


class Pause:
    """The pause of one run, which may be over, or never begin.

    Attributes:
        is_on: Whether the run is paused.
    """

    def __init__(self) -> None:
        self.is_on = False
        self._over = trio.Event()
        self._asking = trio.CancelScope()

    def begin(self, container: Container) -> None:
        """Freeze a container; see `wait_frozen`.

        Raises:
            SetupError: It cannot be frozen.
        """
        if container.cgroup is None:
            hint = (
                "its container has no cgroup of its own; give it a limit, such as pids = 1000, or "
                "start the supervisor in a cgroup that is delegated to it: "
                f"{name_scope_command()} …"
            )
            raise SetupError("freeze it", hint=hint)
        container.cgroup.freeze()
        if not self.is_on:
            self.is_on = True
            self._over = trio.Event()
            self._asking.cancel()

    def end(self, container: Container) -> None:
        """Let it go on; nothing happens if it does.

        Raises:
            SetupError: It cannot be.
        """
        if self.is_on and container.cgroup is not None:
            container.cgroup.thaw()
            self.is_on = False
            self._over.set()

    async def wait_frozen(self, container: Container) -> bool:
        """Wait until all of it is frozen; return False if that takes too long, or it goes on."""
        with trio.move_on_after(_FROZEN_S):
            while self.is_on and container.cgroup is not None:
                if container.cgroup.is_frozen:
                    return True
                await trio.sleep(_LOOK_S)
        return False

    async def ask_meanwhile(self, ask: Callable[[], Awaitable[str]]) -> str:
        """Return what comes of asking the run, which begins anew after each pause."""
        while True:
            with trio.CancelScope() as self._asking:
                return await ask()
            await self._over.wait()
