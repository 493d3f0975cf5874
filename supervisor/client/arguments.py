"""The words after a command that asks a supervisor.

Options may stand before the names of jobs and after them, as docker's and supervisorctl's do.
"""

from collections.abc import Iterable, Sequence

from mocker.isolation import SpecError

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
    """

    def __init__(
        self,
        name: str,
        takes: str,
        summary: str,
        options: Iterable[Option] = (),
        *,
        count: range = range(10**6),
        more: str = "",
    ) -> None:
        """Describe a command.

        Args:
            name: As it is typed.
            takes: What its words are.
            summary: What it does, in a sentence.
            options: Besides those that each has.
            count: How many words it may have.
            more: What the help says at its end.
        """
        self.name, self.takes, self._count = name, takes, count
        self._options = (*options, WHICH, HELP)
        self._summary, self._more = summary, more
        self._takes_command = "COMMAND" in takes  # whose words may look like options

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
            parsed = parse_options(rest, self._options, self.name)
            for name in (option.names[-1] for option in self._options):
                if parsed.has(name):
                    values.setdefault(name, []).extend(parsed.all(name))
            ended = rest[: len(rest) - len(parsed.words)][-1:] == ["--"]
            take = len(parsed.words) if ended or self._takes_command else 1
            taken += parsed.words[:take]
            rest = list(parsed.words[take:])
        if "--help" not in values and len(taken) not in self._count:
            few = len(taken) < self._count.start
            text = f"{self.takes} is needed" if few else f"there is no use for {taken[-1]!r}"
            raise SpecError(text)
        return Parsed(values, taken)
