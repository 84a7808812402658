"""Builtin symbols that Mathics does not have, and a kernel behind a link needs."""

from __future__ import annotations

from mathics.core.builtin import Builtin
from mathics.core.definitions import Definitions

from wstpserver.kernel.builtins.control import CONTROL_BUILTINS
from wstpserver.kernel.builtins.dialogue import DIALOGUE_BUILTINS
from wstpserver.kernel.builtins.server_functions import SERVER_BUILTINS

BUILTINS: tuple[type[Builtin], ...] = (*CONTROL_BUILTINS, *DIALOGUE_BUILTINS, *SERVER_BUILTINS)


def contribute_builtins(definitions: Definitions) -> None:
    """Define them all."""
    for builtin in BUILTINS:
        builtin(expression=False).contribute(definitions)
    definitions.clear_cache()
