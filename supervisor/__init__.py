"""What people start: `mocker run`, one container in the foreground, and supervisors of many.

The policy to `mocker.isolation`'s mechanism. Nothing heavy is imported here: the start of
`mocker run` pays for every module. So what other programs import is loaded when they do.
"""

TYPE_CHECKING = False  # for who checks types; `typing`, which has it, costs as much as a container
if TYPE_CHECKING:
    from .client.address import NoSupervisorError
    from .client.answer_lines import AnswerLines
    from .client.attached_job import AttachedJob
    from .client.client import Client
    from .client.exchange import AnswerError, ProtocolError
    from .client.executed_process import ExecutedProcess
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f".client.{_HOMES[name]}", __name__), name)

    # Where each of them is.
    _HOMES = {
        "AnswerError": "exchange",
        "AnswerLines": "answer_lines",
        "AttachedJob": "attached_job",
        "Client": "client",
        "ExecutedProcess": "executed_process",
        "NoSupervisorError": "address",
        "ProtocolError": "exchange",
    }


__all__ = [
    "AnswerError",
    "AnswerLines",
    "AttachedJob",
    "Client",
    "ExecutedProcess",
    "NoSupervisorError",
    "ProtocolError",
]
