"""How a command ended: with a code of its own, or by a signal."""

import os


class ExitStatus:
    """The end of a command; exactly one of the two attributes is None.

    Attributes:
        code: 0 to 255, what the command gave to exit(3).
        signal: The number of the signal that ended it.
    """

    __slots__ = ("code", "signal")

    code: int | None
    signal: int | None

    def __init__(self, code: int | None = None, signal: int | None = None) -> None:
        if (code is None) == (signal is None):
            raise ValueError("an exit status is either a code or a signal")
        self.code, self.signal = code, signal

    @property
    def shell_code(self) -> int:
        """The status as a shell tells it: the code, or 128+N for signal N."""
        return self.code if self.code is not None else 128 + (self.signal or 0)

    @property
    def success(self) -> bool:
        """Whether the command ended with code 0."""
        return self.code == 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExitStatus):
            return NotImplemented
        return (self.code, self.signal) == (other.code, other.signal)

    def __hash__(self) -> int:
        return hash((self.code, self.signal))

    def __repr__(self) -> str:
        if self.signal is None:
            return f"ExitStatus(code={self.code})"
        return f"ExitStatus(signal={self.signal})"

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit code {self.code}"
        from signal import Signals  # here, for loading its enumerations takes 6 ms

        try:
            return Signals(self.signal).name
        except ValueError:
            return f"signal {self.signal}"


def read_status(result: os.waitid_result) -> ExitStatus:
    """Return how a process ended that waitid(2) has found ended."""
    if result.si_code == os.CLD_EXITED:
        return ExitStatus(code=result.si_status)
    return ExitStatus(signal=result.si_status)
