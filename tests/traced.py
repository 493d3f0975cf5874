"""The system calls that processes make, as strace(1) tells them, but for what no two runs share.

What is left of a call is its name, its arguments without the numbers of descriptors, processes and
memory, and the name of the error if it failed. What the kernel answers in memory is left out.
"""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .requirements import requires

Calls = list[str]

# Without -v, structures are told in part; -s is more than any text that is written has.
_STRACE = ["strace", "-ff", "-qq", "-s", "4096", "-e", "signal=none", "--decode-pids=pidns"]
_PID = r" /\* (\d+) in strace's PID NS \*/"
_CALL = re.compile(r"(.*\)) += (?:-1 (E\w+)|.*)")
_CLONE = re.compile(rf"clone3\(.*\) += (\d+)(?:{_PID})?")
_WITH_DESCRIPTOR = (
    "close|fchdir|fcntl|fsconfig|fsmount|ioctl|mkdirat|mount_setattr|move_mount|openat|read|"
    "recvfrom|sendto|setns|statx|dup2|write|getsockname|getsockopt"
)
_TEXT = r'(?:"(?:[^"\\]|\\.)*"(?:\.\.\.)?|ADDRESS)'
_BLANKS = [
    (_PID, ""),
    (r"0x[0-9a-f]+", "ADDRESS"),
    (rf"^({_WITH_DESCRIPTOR})\(\d+", r"\1(FD"),
    (rf"^(symlinkat\({_TEXT}), \d+", r"\1, FD"),
    (rf"^(move_mount\(FD, {_TEXT}), \d+", r"\1, FD"),
    (r"^close_range\(\d+", "close_range(FD"),
    (r"^(close_range\(FD), (?!4294967295)\d+", r"\1, FD"),
    (r"^(pipe2|socketpair)\((.*)\[\d+, \d+\]", r"\1(\2[FD, FD]"),
    (r"\[\{fd=\d+", "[{fd=FD"),
    (r" => \{pidfd=\[\d+\]\}", ""),
    (r"^waitid\(P_PIDFD, \d+", "waitid(P_PIDFD, FD"),
    (r"/proc/\d+/", "/proc/PID/"),
    (rf'^readlink\("/proc/self/fd/\d+", {_TEXT}', 'readlink("/proc/self/fd/FD", TEXT'),
    (rf"^(read|recvfrom)\(FD, {_TEXT}", r"\1(FD, TEXT"),
    (r"\{(st|stx|si)_[^}]*\}", "ANSWER"),
    (r"^waitid\((.*), ADDRESS, ", r"waitid(\1, ANSWER, "),
]


def find_tracing_obstacle() -> str:
    """Say why no process can be traced here; "" if one can."""
    try:
        result = subprocess.run(
            ["strace", "-qq", "-e", "none", "true"], capture_output=True, check=False
        )
    except OSError as error:
        return f"cannot run strace: {error.strerror}"
    return result.stderr.decode().strip() if result.returncode else ""


requires_tracing = requires(find_tracing_obstacle)


class Traced:
    """What a program, and all that it started, has called the kernel for.

    Attributes:
        calls: By process.
    """

    def __init__(self, directory: Path) -> None:
        self._lines = {
            int(path.suffix[1:]): path.read_text(errors="replace").splitlines()
            for path in directory.iterdir()
        }
        self.calls = {pid: list(filter(None, map(_blank, self._lines[pid]))) for pid in self._lines}

    def list_clones(self, flag: str) -> list[tuple[int, int]]:
        """Return who has cloned whom by clone3(2) with this flag, in the order of each process."""
        return [
            (pid, int(found[2] or found[1]))
            for pid, lines in self._lines.items()
            for line in lines
            if flag in line and (found := _CLONE.match(line))
        ]


def trace(argv: Sequence[str], directory: Path, stdin: bytes = b"") -> Traced:
    """Run a program to its end, with signals as they are by default, and gain no privileges.

    Who is traced by an ordinary user gains none anyway, and would not get to know.
    """
    directory.mkdir()
    modest = [] if os.geteuid() == 0 else ["setpriv", "--no-new-privs"]
    subprocess.run(
        ["env", "--default-signal", *modest, *_STRACE, "-o", str(directory / "trace"), *argv],
        input=stdin,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return Traced(directory)


def _blank(line: str) -> str:
    """Return what is the same in another run; "" for what is no call."""
    found = _CALL.match(line)
    if found is None:
        return ""
    call, error = found[1], found[2]
    for pattern, blank in _BLANKS:
        call = re.sub(pattern, blank, call)
    return f"{call} {error}" if error else call
