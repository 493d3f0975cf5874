"""Ask the fork server for containers from the event loop, without waiting in it.

Several requests are under way at a time, so that the server always has one to work on; its answers
come in the order of the requests. Whoever asked takes its answer in any case, also if it does not
want it any more: the next answer is somebody else's.
"""

from collections.abc import Sequence

import trio

from mocker.isolation import Container, ContainerSpec, ForkServer

# More would not be faster, and what the server has not read yet must fit into its socket: a request
# that does not is waited for.
_AT_A_TIME = 8


class Starter:
    """The one who asks a fork server; nobody else may meanwhile.

    Attributes:
        server: The fork server.
    """

    def __init__(self, server: ForkServer) -> None:
        self.server = server
        self._places = trio.CapacityLimiter(_AT_A_TIME)
        self._last = trio.Event()  # the answer before the next one is taken
        self._last.set()

    async def start(
        self, spec: ContainerSpec, stdio: Sequence[int], namespaces: Sequence[int] = ()
    ) -> Container:
        """Start to make a container, see `ForkServer.request`.

        Raises:
            IsolationError: It could not be made, or the server is gone.
        """
        async with self._places:
            self.server.request(spec, stdio, namespaces)
            before, self._last = self._last, trio.Event()
            answered = self._last
            try:
                with trio.CancelScope(shield=True):
                    await before.wait()
                    await trio.lowlevel.wait_readable(self.server)
                return self.server.receive(spec)
            finally:
                answered.set()
