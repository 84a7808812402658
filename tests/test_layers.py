"""Imports point downward only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "wstpserver"

#: What each layer may import from the package beside itself.
ALLOWED = {
    "wire": set(),
    "settings": {"wire", "version"},
    "pools": {"wire", "settings"},
    "client": {"wire", "settings"},
    "kernel": {"wire", "client", "version"},
    "server": {"wire", "settings", "pools", "version"},
    "cli": {"wire", "settings", "client", "server", "version"},
}

#: What the pure layers must do without, and gevent, which only the server may use.
PURE = {"wire", "pools"}
IMPURE_MODULES = {"gevent", "socket", "time", "os", "logging"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


def imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports when it runs (not for type checking only)."""
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    package = ("wstpserver", *path.relative_to(PACKAGE).parts[:-1])

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            found.add(".".join(part for part in (base, node.module or "") if part))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_is_below_it(path):
    layer = path.relative_to(PACKAGE).parts[0]
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "wstpserver" and len(parts) > 1 and parts[1] not in (layer, "_native"):
            assert parts[1] in ALLOWED[layer], f"{layer} must not import {name}"
        if layer != "server":
            assert parts[0] != "gevent", f"gevent belongs to the server, not to {layer}"
        if layer in PURE:
            assert parts[0] not in IMPURE_MODULES, f"{layer} is pure and must not import {name}"


def test_every_layer_is_in_the_table():
    assert {path.relative_to(PACKAGE).parts[0] for path in modules()} == set(ALLOWED)
