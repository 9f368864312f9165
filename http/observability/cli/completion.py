"""`observability completion`: scripts that complete the commands and their flags in a shell."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from observability.cli.main import COMMANDS, module_of

_DESCRIPTION: Final = """\
Prints a script that completes commands, flags and paths.

  bash   observability completion bash > ~/.local/share/bash-completion/completions/observability
  zsh    observability completion zsh > "${fpath[1]}/_observability\""""

_BASH: Final = """\
_observability() {
    local word=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=()
    if [[ $COMP_CWORD -eq 1 ]]; then
        COMPREPLY=($(compgen -W "%(commands)s" -- "$word"))
    elif [[ $word == -* || ${COMP_WORDS[1]} == completion ]]; then
        local words
        case ${COMP_WORDS[1]} in
%(cases)s
        esac
        COMPREPLY=($(compgen -W "$words" -- "$word"))
    fi
}
complete -o default -F _observability observability
"""

_ZSH: Final = """\
#compdef observability
if (( CURRENT == 2 )); then
    compadd -- %(commands)s
elif [[ $words[CURRENT] == -* || $words[2] == completion ]]; then
    case $words[2] in
%(cases)s
    esac
else
    _files
fi
"""
_CASES: Final = {"bash": '            %s) words="%s" ;;', "zsh": "        %s) compadd -- %s ;;"}
SHELLS: Final = tuple(_CASES)


def completion(arguments: Sequence[str]) -> int:
    """Prints the script; returns the exit code."""
    shell = parser().parse_args(arguments).shell
    cases = "\n".join(_CASES[shell] % (command, " ".join(_words(command))) for command in COMMANDS)
    script = _BASH if shell == "bash" else _ZSH
    print(script % {"commands": " ".join(COMMANDS), "cases": cases}, end="")
    return 0


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parsing = argparse.ArgumentParser(
        prog="observability completion",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parsing.add_argument("shell", choices=SHELLS)
    return parsing


def _words(command: str) -> list[str]:
    """Returns the long flags of a command, and the words that it takes."""
    actions = module_of(command).parser()._actions
    flags = {option for action in actions for option in action.option_strings if option.startswith("--")}
    words = {word for action in actions if not action.option_strings for word in action.choices or ()}
    return sorted(flags) + sorted(words)
