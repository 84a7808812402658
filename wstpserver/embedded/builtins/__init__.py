"""Symbols that Mathics lacks, or has otherwise than a Wolfram kernel."""

from __future__ import annotations

from mathics.core.builtin import Builtin
from mathics.core.definitions import Definitions

from wstpserver.embedded.builtins.collections import COLLECTIONS, install_named_slots
from wstpserver.embedded.builtins.control import CONTROL_BUILTINS, SERVER_BUILTINS
from wstpserver.embedded.builtins.data import DATA
from wstpserver.embedded.builtins.graphics import GRAPHICS
from wstpserver.embedded.builtins.graphs import GRAPHS, install_edges
from wstpserver.embedded.builtins.library import Library, install_language
from wstpserver.embedded.builtins.links import LINKS
from wstpserver.embedded.builtins.mathematics import MATHEMATICS
from wstpserver.embedded.builtins.numerics import NUMERICS, install_fast_arithmetic, install_nothing
from wstpserver.embedded.builtins.packed import PACKED, install_part_assignment
from wstpserver.embedded.builtins.parallel import PARALLEL
from wstpserver.embedded.builtins.text import TEXT, install_text

BUILTINS: tuple[type[Builtin], ...] = (*CONTROL_BUILTINS, *SERVER_BUILTINS)

LIBRARIES: tuple[Library, ...] = (
    COLLECTIONS, DATA, GRAPHICS, GRAPHS, LINKS, MATHEMATICS, NUMERICS, PACKED, PARALLEL, TEXT,
)  # fmt: skip


def contribute_builtins(definitions: Definitions) -> None:
    """Define all symbols."""
    install_text()
    install_named_slots()
    install_nothing()
    install_fast_arithmetic()
    install_part_assignment()
    for builtin in BUILTINS:
        builtin(expression=False).contribute(definitions)
    for library in LIBRARIES:
        library.contribute(definitions)
    install_edges(definitions)
    install_language(definitions)
    definitions.clear_cache()
