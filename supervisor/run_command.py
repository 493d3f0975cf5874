"""`mocker run`: one container in the foreground, from command line to exit status."""

import os
from _collections_abc import Sequence

from mocker.isolation import IsolationError, default_rootfs, describe

from .foreground import are_one_terminal, fill_standard_descriptors, run_foreground
from .run_options import RunRequest, parse_run_arguments, render_help
from .stderr import make_printable, write_line


def run(arguments: Sequence[str]) -> int:
    """Carry out the words after `mocker run` and return the exit status."""
    fill_standard_descriptors()
    terminal = are_one_terminal(0, 1)
    try:
        request = parse_run_arguments(arguments, _choose_rootfs, terminal=terminal)
        if request is None:
            print(render_help(), end="")
            return os.EX_OK
        return _carry_out(request)
    except IsolationError as error:
        tell(str(error))
        return error.exit_code


def tell(text: str) -> None:
    """Say something to the person who called, on one line of stderr."""
    write_line(f"mocker run: {text}")


def _carry_out(request: RunRequest) -> int:
    if request.dry_run or request.explain:
        for line in _tell_in_advance(request):
            print(make_printable(line))
        return os.EX_OK
    if request.spec.terminal:
        from .terminal_run import run_on_terminal

        return run_on_terminal(request.spec, request.timeout, tell)
    silent = [sink.kind for sink in request.sinks] == ["null"]
    if request.sinks and not silent:
        from .logged_run import run_logged

        return run_logged(request, tell)
    return run_foreground(request.spec, request.timeout, tell, silent=silent)


def _tell_in_advance(request: RunRequest) -> list[str]:
    lines = list(describe(request.spec)) if request.dry_run else []
    if request.explain:
        from .explanation import explain, render

        lines += render(explain(request.spec))
    return lines


def _choose_rootfs() -> str:
    rootfs, note = default_rootfs()
    if note:
        tell(note)
    return rootfs
