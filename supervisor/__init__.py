"""What people start: `mocker run`, one container in the foreground, and supervisors of many.

The policy to `mocker.isolation`'s mechanism. Nothing heavy is imported here: the start of
`mocker run` pays for every module. So what other programs import is loaded when they do.
"""

TYPE_CHECKING = False  # for who checks types; `typing`, which has it, costs as much as a container
if TYPE_CHECKING:
    from .client.address import NoSupervisorError
    from .client.exchange import AnswerError, ProtocolError
    from .client.trio_client import Client
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from .client import address, exchange, trio_client

        homes = {"Client": trio_client, "NoSupervisorError": address}
        return getattr(homes.get(name, exchange), name)


__all__ = ["AnswerError", "Client", "NoSupervisorError", "ProtocolError"]
