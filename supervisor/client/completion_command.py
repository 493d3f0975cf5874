"""`mocker completion`: what makes a shell complete the command lines of mocker.

The script of each shell is a few lines that ask for the words that may stand there, with `--list`:
so they are those of the mocker that is installed and of the jobs that there are, and three shells
need not be told three times.
"""

import io
import os
from collections.abc import Sequence
from contextlib import redirect_stdout

from mocker.isolation import SpecError

from ..stderr import write_line
from .candidates import find_candidates

_WRONG_USAGE = 2
_FILES = 10  # an exit status: the shell may offer names of files

_BASH = """\
_mocker_complete() {
    local found status
    found=$(mocker completion --list "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    status=$?
    COMPREPLY=()
    [[ -z $found ]] || mapfile -t COMPREPLY <<<"$found"
    [[ $status != 10 ]] || compopt -o default
    [[ $found != *= ]] || compopt -o nospace
}
complete -F _mocker_complete mocker
"""
_ZSH = """\
#compdef mocker
_mocker() {
    local -a found
    found=("${(@f)$(mocker completion --list "${(@)words[2,CURRENT]}" 2>/dev/null; print -r "$?")}")
    local result=${found[-1]}
    found=(${found[1,-2]})
    (( ${#found} )) && compadd -a found
    [[ $result != 10 ]] || _files
}
compdef _mocker mocker
"""
_FISH = """\
function __mocker_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    mocker completion --list $words[2..-1] "$current" 2>/dev/null
    test $status -eq 10; and __fish_complete_path "$current"
end
complete -c mocker -f -a '(__mocker_complete)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_HELP = """\
usage: mocker completion bash|zsh|fish

Print what makes this shell complete the commands, options and jobs of mocker.

in bash:  source <(mocker completion bash)      in ~/.bashrc
in zsh:   source <(mocker completion zsh)       in ~/.zshrc, after compinit
in fish:  mocker completion fish | source       in ~/.config/fish/config.fish
"""


def complete(words: Sequence[str]) -> int:
    """Carry out the words after `mocker completion` and return the exit status."""
    match list(words):
        case ["--list", *line]:
            return _list_candidates(line)
        case ["--help" | "-h"]:
            print(_HELP, end="")
            return os.EX_OK
        case [shell] if shell in _SCRIPTS:
            print(_SCRIPTS[shell], end="")
            return os.EX_OK
        case _:
            write_line("mocker completion: bash, zsh or fish is needed")
            return _WRONG_USAGE


def _list_candidates(line: Sequence[str]) -> int:
    """Print what may stand in place of the last word of a line, that has been begun."""
    found = find_candidates(line or [""], _read_help)
    for candidate in found or ():
        print(candidate)
    return _FILES if found is None else os.EX_OK


def _read_help(command: str) -> str:
    """Return what --help says of a command, or of mocker; empty if there is no such command."""
    from ..cli import run_command

    shown = io.StringIO()
    with redirect_stdout(shown):
        try:
            run_command([command, "--help"] if command else ["--help"])
        except SpecError:
            return ""
    return shown.getvalue()
