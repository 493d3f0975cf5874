"""The README's examples, run: what it shows is what is seen."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

import attrs
import pytest

from mocker.supervisor.client.commands import COMMANDS
from mocker.supervisor.config import Backoff, GiveUp, SupervisorConfig
from mocker.supervisor.control_keys import CONTROL_KEYS
from mocker.supervisor.job_keys import JOB_KEYS
from mocker.supervisor.mistakes import MistakeError, Mistakes, Place
from mocker.supervisor.probe_keys import parse_alive, parse_ready
from tests.end_to_end.pty_driver import CTRL_C
from tests.end_to_end.supervised import open_supervisor
from tests.in_namespaces import run_in_child
from tests.refusals import hide_busybox
from tests.requirements import requires_busybox, requires_commands, requires_user_namespaces

CHECKOUT = Path(__file__).parent.parent
README = (CHECKOUT / "README.md").read_text()
CONSOLE_BLOCKS = re.findall(r"^```console\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
_COMMANDS_AND_OUTPUTS = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
FIRST_COMMAND, *OTHER_COMMANDS = _COMMANDS_AND_OUTPUTS.findall("".join(CONSOLE_BLOCKS))
(CONTROL_BLOCK,) = [block for block in CONSOLE_BLOCKS if block.startswith("$ mocker ps")]
CONTROL = _COMMANDS_AND_OUTPUTS.findall(CONTROL_BLOCK)
OTHER_COMMANDS = [shown for shown in OTHER_COMMANDS if shown not in CONTROL]
(SUPERVISE,) = [shown for shown in OTHER_COMMANDS if "mocker-supervise" in shown[0]]
OTHER_COMMANDS.remove(SUPERVISE)
JOBS_EXAMPLE = re.findall(r"^```toml\n(.*?)^```", README, re.DOTALL | re.MULTILINE)[0]
_VOLATILE = [
    (r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", "TIME"),
    (r" -rw.* (?=\d+ \w{3} )", " OWNER "),  # and mode: that depends on the umask
    (r" \w{3} [ \d]\d \d\d:\d\d ", " TIME "),
    (r"\b(pid|uptime_s|delay_s)=[\d.]+", r"\1=N"),
    (r"\]:\d+:", "]:PORT:"),
]
_CHUNK = 2**16  # bytes
TABLES = re.findall(r"(?:^\|.*\n)+", README, re.MULTILINE)
(CLIENT_EXAMPLE,) = re.findall(
    r"^```python\n(from mocker\.supervisor .*?)^```", README, re.DOTALL | re.MULTILINE
)
(ATTACH_EXAMPLE,) = re.findall(
    r"^```python\n(async with Client.*?)^```", README, re.DOTALL | re.MULTILINE
)
LIBRARY_EXAMPLE, LIBRARY_OUTPUT = re.findall(
    r"^```python\n(.*?)^```\n\n^```\n(.*?)^```", README, re.DOTALL | re.MULTILINE
)[0]


def run_shell(command: str, directory: Path) -> str:
    environment = dict(os.environ, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    result = subprocess.run(
        ["bash", "-c", command],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return result.stdout


def run_on_terminal(
    command: str, directory: Path, is_enough: Callable[[str], bool]
) -> tuple[str, int]:
    """Run a command line on a terminal, press Ctrl-C when enough is shown; return all, and $?."""
    master, slave = os.openpty()
    process = subprocess.Popen(
        # Who starts the tests in the background has made them ignore SIGINT.
        ["setsid", "--ctty", "env", "--default-signal", "bash", "-c", command],
        cwd=directory,
        env={**os.environ, "NO_COLOR": "1", "XDG_RUNTIME_DIR": str(directory)},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    shown, asked = b"", False
    with process, os.fdopen(master, "r+b", buffering=0) as terminal:
        try:
            # At the end nobody has the other side open, which is an EIO to this one.
            with suppress(OSError):
                while chunk := terminal.read(_CHUNK):
                    shown += chunk
                    if not asked and is_enough(shown.decode(errors="replace")):
                        terminal.write(CTRL_C.encode())
                        asked = True
            process.wait()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return shown.decode(), process.returncode


def sort_by_source(text: str, checkout: str) -> dict[str, list[str]]:
    """Return the lines of each job, and the events of each: in between, each run has its own order.

    What no other run can repeat is blanked: times, processes, ports, and where the checkout is.
    """
    found = defaultdict(list)
    for line in text.replace("\r\n", "\n").replace(checkout, "CHECKOUT").splitlines():
        source = re.search(r" std(out|err) +[\w-]+ \| ", line) or re.search(
            r"\bjob=\S+| config\.loaded", line
        )
        if source:
            for pattern, blank in _VOLATILE:
                line = re.sub(pattern, blank, line)  # noqa: PLW2901
            found[source[0]].append(line)
    return found


def blank_numbers(text: str) -> list[list[str]]:
    """Return the words of each line, but those of the job that crashes: any run has its own.

    One that follows the wall clock has EXITED in place of STOPPED once a minute has passed.
    """
    lines = [line for line in text.splitlines() if not line.startswith("flaky ")]
    lines = [re.sub(r"^(clock +)(?:STOPPED|EXITED)", r"\1AT-REST", line) for line in lines]
    return [re.sub(r"\d+", "N", line).split() for line in lines]


def copy_checkout(directory: Path) -> Path:
    """Return a copy of what is under version control, and of what may soon be."""
    checkout = directory / "mocker"
    shutil.copytree(
        CHECKOUT, checkout, symlinks=True, ignore=shutil.ignore_patterns(".git", ".venv", ".*cache")
    )
    return checkout


def use_this_python(command: str) -> str:
    """Return the command with the interpreter that has venv and pip wherever the tests run."""
    return command.replace("python3", shlex.quote(sys.executable))


def test_first_command_is_shown_by_line_25() -> None:
    line = README[: README.index(FIRST_COMMAND[0])].count("\n") + 1

    assert line <= 25


@requires_busybox
@requires_user_namespaces
@pytest.mark.slow
@pytest.mark.end_to_end
@pytest.mark.timeout(300)
def test_first_command_works_in_a_fresh_checkout(tmp_path: Path) -> None:
    command, output = FIRST_COMMAND
    checkout = copy_checkout(tmp_path)

    shown = run_shell(use_this_python(command), checkout)

    assert shown.endswith(output)  # pip may warn of the package index before that


@requires_user_namespaces
@pytest.mark.slow
@pytest.mark.end_to_end
@pytest.mark.timeout(300)
def test_first_command_works_where_there_is_no_busybox(tmp_path: Path) -> None:
    command, output = FIRST_COMMAND
    checkout = copy_checkout(tmp_path)

    def act() -> str:
        hide_busybox(os.devnull)
        return run_shell(use_this_python(command), checkout)

    shown = run_in_child(act)

    assert "mocker run: using --rootfs host: cannot find a static busybox; install " in shown
    assert shown.endswith(output)


@requires_busybox
@requires_user_namespaces
@pytest.mark.slow
@pytest.mark.end_to_end
@pytest.mark.timeout(300)
@requires_commands("setsid")
def test_jobs_run_in_a_fresh_checkout_until_ctrl_c(tmp_path: Path) -> None:
    command, output = SUPERVISE
    checkout = copy_checkout(tmp_path)
    expected = sort_by_source(output, "/mocker")

    def is_all_there(shown: str) -> bool:
        found = sort_by_source(shown, str(checkout))
        return all(len(found[source]) >= len(lines) for source, lines in expected.items())

    shown, status = run_on_terminal(use_this_python(command), checkout, is_all_there)

    found = sort_by_source(shown, str(checkout))
    assert {source: found[source][: len(lines)] for source, lines in expected.items()} == expected
    assert "supervisor.stopped exit_code=0" in shown
    assert status == 0


@requires_busybox
@requires_user_namespaces
@requires_commands("curl")
@pytest.mark.slow
@pytest.mark.end_to_end
@pytest.mark.timeout(60)
def test_supervisor_answers_as_the_readme_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("MOCKER_SOCKET", raising=False)
    shutil.copytree(CHECKOUT / "configs/site", tmp_path / "site")
    program = make_program(CLIENT_EXAMPLE)
    assert len([command for command, _ in CONTROL if command.startswith("mocker ")]) == 10
    with open_supervisor(tmp_path, (CHECKOUT / "configs/jobs.toml").read_text()) as supervised:
        supervised.wait_line("worker | <title>mocker</title>")

        listed = run_shell(f"python -c {shlex.quote(program)}", tmp_path)
        shown = [(command, run_shell(command, tmp_path)) for command, _ in CONTROL]

        status = supervised.wait_exit()
    assert [(c, blank_numbers(text)) for c, text in shown] == [
        (command, blank_numbers(output)) for command, output in CONTROL
    ]
    assert "web RUNNING\n" in listed
    assert listed.endswith("\nweb is web\nexit code 0\n")
    assert status == 0


def make_program(example: str) -> str:
    """Return a program that does what an example on trio shows."""
    return f"import trio\nasync def main():\n{textwrap.indent(example, '    ')}\ntrio.run(main)\n"


@requires_busybox
@requires_user_namespaces
@pytest.mark.end_to_end
def test_job_with_a_terminal_is_attached_to_as_the_readme_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("MOCKER_SOCKET", raising=False)
    program = make_program(f"from mocker.supervisor import Client\n{ATTACH_EXAMPLE}")
    with open_supervisor(tmp_path, "[jobs.shell]\ncommand = 'sh'\ntty = true\n") as supervised:
        supervised.wait_event("job.started", job="shell")

        shown = run_shell(f"python -c {shlex.quote(program)}", tmp_path)

        assert not supervised.find("job.exited")
    assert shown.startswith("b'")


def test_every_command_is_in_the_table() -> None:
    (table,) = [table for table in TABLES if table.startswith("| Command")]
    rows = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)

    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(COMMANDS)


def test_shown_jobs_are_in_the_file() -> None:
    file = (CHECKOUT / "configs" / "jobs.toml").read_text()

    assert [job for job in JOBS_EXAMPLE.split("\n\n") if job.strip() not in file] == []


@requires_busybox
@requires_user_namespaces
@pytest.mark.end_to_end
@pytest.mark.parametrize(("command", "output"), OTHER_COMMANDS)
def test_command_shows_what_the_readme_shows(command: str, output: str, tmp_path: Path) -> None:
    shown = run_shell(command, tmp_path)

    assert shown == output


@requires_busybox
@requires_user_namespaces
@pytest.mark.end_to_end
def test_library_example_prints_what_the_readme_shows(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(LIBRARY_EXAMPLE)

    shown = run_shell("python example.py", tmp_path)

    assert shown == LIBRARY_OUTPUT


def test_files_that_the_readme_names_are_there() -> None:
    linked = re.findall(r"\]\(([^)#:]+)\)", README)
    code = re.findall(r"`((?:tests|supervisor|isolation|\.ci)/[\w./]*)`", README)

    missing = [name for name in {*linked, *code} if not (CHECKOUT / name).exists()]

    assert missing == []


def test_outer_container_is_started_as_the_head_of_the_dockerfile_says() -> None:
    head, _ = (CHECKOUT / "Dockerfile.dev").read_text().split("\nFROM ", 1)
    (block,) = re.findall(r"^```sh\n(docker build .*?)^```", README, re.DOTALL | re.MULTILINE)
    options = r"(?:--cap-add \S+|--security-opt [\w=]+)"
    (lesser,) = re.findall(
        rf"with `--privileged`, or with\s+`({options}(?:\s+{options})*)`", README
    )

    assert [line for line in block.splitlines() if f"#   {line}\n" not in head] == []
    assert re.findall(options, lesser) == re.findall(options, head)


def find_keys(table: str) -> list[str]:
    """Return the keys in the first column of a table; fields of the journal are no keys."""
    rows = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    return sorted(re.findall(r"`([a-z_]+)`", " ".join(rows)))


def test_every_key_is_in_a_table() -> None:
    fields = {field.name for field in attrs.fields(SupervisorConfig)}

    supervisor, control, job = [t for t in TABLES if t.startswith("| key") and find_keys(t)]

    assert find_keys(supervisor) == sorted(fields - {"path", "jobs", "control"})
    assert find_keys(control) == sorted(CONTROL_KEYS)
    assert find_keys(job) == sorted(JOB_KEYS)


def test_every_part_of_a_key_is_named() -> None:
    parts = [field.name for kind in (Backoff, GiveUp) for field in attrs.fields(kind)]

    assert [part for part in parts if not re.search(rf"[`{{ ]{part}\b", README)] == []


@pytest.mark.parametrize(("key", "parse"), [("ready", parse_ready), ("alive", parse_alive)])
def test_every_probe_is_named(key: str, parse: Callable[[object, Place], object]) -> None:
    (row,) = re.findall(rf"^\| `{key}` \|(.*?)\|", README, re.MULTILINE)
    place = Place(Mistakes("", ""), ())

    with pytest.raises(MistakeError) as told:
        parse({}, place)

    kinds, _ = str(told.value).removeprefix("must have one of ").split(", and has ")
    assert re.findall(r"`(\w+)`", row) == kinds.split(", ")


@pytest.mark.parametrize("folder", ["isolation", "supervisor"])
def test_every_module_has_its_place_in_the_overview(folder: str) -> None:
    (text,) = re.findall(
        rf"^\[{folder}/\]\({folder}/\).*?\n\n(.*?)\n\n", README, re.DOTALL | re.MULTILINE
    )
    patterns = re.findall(r"`([\w*]+)`", text)
    modules = [path.stem for path in (CHECKOUT / folder).glob("*.py") if path.stem != "__init__"]

    assert [name for name in modules if not any(fnmatch(name, p) for p in patterns)] == []
    assert [p for p in patterns if not any(fnmatch(name, p) for name in modules)] == []
