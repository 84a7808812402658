"""Builtin symbols that Mathics lacks and a kernel behind a link needs."""

from __future__ import annotations

from mathics.core.builtin import Builtin
from mathics.core.definitions import Definitions

from wstpserver.embedded.builtins.control import CONTROL_BUILTINS
from wstpserver.embedded.builtins.server_functions import SERVER_BUILTINS

BUILTINS: tuple[type[Builtin], ...] = (*CONTROL_BUILTINS, *SERVER_BUILTINS)


def contribute_builtins(definitions: Definitions) -> None:
    """Define them all."""
    for builtin in BUILTINS:
        builtin(expression=False).contribute(definitions)
    definitions.clear_cache()
