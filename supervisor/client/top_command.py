"""`mocker top`: the jobs of a supervisor on the whole screen, and keys to start and stop them."""

import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from types import FrameType
from typing import NoReturn

from mocker.isolation import SpecError

from ..options import Parsed
from .action_commands import begin, render_outcome
from .answer_lines import AnswerLines, Object
from .arguments import Command
from .client import Client
from .exchange import AnswerError
from .keys import parse_keys
from .question import LoopTransport, Question
from .run import FAILED, run
from .screen import HungUpError, Screen, open_screen
from .top_view import View

COMMAND = Command(
    "top",
    "[JOB...]",
    "Show jobs on the whole screen, start and stop them: names, patterns such as 'web-*', or all.",
    more="""\
keys:
  n c m R       sort by name, CPU, memory, restarts
  up down j k   select a job
  / text        show only jobs whose names contain a text; escape shows all again
  l             show the last lines of the selected job
  s x r         start, stop, restart it
  q             quit

CPU is the share of one CPU since the last look.

exit status:
  0  somebody has quit
  1  no supervisor answers, or the terminal is gone
  2  wrong usage
  4  there is no such job""",
)
_PAUSE_S = 1.0  # between two looks
_LOG_LINES = 100
_LATE_S = 3.0  # for an answer that takes no time
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
_WAKING = (signal.SIGWINCH, signal.SIGCONT)
_BY_SIGNAL = 128


class _EndedError(Exception):
    """A signal came that ends programs."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def top(words: Sequence[str]) -> int:
    """Carry out the words after `mocker top` and return the exit status."""
    return run(COMMAND, words, _carry_out)


async def _carry_out(parsed: Parsed, client: Client) -> int:
    if not (os.isatty(0) and os.isatty(1)):
        raise SpecError("stdin and stdout must be a terminal; 'mocker ps' needs none")
    async with client, Client(client.path, transport=LoopTransport()) as asker:
        view = View(str((await client.supervisor()).get("name")))
        return _show(_Top(asker, parsed.words, view))


def _show(top: "_Top") -> int:
    """Show it until somebody quits, or a signal comes that ends programs."""
    try:
        with _catch_signals() as woken, closing(top), open_screen() as screen:
            top.run(screen, woken)
    except _EndedError as ended:
        return _BY_SIGNAL + ended.number
    except HungUpError:
        return FAILED
    return os.EX_OK


class _Top:
    """What goes on behind the screen: looks, one after the other, and actions, all at once."""

    def __init__(self, client: Client, names: Sequence[str], view: View) -> None:
        self._client, self._names = client, names
        self._view = view
        self._look: Question | None = None
        self._looked_at = self._look_at = 0.0  # the last and the next one, in monotonic time
        self._log: Question | None = None
        self._log_of = ""  # the job whose lines are asked for
        self._actions: list[Question] = []

    def run(self, screen: Screen, woken: int) -> None:
        """Show it until somebody quits."""
        while not self._view.is_over:
            self._ask()
            screen.draw(self._view.render(*screen.size))
            self._wait(screen, woken)

    def close(self) -> None:
        """Wait for no answer any more."""
        for question in self._list_questions():
            question.close()

    def _wait(self, screen: Screen, woken: int) -> None:
        """Wait until something comes, or it is time for another look; take what came."""
        questions = self._list_questions()
        sources: list[Screen | Question | int] = [screen, woken, *questions]
        pause = max(self._look_at - time.monotonic(), 0) if self._look is None else _PAUSE_S
        readable = select.select(sources, [], [], pause)[0]
        for question in questions:
            if question in readable:
                self._take(question)
        if woken in readable:
            os.read(woken, 2**10)
            screen.enter()  # who let it go on may have changed the terminal
        if screen in readable:
            self._press_all(screen)

    def _list_questions(self) -> list[Question]:
        return [*filter(None, (self._look, self._log)), *self._actions]

    def _press_all(self, screen: Screen) -> None:
        view = self._view
        for key in parse_keys(screen.read()):
            if key == "ctrl-z":
                screen.suspend()
            else:
                view.press(key)
            if view.wish:
                action, job = view.wish
                view.wish = None
                self._actions.append(Question(_list(begin(self._client, action, job))))
        if view.log == [] or self._actions:
            self._look_at = 0.0  # to show it soon

    def _ask(self) -> None:
        now = time.monotonic()
        if self._look is not None:
            late_s = now - self._looked_at
            self._view.late_s = int(late_s) if late_s >= _LATE_S else 0
            return
        if now < self._look_at:
            return
        self._looked_at, self._look_at = now, now + _PAUSE_S
        self._look = Question(self._client.jobs(*self._names, stats=True))
        job = self._view.selected
        if self._view.log is not None and self._log is None and job:
            self._log = Question(_list(self._client.logs(job, count=_LOG_LINES)))
            self._log_of = job

    def _take(self, question: Question) -> None:
        """Take what has come of an answer."""
        try:
            question.advance()
        except AnswerError as error:
            if question is self._look:
                raise  # there is no such job any more
            if question is self._log:
                self._view.log = [str(error)]
            else:
                self._view.message = str(error)
            self._forget(question)
            return
        if not question.is_answered:
            return
        if question is self._look:
            self._view.show(question.answer)
            self._view.late_s = 0
        elif question is self._log:
            if self._view.log is not None and self._log_of == self._view.selected:
                self._view.log = [str(one.get("line", "")) for one in question.answer]
        else:
            self._view.message = "; ".join(map(render_outcome, question.answer))
            self._look_at = 0.0
        self._forget(question)

    def _forget(self, question: Question) -> None:
        question.close()
        if question is self._look:
            self._look = None
        elif question is self._log:
            self._log = None
        else:
            self._actions.remove(question)


async def _list(lines: AnswerLines) -> list[Object]:
    return await lines


@contextmanager
def _catch_signals() -> Iterator[int]:
    """Raise _EndedError for a signal that ends programs, and tell of others by a descriptor."""
    woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    before = {number: signal.getsignal(number) for number in (*_ENDING, *_WAKING)}
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in _WAKING:
        signal.signal(number, lambda *_: None)
    for number in _ENDING:
        if before[number] != signal.SIG_IGN:
            signal.signal(number, _end)
    try:
        yield woken
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(woken)
        os.close(wake)


def _end(number: int, _: FrameType | None) -> NoReturn:
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)  # a second one must not leave the terminal as it is
    raise _EndedError(number)
