"""`observability completion`: scripts that complete the commands and their flags in a shell."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from observability.cli.main import COMMANDS
from observability.config.command_line import build_argument_parser

_DESCRIPTION: Final = """\
Prints a script that completes commands, flags and paths.

  bash   observability completion bash > ~/.local/share/bash-completion/completions/observability
  zsh    observability completion zsh > "${fpath[1]}/_observability\""""

# The commands that take the settings of the server.
CONFIGURED: Final = ("serve", "check", "config")

_BASH: Final = """\
_observability() {
    local word=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=()
    if [[ $COMP_CWORD -eq 1 ]]; then
        COMPREPLY=($(compgen -W "%(commands)s" -- "$word"))
    elif [[ $word == -* ]]; then
        case ${COMP_WORDS[1]} in
            %(configured)s) COMPREPLY=($(compgen -W "%(flags)s" -- "$word")) ;;
            *) COMPREPLY=($(compgen -W "--help" -- "$word")) ;;
        esac
    fi
}
complete -o default -F _observability observability
"""

_ZSH: Final = """\
#compdef observability
if (( CURRENT == 2 )); then
    compadd -- %(commands)s
elif [[ $words[CURRENT] == -* ]]; then
    case $words[2] in
        %(configured)s) compadd -- %(flags)s ;;
        *) compadd -- --help ;;
    esac
else
    _files
fi
"""


def completion(arguments: Sequence[str]) -> int:
    """Prints the script; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="observability completion",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=("bash", "zsh"))
    shell = parser.parse_args(arguments).shell
    flags = sorted(
        option for action in build_argument_parser()._actions for option in action.option_strings if len(option) > 2
    )
    script = _BASH if shell == "bash" else _ZSH
    print(
        script % {"commands": " ".join(COMMANDS), "configured": "|".join(CONFIGURED), "flags": " ".join(flags)}, end=""
    )
    return 0
