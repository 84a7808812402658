"""Who may import whom: layers of the package, no cycles, and the border between tests and tools.

Every import counts, also those for type checking only and those inside functions: a module that must know another one
is coupled to it, whatever the interpreter sees.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.cases import for_each

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "wstpserver"

#: What each layer may import from the package beside itself.
ALLOWED = {
    "_native": set(),
    "wire": {"_native"},
    "settings": {"wire"},
    "pools": {"wire", "settings"},
    "client": {"wire", "settings"},
    "keeper": {"_native"},
    "embedded": {"wire", "client"},
    "server": {"_native", "wire", "settings", "pools", "keeper"},
    "gateways": {"_native", "wire", "settings", "client"},
    "cli": {"wire", "settings", "client", "server", "gateways", "keeper"},
}

#: Layers under an older name.
RENAMED = {"model": "pools", "kernel": "embedded", "_wstpscan": "_native"}

#: Modules beside the layers, which every layer may import.
COMMON = {"version"}

#: What the pure layers must do without.
PURE = {"wire", "pools"}
IMPURE_MODULES = {"gevent", "socket", "time", "os", "logging"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_in(folder: Path) -> dict[str, Path]:
    return {module_name(path): path for path in sorted(folder.rglob("*.py"))}


MODULES = modules_in(PACKAGE)


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All statements, and what consists of statements; not the expressions, which are most of a tree."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            part = getattr(node, field, None)
            if isinstance(part, list):
                waiting += part


def imports(name: str, path: Path) -> Iterator[tuple[str, list[str]]]:
    """(module, names) of each import statement of a file; no names for `import module`."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            yield ".".join([*base, *([node.module] if node.module else [])]), [alias.name for alias in node.names]


@functools.cache
def imported(name: str, path: Path) -> set[str]:
    """Full names of what a file imports: modules, and names of modules that may be modules themselves."""
    found = set()
    for module, names in imports(name, path):
        found |= {f"{module}.{one}" for one in names} or {module}
    return found


def layer_of(name: str) -> str | None:
    """The layer that a module of the package belongs to; None for the few beside them."""
    parts = name.split(".")
    if parts[0] != "wstpserver" or len(parts) < 2 or parts[1] in COMMON or parts[1] == "__main__":
        return None
    return RENAMED.get(parts[1], parts[1])


@for_each([name for name in MODULES if layer_of(name)])
def test_a_module_imports_only_what_is_below_it(name):
    layer = layer_of(name)
    for target in imported(name, MODULES[name]):
        top = target.split(".")[0]
        other = layer_of(target)
        if other is not None:
            assert other == layer or other in ALLOWED[layer], f"{layer} must not import {target}"
        if layer != "server":
            assert top != "gevent", f"gevent belongs to the server, not to {layer}"
        if layer in PURE:
            assert top not in IMPURE_MODULES, f"{layer} is pure and must not import {target}"
        if layer == "keeper":
            in_c = other == "_native" and name == "wstpserver.keeper.relay"  # which the keeper itself does without
            assert in_c or other == layer or top in sys.stdlib_module_names, f"the keeper must not import {target}"


def test_every_layer_is_in_the_table():
    assert {layer_of(name) for name in MODULES} - {None} <= set(ALLOWED)


def test_the_table_has_no_cycle():
    """Layers point down only: each one's layers come before it in the table."""
    seen = set()
    for layer, below in ALLOWED.items():
        assert below <= seen, f"{layer} imports {below - seen}, which does not come before it"
        seen.add(layer)


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules each of which leads to all others of its group (Tarjan's components of more than one)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in graph[name]:
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in index:
            visit(name)
    return found


def graph_of(modules: dict[str, Path]) -> dict[str, set[str]]:
    """Which of the modules each one imports."""
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        targets = {target if target in modules else target.rpartition(".")[0] for target in imported(name, path)}
        graph[name] = (targets & modules.keys()) - {name}
    return graph


def test_no_cycle():
    found = cycles(graph_of(MODULES))
    assert not found, "\n".join(f"{len(group)} modules import one another: {', '.join(group)}" for group in found)


def test_cycles_are_found(tmp_path):
    """Also one that only type checking and a function's body show."""
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a", "d"}}) == [["b", "c"]]
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.b import X\n\ndef f():\n    import p.c\n"
    (tmp_path / "a.py").write_text(source)
    assert imported("p.a", tmp_path / "a.py") == {"typing.TYPE_CHECKING", "p.b.X", "p.c"}


# The border between tests and tools: both may use tools.harness; tests/tools test tools.bench.


def python_files(folder: str) -> dict[str, Path]:
    """All Python files of a folder, those without a suffix included."""
    found = modules_in(ROOT / folder)
    for path in sorted((ROOT / folder).iterdir()):
        if path.is_file() and not path.suffix and b"python" in path.read_bytes().split(b"\n", 1)[0]:
            found[f"{folder}.{path.name}"] = path
    return found


def test_tests_use_the_harness_and_nothing_else_of_the_tools():
    for name, path in python_files("tests").items():
        allowed = ("tools.harness", "tools.bench") if name.startswith("tests.tools.") else ("tools.harness",)
        for target in imported(name, path):
            assert not target.startswith("tools.") or target.startswith(allowed), f"{name} imports {target}"


def test_tools_use_no_tests():
    for name, path in python_files("tools").items():
        assert not [target for target in imported(name, path) if target.split(".")[0] == "tests"], name


def test_the_harness_stands_by_itself():
    """It is the witness against which the server is tested: it shares nothing with it, nor with what measures."""
    for name, path in modules_in(ROOT / "tools" / "harness").items():
        for target in imported(name, path):
            assert target.split(".")[0] != "wstpserver", f"{name} imports {target}"
            assert not target.startswith("tools.") or target.startswith("tools.harness"), f"{name} imports {target}"
