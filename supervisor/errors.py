"""What can go wrong before a job runs, and the exit code that it ends with.

The exit code belongs to the class, as in `isolation.errors`.
"""

from collections.abc import Iterable


class ConfigError(Exception):
    """A configuration file that cannot be meant, or cannot be read.

    Attributes:
        mistakes: One line each, all that were found, in the order of the file: "FILE:LINE: KEY:
            TEXT", without what is not known.
    """

    exit_code = 2

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__(self.mistakes)

    def __str__(self) -> str:
        return "\n".join(self.mistakes)
