"""`mocker run` on a terminal, as the person at the keyboard sees it.

Where the terminal's settings count, the outer shell is dash, which leaves them as it finds them.
Bash repairs what a program that was stopped or killed left behind.
"""

import hashlib
import os
import re
import select
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mocker.supervisor.ending_signals import ECHO_S
from tests.end_to_end.processes import find_descendants, wait_until, watch
from tests.end_to_end.pty_driver import (
    BASH,
    CTRL_C,
    CTRL_D,
    CTRL_Z,
    DASH,
    OuterTerminal,
    open_terminal,
    read_shown,
)
from tests.requirements import (
    requires_busybox,
    requires_commands,
    requires_root,
    requires_subordinate_ids,
    requires_user,
    requires_user_namespaces,
)

pytestmark = [
    pytest.mark.end_to_end,
    requires_user_namespaces,
    requires_busybox,
    requires_commands("bash", "dash", "setsid"),
]

each_shell = pytest.mark.parametrize("shell", [BASH, DASH], ids=["bash", "dash"])

INNER_SHELL = "mocker run -e PS1='inner> ' sh"
STOPPED = 128 + signal.SIGTSTP
NOBODY_LISTENS = "trap '' HUP INT TERM; echo ready; sleep 1000"


def mocker_sh(script: str, *options: str) -> str:
    """Return the command line that runs a shell script in a container."""
    return shlex.join(["mocker", "run", *options, "sh", "-c", script])


def start(terminal: OuterTerminal, line: str) -> None:
    """Type a command line, and wait until a container has the terminal."""
    terminal.type(f"{line}\n")
    terminal.wait_for("\r\n")
    assert wait_until(lambda: terminal.is_raw)


def find_processes(terminal: OuterTerminal) -> list[int]:
    """Return mocker, the init, the command and what is below, in this order."""
    return find_descendants(terminal.shell.pid)


def wait_running(terminal: OuterTerminal, *argv: str) -> int:
    """Wait until a program runs below the outer shell, and return its pid."""
    cmdline = "".join(f"{word}\0" for word in argv).encode()
    found: list[int] = []

    def look() -> bool:
        found[:] = [pid for pid in find_processes(terminal) if read_cmdline(pid) == cmdline]
        return bool(found)

    assert wait_until(look)
    return found[0]


def read_cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""  # it ended meanwhile


# The terminal inside.


def test_command_has_the_only_terminal_of_a_devpts_of_its_own() -> None:
    with open_terminal() as terminal:
        answer = terminal.run(mocker_sh("tty; ls -1 /dev/pts"))

    assert answer == ("/dev/pts/0\r\n0\r\nptmx\r\n", 0)


def test_terminal_has_the_size_of_the_window_from_the_start() -> None:
    with open_terminal(rows=33, columns=77) as terminal:
        answer = terminal.run("mocker run stty size")

    assert answer.text == "33 77\r\n"


def test_window_size_follows() -> None:
    script = "trap 'stty size; exit' WINCH; echo ready; while sleep 0.01; do :; done"
    with open_terminal() as terminal:
        start(terminal, mocker_sh(script))
        terminal.wait_for("ready\r\n")

        terminal.resize(50, 132)
        answer = terminal.wait_for_prompt()

    assert answer == ("50 132\r\n", 0)


def test_window_size_follows_while_stopped() -> None:
    with open_terminal() as terminal:
        start(terminal, mocker_sh("echo ready; while read line; do stty size; done"))
        terminal.wait_for("ready\r\n")
        terminal.type(CTRL_Z)
        terminal.wait_for_prompt()

        terminal.resize(50, 132)
        start(terminal, "fg")
        terminal.type("\n")

        terminal.wait_for("50 132\r\n")


def test_type_of_the_terminal_is_handed_on() -> None:
    with open_terminal(env={"TERM": "vt220"}) as terminal:
        answer = terminal.run(mocker_sh("echo $TERM"))

    assert answer.text == "vt220\r\n"


def test_type_of_the_terminal_can_be_chosen() -> None:
    with open_terminal(env={"TERM": "vt220"}) as terminal:
        answer = terminal.run(mocker_sh("echo $TERM", "-e", "TERM=linux"))

    assert answer.text == "linux\r\n"


@requires_subordinate_ids
def test_terminal_belongs_to_the_user_who_runs_the_command() -> None:
    script = "whoami; stat -c %U $(tty); echo out >/dev/tty; echo again >/dev/stdin"
    with open_terminal() as terminal:
        answer = terminal.run(mocker_sh(script, "-u", "nobody"))

    assert answer == ("nobody\r\nnobody\r\nout\r\nagain\r\n", 0)


def test_terminal_that_nobody_inside_has_open_can_be_opened_again() -> None:
    script = "exec <&- >&- 2>&-; sleep 0.2; exec </dev/tty >/dev/tty; read word; echo $word $word"
    with open_terminal() as terminal:
        start(terminal, mocker_sh(script))

        terminal.type("hello\n")
        answer = terminal.wait_for_prompt()

    assert answer == ("hello\r\nhello hello\r\n", 0)


def test_stderr_in_a_file_stays_there(tmp_path: Path) -> None:
    file = tmp_path / "err"
    with open_terminal() as terminal:
        answer = terminal.run(mocker_sh("echo out; echo err >&2; tty") + f" 2>{file}")

    assert (answer.text, file.read_text()) == ("out\r\n/dev/pts/0\r\n", "err\n")


@contextmanager
def open_second_terminal() -> Iterator[tuple[int, str]]:
    """Open a terminal without a shell; yield the emulator's side and the path of the other."""
    master, slave = os.openpty()
    try:
        yield master, os.ttyname(slave)
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize(
    ("redirection", "here", "there"),
    [(">", "err\r\n", "out\r\n"), ("2>", "out\r\n", "err\r\n")],
    ids=["stdout", "stderr"],
)
def test_what_goes_to_another_terminal_is_shown_there(
    redirection: str, here: str, there: str
) -> None:
    with open_second_terminal() as (master, path), open_terminal() as terminal:
        answer = terminal.run(mocker_sh("echo out; echo err >&2") + f" {redirection}{path}")
        shown = read_shown(master)

    assert (answer.text, shown) == (here, there)


def test_dev_tty_is_the_terminal_that_it_stands_for() -> None:
    with open_terminal() as terminal:
        answer = terminal.run("mocker run tty </dev/tty")

    assert answer == ("/dev/pts/0\r\n", 0)


def test_bash_of_the_host_has_a_prompt_and_keys_and_its_status_comes_out() -> None:
    # Without its files of settings, which would set the prompt anew.
    line = "mocker run --rootfs host -e PS1='inner> ' bash --norc --noprofile --noediting"
    with open_terminal() as terminal:
        start(terminal, line)
        terminal.wait_for("inner> ")

        terminal.type("tty; echo $BASH $HOSTNAME\n")
        terminal.wait_for("HOSTNAME\r\n")
        shown = terminal.wait_for(".*inner> ")
        terminal.type("sleep 1000\n")
        wait_running(terminal, "sleep", "1000")
        terminal.type(CTRL_C)
        terminal.wait_for("inner> ")
        terminal.type("exit $(($? + 7))\n")
        answer = terminal.wait_for_prompt()

        assert terminal.is_as_found
    path, bash, hostname = shown.split()[:3]
    assert (path, Path(bash).name, hostname) == ("/dev/pts/0", "bash", "containerhostname")
    assert answer == ("exit $(($? + 7))\r\nexit\r\n", 137)


# Bytes.


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_every_byte_of_much_output_is_shown_by_a_slow_terminal() -> None:
    with open_terminal() as terminal:
        terminal.chunk = 2**10
        answer = terminal.run(mocker_sh("seq 1250000 | cat"))  # in big pieces

    assert len(answer.text) > 10e6
    assert answer.text == "".join(f"{number}\r\n" for number in range(1, 1250001))


@pytest.mark.parametrize("mode", ["icanon", "-icanon"])
def test_every_byte_of_a_big_paste_arrives(mode: str) -> None:
    text = "".join(f"{number:07}\n" for number in range(2**13))
    with open_terminal() as terminal:
        start(terminal, mocker_sh(f"stty -echo {mode}; echo ready; head -c {len(text)} | md5sum"))
        terminal.wait_for("ready\r\n")

        terminal.type(text)
        answer = terminal.wait_for_prompt()

    assert len(text) == 2**16
    assert answer.text.split()[0] == hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def test_letters_of_all_lengths_pass_in_both_directions() -> None:
    with open_terminal() as terminal:
        start(terminal, "mocker run cat")

        terminal.type("aß€😀\n")

        terminal.wait_for("aß€😀\r\naß€😀\r\n")


def test_what_is_typed_while_the_container_starts_arrives() -> None:
    with open_terminal() as terminal:
        terminal.type(mocker_sh("read word; echo $word $word") + "\nearly\n")

        terminal.wait_for("early early\r\n")


def test_last_output_of_the_orphans_is_shown() -> None:
    script = "(trap 'seq 5000; exit' TERM; echo ready; sleep 1000 & wait) & sleep 0.1; exit 3"
    with open_terminal() as terminal:
        answer = terminal.run(mocker_sh(script))

    assert answer == ("ready\r\n" + "".join(f"{n}\r\n" for n in range(1, 5001)), 3)


# Keys.


def test_ctrl_c_ends_the_foreground_job_inside_and_nobody_else() -> None:
    with open_terminal() as terminal:
        start(terminal, INNER_SHELL)
        terminal.wait_for("inner> ")
        terminal.type("sleep 1000\n")
        wait_running(terminal, "sleep", "1000")

        terminal.type(CTRL_C)
        terminal.wait_for("inner> ")
        terminal.type("echo status $?\n")
        terminal.wait_for("status 130\r\n")

        terminal.type("exit 5\n")
        assert terminal.wait_for_prompt().status == 5


def test_ctrl_c_ends_a_command_without_a_shell() -> None:
    with open_terminal() as terminal:
        start(terminal, "mocker run sleep 1000")

        terminal.type(CTRL_C)

        assert terminal.wait_for_prompt().status == 130


def test_ctrl_c_reaches_a_command_while_mocker_is_still_loading() -> None:
    with open_terminal() as terminal:
        terminal.type("mocker run sleep 1000\n")
        wait_running(terminal, "sleep", "1000")

        terminal.type(CTRL_C)

        assert terminal.wait_for_prompt().status == 130


def test_ctrl_z_stops_a_job_of_the_shell_inside() -> None:
    with open_terminal() as terminal:
        start(terminal, INNER_SHELL)
        terminal.wait_for("inner> ")
        terminal.type("sleep 1000\n")
        wait_running(terminal, "sleep", "1000")

        terminal.type(CTRL_Z)
        terminal.wait_for(r"Stopped +sleep 1000.*inner> ")
        assert terminal.is_raw

        terminal.type("fg\n")
        terminal.wait_for("sleep 1000\r\n")
        terminal.type(CTRL_C)
        terminal.wait_for("inner> ")


@each_shell
def test_ctrl_z_gives_the_outer_shell_its_terminal_and_fg_goes_on(shell: tuple[str, ...]) -> None:
    with open_terminal(shell) as terminal:
        start(terminal, "mocker run cat")
        terminal.type("before\n")
        terminal.wait_for("before\r\nbefore\r\n")

        terminal.type(CTRL_Z)
        stopped = terminal.wait_for_prompt()
        assert (stopped.status, terminal.is_as_found) == (STOPPED, True)
        assert re.search(r"Stopped +mocker run cat", stopped.text)
        assert terminal.run("echo $((6 * 7))") == ("42\r\n", 0)

        start(terminal, "fg")
        terminal.type("after\n")
        terminal.wait_for("after\r\nafter\r\n")
        terminal.type(CTRL_D)
        assert (terminal.wait_for_prompt().status, terminal.is_as_found) == (0, True)


def test_ctrl_z_and_fg_work_again_and_again() -> None:
    with open_terminal(DASH) as terminal:
        start(terminal, "mocker run cat")

        for number in range(5):
            terminal.type(f"line {number}\n")
            terminal.wait_for(f"line {number}\r\nline {number}\r\n")
            terminal.type(CTRL_Z)
            assert (terminal.wait_for_prompt().status, terminal.is_as_found) == (STOPPED, True)
            start(terminal, "fg")


def test_last_words_of_a_command_that_stops_itself_come_before_the_prompt() -> None:
    script = "trap 'echo word; kill -STOP $$' USR1; echo ready; while :; do sleep 0.01; done"
    shown = []
    with open_terminal() as terminal:
        start(terminal, mocker_sh(script))
        terminal.wait_for("ready\r\n")
        mocker, _, command, *_ = find_processes(terminal)
        for _ in range(8):
            # So that mocker finds the word and the stop at the same moment.
            os.kill(mocker, signal.SIGSTOP)
            terminal.wait_for_prompt()
            os.kill(command, signal.SIGUSR1)
            assert wait_until(lambda: is_stopped(command))
            shown.append("\nword\r" in terminal.run("fg").text)
            start(terminal, "fg")

    assert shown == [True] * 8


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_settings_that_were_changed_meanwhile_are_kept() -> None:
    with open_terminal(DASH) as terminal:
        start(terminal, "mocker run cat")
        terminal.type(CTRL_Z)
        terminal.wait_for_prompt()

        terminal.run("stty intr ^X")
        start(terminal, "fg")
        terminal.type(CTRL_D)
        terminal.wait_for_prompt()

        assert "intr = ^X" in terminal.run("stty -a").text


def test_terminal_is_raw_again_after_mocker_itself_was_stopped() -> None:
    with open_terminal() as terminal:
        start(terminal, "mocker run cat")
        os.kill(find_processes(terminal)[0], signal.SIGSTOP)
        assert terminal.wait_for_prompt().status == 128 + signal.SIGSTOP

        start(terminal, "fg")
        terminal.type("hello\n")

        terminal.wait_for("hello\r\nhello\r\n")


def test_ctrl_z_is_without_effect_where_the_caller_ignores_it() -> None:
    with open_terminal() as terminal:
        start(terminal, "(trap '' TSTP; exec mocker run cat)")
        terminal.type("before\n")
        terminal.wait_for("before\r\nbefore\r\n")

        terminal.type(f"{CTRL_Z}after\n")

        terminal.wait_for("after\r\nafter\r\n")


def test_ctrl_z_is_without_effect_where_no_shell_could_ever_say_fg() -> None:
    shell = ["mocker", "run", "sh", "-c", "echo ready; exec cat"]
    with open_terminal(shell, ready="ready\r\n") as terminal:
        assert wait_until(lambda: terminal.is_raw)
        terminal.type("before\n")
        terminal.wait_for("before\r\nbefore\r\n")

        terminal.type(f"{CTRL_Z}after\n")

        terminal.wait_for("after\r\nafter\r\n")


# In the background.


@each_shell
def test_bg_lets_the_command_go_on_and_fg_gives_it_input(shell: tuple[str, ...]) -> None:
    with open_terminal(shell) as terminal:
        start(terminal, "mocker run cat")
        terminal.type(CTRL_Z)
        terminal.wait_for_prompt()

        terminal.run("bg")
        assert "Running" in terminal.run("jobs").text
        assert terminal.is_as_found

        start(terminal, "fg")
        terminal.type("hello\n")
        terminal.wait_for("hello\r\nhello\r\n")
        terminal.type(CTRL_D)
        assert (terminal.wait_for_prompt().status, terminal.is_as_found) == (0, True)


def test_container_started_in_the_background_prints_and_gets_no_input_before_fg() -> None:
    with open_terminal(DASH) as terminal:
        terminal.type(mocker_sh("echo printed; exec cat") + " &\n")
        terminal.wait_for("printed\r+\n")
        assert terminal.run("echo $((6 * 7))") == ("42\r\n", 0)
        assert terminal.is_as_found

        start(terminal, "fg")
        terminal.type("hello\n")

        terminal.wait_for("hello\r\nhello\r\n")


def test_container_that_ends_in_the_background_leaves_the_terminal_alone() -> None:
    with open_terminal(DASH) as terminal:
        terminal.run(mocker_sh("exit 7") + " &")
        terminal.run("stty intr ^X")

        status = terminal.run("wait $!").status

        assert "intr = ^X" in terminal.run("stty -a").text
    assert status == 7


def test_stopped_container_can_be_ended() -> None:
    with open_terminal() as terminal:
        start(terminal, "mocker run cat")
        terminal.type(CTRL_Z)
        terminal.wait_for_prompt()

        with watch(find_processes(terminal)) as wait_ended:
            terminal.run("kill %1")
            left = wait_ended()

        assert terminal.is_as_found
    assert left == []


# Ways out.


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (mocker_sh("exit 0"), 0),
        (mocker_sh("exit 200"), 200),
        (mocker_sh("stty raw -echo"), 0),
        (mocker_sh("kill -KILL $$"), 137),
        (mocker_sh("kill -SEGV $$"), 139),
        ("mocker run --timeout 0.2s sleep 1000", 124),
        ("mocker run no-such-command", 127),
        ("mocker run /etc/passwd", 126),
        ("mocker run --rootfs /no/such/directory true", 125),
    ],
    ids=["0", "200", "raw", "SIGKILL", "SIGSEGV", "timeout", "127", "126", "125"],
)
def test_terminal_is_as_found_after(line: str, status: int) -> None:
    with open_terminal(DASH) as terminal:
        answer = terminal.run(line)

        assert terminal.is_as_found
    assert answer.status == status


def test_message_on_a_terminal_is_a_line_of_its_own() -> None:
    with open_terminal() as terminal:
        answer = terminal.run("mocker run no-such-command")

    assert re.fullmatch(r"mocker run: cannot [^\r\n]*no-such-command[^\r\n]*\r\n", answer.text)


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGTERM, 143),
        (signal.SIGHUP, 129),
        (signal.SIGINT, 130),
        (signal.SIGQUIT, 131),
        (signal.SIGUSR1, 138),
    ],
)
def test_terminal_is_as_found_after_mocker_got(number: signal.Signals, status: int) -> None:
    with open_terminal(DASH) as terminal:
        start(terminal, "mocker run sleep 1000")

        os.kill(find_processes(terminal)[0], number)
        answer = terminal.wait_for_prompt()

        assert terminal.is_as_found
    assert answer.status == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_terminal_is_as_found_after_mocker_was_asked_twice(number: signal.Signals) -> None:
    script = "trap 'echo once' TERM INT; echo ready; while :; do sleep 0.01; done"
    with open_terminal(DASH) as terminal:
        start(terminal, mocker_sh(script))
        terminal.wait_for("ready\r\n")
        mocker = find_processes(terminal)[0]

        os.kill(mocker, number)
        terminal.wait_for("once\r\n")
        time.sleep(ECHO_S)
        os.kill(mocker, number)
        answer = terminal.wait_for_prompt()

        assert terminal.is_as_found
    assert answer.status == 137


@pytest.mark.parametrize("who", ["init", "command"])
def test_terminal_is_as_found_after_the_host_killed_the(who: str) -> None:
    with open_terminal(DASH) as terminal:
        start(terminal, "mocker run sleep 1000")
        _, init, command = find_processes(terminal)

        os.kill(init if who == "init" else command, signal.SIGKILL)
        answer = terminal.wait_for_prompt()

        assert terminal.is_as_found
    assert answer.status == 137


def test_nothing_of_a_container_is_left_after_mocker_was_killed() -> None:
    with open_terminal() as terminal:
        start(terminal, mocker_sh("sleep 1000 & sleep 1000"))
        wait_running(terminal, "sleep", "1000")

        with watch(find_processes(terminal)) as wait_ended:
            os.kill(find_processes(terminal)[0], signal.SIGKILL)
            left = wait_ended()

        # What was raw can't be undone any more by mocker, but is by bash.
        terminal.wait_for_prompt()
        assert terminal.is_as_found
    assert left == []


@pytest.mark.parametrize(
    "line", ["mocker run cat", INNER_SHELL, "(trap '' HUP; exec mocker run cat)"]
)
def test_nothing_is_left_after_the_terminal_hung_up(line: str) -> None:
    with open_terminal() as terminal:
        start(terminal, line)

        with watch(find_processes(terminal)) as wait_ended:
            terminal.hang_up()
            left = wait_ended()

    assert left == []


def test_nothing_is_left_after_the_terminal_hung_up_on_a_stopped_container() -> None:
    with open_terminal() as terminal:
        start(terminal, "mocker run cat")
        terminal.type(CTRL_Z)
        terminal.wait_for_prompt()

        with watch(find_processes(terminal)) as wait_ended:
            terminal.hang_up()
            left = wait_ended()

    assert left == []


def test_nothing_is_left_after_the_terminal_hung_up_on_much_output() -> None:
    with open_terminal() as terminal:
        start(terminal, "mocker run yes")
        terminal.wait_for("y\r\n")

        with watch(find_processes(terminal)) as wait_ended:
            terminal.hang_up()
            left = wait_ended()

    assert left == []


def test_terminal_that_shows_nothing_any_more_does_not_hold_mocker() -> None:
    with open_terminal() as terminal:
        start(terminal, "mocker run yes")
        mocker, *inside = find_processes(terminal)
        assert wait_until(lambda: is_idle(mocker))  # there is no room for one more line

        with watch([mocker]) as wait_mocker_ended, watch(inside) as wait_ended:
            os.kill(mocker, signal.SIGTERM)
            left = wait_ended()
            time.sleep(ECHO_S)
            os.kill(mocker, signal.SIGTERM)
            left += wait_mocker_ended()

    assert left == []


def test_mocker_is_idle_and_can_be_ended_when_a_command_outlives_the_terminal() -> None:
    with open_terminal() as terminal:
        start(terminal, mocker_sh(NOBODY_LISTENS))
        terminal.wait_for("ready\r\n")
        wait_running(terminal, "sleep", "1000")
        mocker, *inside = find_processes(terminal)

        with watch([mocker]) as wait_mocker_ended, watch(inside) as wait_ended:
            terminal.hang_up()
            idle = wait_until(lambda: is_idle(mocker))
            os.kill(mocker, signal.SIGTERM)
            os.kill(mocker, signal.SIGINT)
            left = wait_mocker_ended() + wait_ended()

    assert (idle, left) == (True, [])


def is_idle(pid: int) -> bool:
    """Tell whether a process does nothing at all for a while, and still is there."""
    pidfd = os.pidfd_open(pid)
    try:
        before = read_switches(pid)
        ended = select.select([pidfd], [], [], 0.3)[0]
        return not ended and read_switches(pid) == before
    finally:
        os.close(pidfd)


def read_switches(pid: int) -> list[str]:
    """Return how often a process has given up the processor, and how often it was taken away."""
    return re.findall(r"ctxt_switches:\t(\d+)", Path(f"/proc/{pid}/status").read_text())


# The shell's side of it.


def test_descriptors_of_the_shell_stay_blocking() -> None:
    with open_terminal() as terminal:
        start(terminal, "mocker run cat")
        terminal.type("hello\n")
        terminal.wait_for("hello\r\nhello\r\n")
        during = terminal.is_blocking

        terminal.type(CTRL_Z)
        terminal.wait_for_prompt()
        stopped = terminal.is_blocking

    assert (during, stopped) == (True, True)


# A session that the terminal does not control, as after `su -c`.
FOREIGN_SESSION = ("setsid", "--wait", *BASH)


@requires_user
@pytest.mark.parametrize("shell", [BASH, FOREIGN_SESSION], ids=["its session", "another session"])
def test_terminal_that_its_user_may_not_open_is_good_enough(shell: tuple[str, ...]) -> None:
    with open_terminal(shell) as terminal:
        Path(terminal.path).chmod(0)
        start(terminal, "mocker run cat")
        terminal.type("hello\n")
        terminal.wait_for("hello\r\nhello\r\n")
        during = terminal.is_blocking
        terminal.type(CTRL_D)
        answer = terminal.wait_for_prompt()

        assert terminal.is_as_found
    assert (during, answer.status) == (True, 0)


@requires_root
@requires_commands("unshare")
@pytest.mark.parametrize("shell", [BASH, FOREIGN_SESSION], ids=["its session", "another session"])
def test_terminal_without_a_name_is_good_enough(shell: tuple[str, ...]) -> None:
    hide = 'mount -t tmpfs none /dev/pts; exec "$@"'
    with open_terminal(["unshare", "--mount", "sh", "-c", hide, "sh", *shell]) as terminal:
        assert "not a tty" in terminal.run("tty").text
        start(terminal, "mocker run cat")
        terminal.type("hello\n")
        terminal.wait_for("hello\r\nhello\r\n")
        during = terminal.is_blocking
        terminal.type(CTRL_D)
        answer = terminal.wait_for_prompt()

        assert terminal.is_as_found
    assert (during, answer.status) == (True, 0)


# Stdin is the terminal, stdout a pipe.

# Shows everything, and is not itself ended by a key.
VIEWER = " | (trap '' INT; cat)"


def test_command_whose_output_is_piped_has_no_terminal_of_its_own() -> None:
    with open_terminal() as terminal:
        answer = terminal.run(mocker_sh("test ! -t 1 && ls /dev/pts") + VIEWER)

        assert terminal.is_as_found
    assert answer.text == "ptmx\r\n"


@pytest.mark.parametrize(
    "redirection",
    [VIEWER, "</dev/null", ">/dev/null", "</dev/null >/dev/null", f"</dev/null{VIEWER}"],
)
@pytest.mark.parametrize("options", [[], ["--log", "null"], ["--log", "console"]])
def test_callers_terminal_is_never_the_commands(redirection: str, options: list[str]) -> None:
    look = "for n in 0 1 2; do test -t $n && echo terminal $n; done >/dev/shm/found; "
    with open_terminal() as terminal:
        answer = terminal.run(
            mocker_sh(f"{look} exec test ! -s /dev/shm/found", *options)
            + redirection
            + "; echo ${PIPESTATUS[0]}"
        )

    assert answer == ("0\r\n", 0)


def test_other_terminal_is_not_the_commands_either() -> None:
    with open_second_terminal() as (_, path), open_terminal() as terminal:
        answer = terminal.run(mocker_sh("test -t 0 && test -t 1 && test ! -t 2") + f" 2>{path}")

    assert answer.status == 0


def test_who_reads_keys_behind_a_pipe_has_them() -> None:
    pager = "(stty -icanon -echo; echo ready; head -c 3; stty sane; echo over) </dev/tty"
    with open_terminal() as terminal:
        terminal.type(f"mocker run tee | {pager}\n")
        terminal.wait_for("ready\r\n")
        wait_running(terminal, "tee")

        terminal.type("abc")
        terminal.wait_for("abcover\r\n")
        terminal.type(CTRL_D)  # which is the end of input again, as lines are read

        assert terminal.wait_for_prompt().status == 0


def test_ctrl_c_reaches_all_processes_of_a_piped_command_once() -> None:
    script = (
        "n=0; trap 'n=$((n + 1))' INT; echo ready; sleep 1000; echo sleep $?; "
        "sleep 0.2; echo shell $n"
    )
    with open_terminal() as terminal:
        terminal.type(mocker_sh(script) + VIEWER + "\n")
        terminal.wait_for("ready\r\n")
        wait_running(terminal, "sleep", "1000")

        terminal.type(CTRL_C)
        answer = terminal.wait_for_prompt()

    assert answer.text == "^Csleep 130\r\nshell 1\r\n"


@each_shell
def test_ctrl_z_and_fg_work_on_a_piped_command(shell: tuple[str, ...]) -> None:
    with open_terminal(shell) as terminal:
        # Not cat: busybox's holds the pipe locked while it waits for a terminal, by sendfile(2).
        terminal.type("mocker run tee | cat\n")
        terminal.wait_for("\r\n")
        wait_running(terminal, "tee")

        for number in range(5):
            terminal.type(f"line {number}\n")
            terminal.wait_for(f"line {number}\r\nline {number}\r\n")
            terminal.type(CTRL_Z)
            assert terminal.wait_for_prompt().status == STOPPED
            assert terminal.run("echo $((6 * 7))") == ("42\r\n", 0)
            terminal.type("fg\n")
            terminal.wait_for("cat\r\n")
        terminal.type(CTRL_D)
        assert terminal.wait_for_prompt().status == 0


def test_ctrl_z_is_without_effect_on_a_piped_command_that_no_shell_could_continue() -> None:
    shell = ["sh", "-c", "mocker run sh -c 'echo ready; exec tee' | cat"]
    with open_terminal(shell, ready="ready\r\n") as terminal:
        terminal.type(CTRL_Z)
        terminal.type("hello\n")

        terminal.wait_for("hello\r\nhello\r\n")
