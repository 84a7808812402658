"""Symbols that Mathics lacks, or has otherwise than a Wolfram kernel."""

from __future__ import annotations

from mathics.core.builtin import Builtin
from mathics.core.definitions import Definitions

from wstpserver.embedded.builtins.control import CONTROL_BUILTINS
from wstpserver.embedded.builtins.library import Library
from wstpserver.embedded.builtins.links import LINKS
from wstpserver.embedded.builtins.server_functions import SERVER_BUILTINS
from wstpserver.embedded.builtins.text import TEXT, install_text

BUILTINS: tuple[type[Builtin], ...] = (*CONTROL_BUILTINS, *SERVER_BUILTINS)

LIBRARIES: tuple[Library, ...] = (LINKS, TEXT)


def contribute_builtins(definitions: Definitions) -> None:
    """Define all symbols."""
    install_text()
    for builtin in BUILTINS:
        builtin(expression=False).contribute(definitions)
    for library in LIBRARIES:
        library.contribute(definitions)
    definitions.clear_cache()
