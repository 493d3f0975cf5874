"""Do something only until something else happens."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def until(happens: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Cancel a block, and go on behind it, once something else has returned."""
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            await happens()
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        yield
        nursery.cancel_scope.cancel()
