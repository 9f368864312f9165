"""The command `observability`, before one of its subcommands runs."""

from __future__ import annotations

import gc

import pytest

from observability.cli.main import module_of


@pytest.mark.parametrize("command", ["version", "nothing"])
def test_garbage_is_looked_for_again_once_a_command_is_imported(command: str) -> None:
    try:
        module_of(command)
    except ModuleNotFoundError:
        assert command == "nothing"
    assert gc.isenabled()
