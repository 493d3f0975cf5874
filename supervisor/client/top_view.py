"""What `mocker top` shows, and what the keys change about it; nothing is asked or drawn here."""

import re
from collections.abc import Mapping, Sequence

from ..stderr import make_printable
from .amounts import render_percent, render_size
from .screen import Row
from .tables import render_duration, render_state, render_table

Job = Mapping[str, object]

_HEAD = ("NAME", "STATE", "PID", "UPTIME", "RESTARTS", "HEALTH", "CPU", "MEM", "PROCESSES")
_SORTS = {"n": "name", "c": "cpu_percent", "m": "memory_bytes", "R": "restarts"}
_TITLES = {"name": "name", "cpu_percent": "CPU", "memory_bytes": "memory", "restarts": "restarts"}
_ACTIONS = {"s": "start", "x": "stop", "r": "restart"}
_KEYS = "sort: n c m R  / filter  l lines  s start  x stop  r restart  q quit"
_STEPS = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -10, "page down": 10}
_FAR = 10**9
_AROUND = 3  # rows that are no jobs: the title, the head of the table, the foot
_LEAST_LOG = 2  # rows of a log that is shown, its title apart


class View:
    """What is shown.

    Attributes:
        wish: An action and a job, which whoever has taken it sets to None.
        message: What is told at the bottom.
        late_s: For how long the supervisor has not answered; 0 if all is well.
        log: The last lines of the job that is selected; None if they are not shown.
        is_over: Whether there is nothing to be shown any more.
    """

    def __init__(self, supervisor: str) -> None:
        """Show nothing yet.

        Args:
            supervisor: Its name.
        """
        self.wish: tuple[str, str] | None = None
        self.message = ""
        self.late_s = 0
        self.log: list[str] | None = None
        self.is_over = False
        self._supervisor = supervisor
        self._jobs: Sequence[Job] = ()
        self._sort = "name"
        self._filter = ""
        self._is_typing = False  # a filter
        self._question: tuple[str, str] | None = None  # a wish that is to be confirmed
        self._selected = ""  # the name of a job; empty until somebody selects one
        self._first = 0  # of those that are shown, where not all of them have room

    @property
    def selected(self) -> str:
        """The name of the job that is selected; empty if there is none."""
        names = [str(job["name"]) for job in self._list_shown()]
        if self._selected in names:
            return self._selected
        return names[0] if names else ""  # which may be another one each time

    def show(self, jobs: Sequence[Job]) -> None:
        """Have other jobs, or other figures of them."""
        self._jobs = jobs

    def press(self, key: str) -> None:
        """Do what a key is for."""
        if self._is_typing:
            self._type(key)
        elif self._question:
            self._answer(key)
        else:
            self._command(key)

    def render(self, columns: int, rows: int) -> list[Row]:
        """Return what the screen shows."""
        room = max(rows - _AROUND, 1)
        log: list[Row] = []
        if self.log is not None:
            count = max(room // 2 - 1, _LEAST_LOG)
            title = f" {make_printable(self.selected)}: last lines "
            log = [Row(f"--{title}".ljust(columns, "-"), "bold")]
            log += [Row(make_printable(line)) for line in self.log[-count:]]
            log += [Row("")] * (count - len(log) + 1)
            room = max(room - len(log), 1)
        shown = [Row(self._render_title(), "bold"), *self._render_jobs(columns, room)]
        shown += [Row("")] * (room + 2 - len(shown))
        everything = [*(shown + log)[: max(rows - 1, 0)], Row(self._render_foot())]
        return [Row(text[:columns], style) for text, style in everything]

    def _command(self, key: str) -> None:
        self.message = ""
        if key in _SORTS:
            self._sort = _SORTS[key]
            self._selected = ""  # it is the top of the list that is wanted
        elif key in _ACTIONS and self.selected:
            self._question = _ACTIONS[key], self.selected
            if key == "s":
                self._answer("y")
        elif key in _STEPS:
            self._move(_STEPS[key])
        match key:
            case "home" | "end":
                self._move(_FAR if key == "end" else -_FAR)
            case "/":
                self._is_typing = True
            case "escape":
                self._filter = ""
            case "l" | "enter":
                self._selected = self.selected
                self.log = [] if self.log is None else None
            case "q" | "ctrl-c":
                self.is_over = True
            case _:
                pass

    def _type(self, key: str) -> None:
        match key:
            case "enter":
                self._is_typing = False
            case "escape" | "ctrl-c":
                self._is_typing, self._filter = False, ""
            case "backspace":
                self._filter = self._filter[:-1]
            case _ if len(key) == 1:
                self._filter += key
            case _:
                pass

    def _answer(self, key: str) -> None:
        wish, self._question = self._question, None
        if wish and key in {"y", "Y"}:
            self.wish = wish
            self.message = f"{wish[1]}: {wish[0]} is asked for"

    def _move(self, steps: int) -> None:
        names = [str(job["name"]) for job in self._list_shown()]
        if names:
            index = names.index(self.selected) + steps
            self._selected = names[min(max(index, 0), len(names) - 1)]
            self.log = None if self.log is None else []  # those were another one's

    def _list_shown(self) -> list[Job]:
        """Return the jobs that pass the filter in their order: the biggest first, or by name."""
        wanted = self._filter.lower()
        shown = [job for job in self._jobs if wanted in str(job["name"]).lower()]
        if self._sort == "name":
            return sorted(shown, key=_split_name)
        return sorted(shown, key=self._measure, reverse=True)

    def _measure(self, job: Job) -> float:
        value = job.get(self._sort)
        return value if isinstance(value, int | float) else -1

    def _render_title(self) -> str:
        well = sum(job.get("is_well") is True for job in self._jobs)
        text = f"{self._supervisor}: {len(self._jobs)} jobs, {well} well; by {_TITLES[self._sort]}"
        text += f"; filter: {self._filter}" if self._filter else ""
        text += f"; no answer for {self.late_s} s" if self.late_s else ""
        return make_printable(text)

    def _render_jobs(self, columns: int, room: int) -> list[Row]:
        """Return the head of the table, and those jobs that have room, the selected one of them."""
        jobs = self._list_shown()
        names = [str(job["name"]) for job in jobs]
        index = names.index(self.selected) if names else 0
        self._first = max(min(self._first, index, len(names) - room), index - room + 1, 0)
        head, *lines = render_table(_HEAD, map(_make_cells, jobs)).splitlines()
        rows = [Row(head.ljust(columns), "reverse")]
        for number, line in enumerate(lines):
            if self._first <= number < self._first + room:
                rows.append(Row(line.ljust(columns), "reverse" if number == index else ""))
        return rows

    def _render_foot(self) -> str:
        if self._is_typing:
            return f"filter: {make_printable(self._filter)}_"
        if self._question:
            return make_printable(f"{' '.join(self._question)}? y or n")
        return make_printable(self.message) or _KEYS


def _split_name(job: Job) -> list[tuple[int, str]]:
    """Return what puts "web-2" before "web-10"."""
    parts = re.split(r"([0-9]+)", str(job["name"]))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _make_cells(job: Job) -> list[str]:
    uptime = job.get("uptime_s")
    return [
        str(job["name"]),
        render_state(job),
        _show(job.get("pid")),
        render_duration(uptime if isinstance(uptime, int | float) else None),
        _show(job.get("restarts")),
        _show(job.get("health")),
        render_percent(job.get("cpu_percent")),
        render_size(job.get("memory_bytes")),
        _show(job.get("processes")),
    ]


def _show(value: object) -> str:
    return "-" if value is None or value == "" else str(value)
