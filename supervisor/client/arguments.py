"""The words after a command that asks a supervisor.

Options may stand before the names of jobs and after them, as people of docker and supervisorctl have
it in their fingers.
"""

from collections.abc import Iterable, Sequence

from ..options import Option, Parsed, parse_options, render_options

WHICH = Option(
    "-s --supervisor", "NAME|SOCKET", "ask this one (default: MOCKER_SOCKET, or the only one)"
)
HELP = Option("-h --help", "", "print this")


class Command:
    """What a command takes, and its help.

    Attributes:
        name: As it is typed.
        takes: What its words are, such as "JOB..."; empty for none.
        needs: How many words it has at least.
        most: How many at most; None for any number.
    """

    def __init__(
        self,
        name: str,
        takes: str,
        summary: str,
        options: Iterable[Option] = (),
        *,
        needs: int = 0,
        most: int | None = None,
        more: str = "",
    ) -> None:
        """Describe a command.

        Args:
            name: As it is typed.
            takes: What its words are.
            summary: What it does, in a sentence.
            options: Besides those that each has.
            needs: Words at least.
            most: Words at most.
            more: What the help says at its end.
        """
        self.name, self.takes, self.needs, self.most = name, takes, needs, most
        self._options = (*options, WHICH, HELP)
        self._summary, self._more = summary, more

    def render_help(self) -> str:
        """Return what --help shows."""
        head = f"usage: mocker {self.name} [OPTIONS] {self.takes}".rstrip()
        parts = [head, self._summary, f"options:\n{render_options(self._options)}"]
        return "\n\n".join([*parts, self._more] if self._more else parts) + "\n"

    def parse(self, words: Sequence[str]) -> Parsed:
        """Read the words after the command.

        Raises:
            SpecError: They are not what it takes.
        """
        values, taken, rest = dict[str, list[str]](), list[str](), list(words)
        while rest:
            parsed = parse_options(rest, self._options)
            for option in self._options:
                values.setdefault(option.names[-1], []).extend(parsed.all(option.names[-1]))
            ended = "--" in rest[: len(rest) - len(parsed.words)]
            take = len(parsed.words) if ended else 1
            taken += parsed.words[:take]
            rest = list(parsed.words[take:])
        return Parsed({name: given for name, given in values.items() if given}, taken)
