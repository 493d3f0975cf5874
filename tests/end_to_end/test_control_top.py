"""`mocker top` in a real terminal, on a real supervisor."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.end_to_end.job_texts import SLEEP, job
from tests.end_to_end.processes import MOCKER, wait_until
from tests.end_to_end.pty_driver import CTRL_C, CTRL_Z, DASH, OuterTerminal, open_terminal
from tests.end_to_end.supervised import Supervised, open_supervisor
from tests.requirements import requires_busybox, requires_commands, requires_user_namespaces

pytestmark = [
    pytest.mark.end_to_end,
    requires_user_namespaces,
    requires_busybox,
    requires_commands("tmux"),
]

ONCE = "while [ ! -e /in/go ]; do sleep 0.05; done"
NAMES = ["idle", "once", "spin"]
KEYS = "q quit"  # at the bottom, once it is drawn
ENTERED, LEFT = r"\x1b\[\?1049h", r"\x1b\[\?1049l"


class Tmux:
    """A terminal emulator that has `mocker top` on its screen, below what a shell has shown."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def run(self, *words: str) -> str:
        command = ["tmux", "-S", str(self._directory / "tmux"), "-f", "/dev/null", *words]
        result = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, env=make_env(self._directory), check=True
        )
        return result.stdout

    def start(self) -> None:
        command = f"sh -c 'echo before; {MOCKER} top; echo status $?; exec cat'"
        self.run("new-session", "-d", "-x", "100", "-y", "20", command)

    def press(self, *keys: str) -> None:
        self.run("send-keys", *keys)

    def read(self) -> list[str]:
        return self.run("capture-pane", "-p").splitlines()

    def wait_for(self, is_there: Callable[[list[str]], bool]) -> list[str]:
        """Wait until the screen is as it should be, and return it."""
        screen: list[str] = []

        def look() -> bool:
            screen[:] = self.read()
            return is_there(screen)

        assert wait_until(look), "\n".join(screen)
        return screen


def make_env(directory: Path) -> dict[str, str]:
    return {**os.environ, "XDG_RUNTIME_DIR": str(directory), "LC_ALL": "C.UTF-8", "TERM": "xterm"}


def list_names(screen: list[str]) -> list[str]:
    words = [line.split() for line in screen]
    return [line[0] for line in words if line and line[0] in NAMES]


def find_state(screen: list[str], name: str) -> str:
    return next((line.split()[1] for line in screen if line.split()[:1] == [name]), "")


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    (tmp_path / "in").mkdir()
    once = f"type = 'oneshot'\nvolumes = ['{tmp_path}/in:/in:ro']\n"
    text = job("once", ONCE, once) + job("spin", "while :; do :; done") + job("idle", SLEEP)
    with open_supervisor(tmp_path, text) as supervised:
        for name in NAMES:
            supervised.wait_event("job.started", job=name)
        yield supervised


@contextmanager
def open_tmux(directory: Path) -> Iterator[Tmux]:
    """Show it in a terminal emulator."""
    tmux = Tmux(directory)
    tmux.start()
    try:
        yield tmux
    finally:
        with suppress(subprocess.CalledProcessError):
            tmux.run("kill-server")


@pytest.fixture
def tmux(supervised: Supervised, tmp_path: Path) -> Iterator[Tmux]:
    with open_tmux(tmp_path) as tmux:
        tmux.wait_for(lambda screen: list_names(screen) == NAMES)
        yield tmux


def test_table_refreshes_itself(tmux: Tmux, tmp_path: Path) -> None:
    (tmp_path / "in" / "go").touch()

    screen = tmux.wait_for(lambda screen: find_state(screen, "once") == "EXITED")

    assert screen[0] == "jobs: 3 jobs, 3 well; by name"
    assert KEYS in screen[-1]


def test_busiest_is_at_the_top_if_wanted(tmux: Tmux) -> None:
    tmux.press("c")

    tmux.wait_for(lambda screen: list_names(screen)[0] == "spin")


def test_filter_shows_what_is_looked_for(tmux: Tmux) -> None:
    tmux.press("/", "p", "i", "Enter")

    tmux.wait_for(lambda screen: list_names(screen) == ["spin"])


def test_selected_job_is_stopped_and_started(tmux: Tmux, supervised: Supervised) -> None:
    tmux.press("End", "x")
    tmux.wait_for(lambda screen: screen[-1] == "stop spin? y or n")
    tmux.press("y")
    tmux.wait_for(lambda screen: find_state(screen, "spin") == "STOPPED")
    tmux.press("s")
    screen = tmux.wait_for(lambda screen: screen[-1] == "spin: started")
    tmux.press("r", "y")
    tmux.wait_for(lambda screen: screen[-1] == "spin: restarted")

    supervised.wait_event("job.started", count=3, job="spin")

    assert find_state(screen, "idle") == "RUNNING"


def test_window_may_change_its_size(tmux: Tmux) -> None:
    tmux.run("resize-window", "-x", "40", "-y", "8")

    screen = tmux.wait_for(lambda screen: len(screen) == 8 and "sort:" in screen[-1])

    assert list_names(screen) == NAMES


def test_what_was_shown_before_is_there_again(tmux: Tmux) -> None:
    tmux.press("q")

    screen = tmux.wait_for(lambda screen: "status 0" in screen)

    assert [line for line in screen if line] == ["before", "status 0"]


def test_end_of_the_supervisor_is_told(tmux: Tmux, supervised: Supervised) -> None:
    supervised.terminate()

    screen = tmux.wait_for(lambda screen: "status 1" in screen)

    assert screen[0] == "before"
    assert screen[1].startswith("mocker top: cannot ")


def test_supervisor_that_does_not_answer_is_told(tmux: Tmux, supervised: Supervised) -> None:
    supervised.send(signal.SIGSTOP)

    screen = tmux.wait_for(lambda screen: "no answer for 3 s" in screen[0])
    supervised.send(signal.SIGCONT)
    tmux.wait_for(lambda screen: "no answer" not in screen[0])

    assert list_names(screen) == NAMES


@contextmanager
def open_top(directory: Path) -> Iterator[OuterTerminal]:
    """Run it from a shell that leaves the settings of the terminal as it finds them."""
    with open_terminal(DASH, env={"XDG_RUNTIME_DIR": str(directory)}) as terminal:
        terminal.type("mocker top\n")
        terminal.wait_for(ENTERED)
        terminal.wait_for(KEYS)
        yield terminal


def find_top(terminal: OuterTerminal) -> int:
    children = Path(f"/proc/{terminal.shell.pid}/task/{terminal.shell.pid}/children")
    return int(children.read_text().split()[0])


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT], ids=str
)
def test_signal_leaves_the_terminal_as_it_was(
    number: int, supervised: Supervised, tmp_path: Path
) -> None:
    with open_top(tmp_path) as terminal:
        was_raw = terminal.is_raw
        os.kill(find_top(terminal), number)
        terminal.wait_for(LEFT)
        status = terminal.wait_for_prompt().status
        is_as_found = terminal.is_as_found

    assert (was_raw, status, is_as_found) == (True, 128 + number, True)


def test_ctrl_c_quits(supervised: Supervised, tmp_path: Path) -> None:
    with open_top(tmp_path) as terminal:
        terminal.type(CTRL_C)
        terminal.wait_for(LEFT)
        status = terminal.wait_for_prompt().status
        is_as_found = terminal.is_as_found

    assert (status, is_as_found) == (0, True)


def test_ctrl_z_gives_the_shell_its_terminal(supervised: Supervised, tmp_path: Path) -> None:
    with open_top(tmp_path) as terminal:
        terminal.type(CTRL_Z)
        terminal.wait_for(LEFT)
        terminal.wait_for_prompt()
        was_as_found = terminal.is_as_found
        terminal.type("fg\n")
        terminal.wait_for(ENTERED)
        terminal.wait_for(KEYS)
        terminal.type("q")
        status = terminal.wait_for_prompt().status
        is_as_found = terminal.is_as_found

    assert (was_as_found, status, is_as_found) == (True, 0, True)


def test_it_waits_in_the_background(supervised: Supervised, tmp_path: Path) -> None:
    with open_terminal(DASH, env={"XDG_RUNTIME_DIR": str(tmp_path)}) as terminal:
        terminal.run("mocker top &")
        stopped = "test $(cut -d ' ' -f 3 /proc/$!/stat) = T"
        terminal.run(f"until {stopped}; do sleep 0.05; done")
        was_as_found = terminal.is_as_found
        terminal.type("fg\n")
        terminal.wait_for(ENTERED)
        terminal.wait_for(KEYS)
        terminal.type("q")
        terminal.wait_for(LEFT)
        terminal.wait_for_prompt()

    assert was_as_found


def test_it_ends_when_its_terminal_is_closed(supervised: Supervised, tmp_path: Path) -> None:
    with open_top(tmp_path) as terminal:
        terminal.hang_up()  # open_terminal sees it off


def test_nothing_is_shown_without_a_supervisor(tmp_path: Path) -> None:
    with open_terminal(DASH, env={"XDG_RUNTIME_DIR": str(tmp_path)}) as terminal:
        answer = terminal.run("mocker top")

    assert answer.status == 1
    assert "cannot find a supervisor" in answer.text
