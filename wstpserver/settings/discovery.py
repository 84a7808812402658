"""Finding a kernel for pools whose KernelPath is automatic.

First the programs on PATH, then the installation folders of the system with the newest version first,
then the embedded kernel that is installed with this package. Run as a program it prints what it finds::

    python -m wstpserver.settings.discovery [--any]

with exit code 0 if a Wolfram kernel was found and 1 if not; ``--any`` accepts the embedded kernel.
"""

from __future__ import annotations

import importlib.metadata
import os
import plistlib
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wstpserver.settings.layouts import NOT_A_KERNEL, PRODUCTS, Layout, layout_of

#: The command of the embedded kernel and the distribution that it needs.
EMBEDDED_PROGRAM = "wstpkernel"
EMBEDDED_DISTRIBUTION = "Mathics3"

WOLFRAM = "wolfram"
EMBEDDED = "embedded"


@dataclass(frozen=True)
class Discovered:
    """A kernel: its path, ``kind`` "wolfram" or "embedded", and in words where it was found."""

    path: str
    kind: str
    where: str


def find_kernel(
    root: Path | None = None,
    platform: str = sys.platform,
    environ: Mapping[str, str] | None = None,
    scripts: Iterable[Path] | None = None,
    embedded: bool = True,
) -> Discovered | None:
    """The kernel to use by default, or None.

    ``root`` replaces the root of the file system (for tests; then PATH and the home folder are taken
    under it too), ``scripts`` the folders in which the embedded kernel's program may be.
    """
    environ = os.environ if environ is None else environ
    layout = layout_of(platform)
    tree = _Tree(root, platform, environ)
    for path in _on_path(layout, tree):
        return Discovered(str(path), WOLFRAM, "found on PATH")
    for path in _installed(layout, tree):
        return Discovered(str(path), WOLFRAM, "found among the installed products")
    return find_embedded(platform, scripts) if embedded else None


def find_embedded(platform: str = sys.platform, scripts: Iterable[Path] | None = None) -> Discovered | None:
    """The embedded kernel's program, if it and the packages it needs are installed. Imports none of them."""
    if not embedded_is_installed():
        return None
    name = EMBEDDED_PROGRAM + (".exe" if platform.startswith("win") else "")
    for folder in _script_folders() if scripts is None else scripts:
        if _is_program(folder / name):
            return Discovered(str(folder / name), EMBEDDED, "the embedded kernel")
    return None


def embedded_is_installed() -> bool:
    """Whether the distribution that the embedded kernel runs on is installed."""
    try:
        importlib.metadata.distribution(EMBEDDED_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def kernel_kind(path: str) -> str:
    """The kind of kernel a path names: "embedded" for this package's own program, else "wolfram"."""
    name = re.split(r"[/\\]", path)[-1].lower()
    return EMBEDDED if name.removesuffix(".exe") == EMBEDDED_PROGRAM else WOLFRAM


class _Tree:
    """The file system that is searched, possibly a made-up one."""

    def __init__(self, root: Path | None, platform: str, environ: Mapping[str, str]) -> None:
        self._made_up = root is not None
        self._windows = platform.startswith("win")
        self._environ = environ
        self.root = root if root is not None else self._real_root()

    def _real_root(self) -> Path:
        drive = self._environ.get("SystemDrive", "C:") if self._windows else ""
        return Path(drive + os.sep)

    def place(self, path: str) -> Path:
        """A path of the system as a path we can look at."""
        if not self._made_up:
            return Path(path)
        return self.root / re.sub(r"^[A-Za-z]:", "", path).replace("\\", "/").lstrip("/")

    def path_folders(self) -> Iterator[Path]:
        for folder in self._environ.get("PATH", "").split(";" if self._windows else ":"):
            if folder:
                yield self.place(folder)

    def home(self) -> Path | None:
        found = self._environ.get("USERPROFILE" if self._windows else "HOME", "")
        return self.place(found) if found else None

    def glob(self, base: Path, pattern: str) -> list[Path]:
        """Matches of a pattern; a folder that may not be read has none."""
        try:
            return sorted(base.glob(pattern))
        except OSError:
            return []


def _on_path(layout: Layout, tree: _Tree) -> Iterator[Path]:
    """Kernels on PATH: by name first, as a product's own name says more than the order of PATH."""
    for program in layout.programs:
        for folder in tree.path_folders():
            if _is_program(folder / program):
                yield folder / program


def _installed(layout: Layout, tree: _Tree) -> list[Path]:
    """Kernels in installation folders, the one to choose first."""
    folders: dict[Path, None] = {}
    for pattern in layout.installations:
        folders.update(dict.fromkeys(tree.glob(tree.root, pattern)))
    home = tree.home()
    if home is not None:
        for pattern in layout.per_user:
            folders.update(dict.fromkeys(tree.glob(home, pattern)))
    found = [
        (_version(folder), -_product_rank(folder), -number, kernel)
        for number, folder in enumerate(folders)
        if not _excluded(folder)
        for kernel in _kernels_in(layout, folder)
    ]
    return [kernel for *_, kernel in sorted(found, key=lambda entry: entry[:3], reverse=True)]


def _kernels_in(layout: Layout, folder: Path) -> list[Path]:
    """The best kernel inside one installation folder, as a list of at most one."""
    return [folder / place for place in layout.kernels if _is_program(folder / place)][:1]


def _product(folder: Path) -> str:
    """Name of the product: the folder's own, or its parent's where the folder is named by a version."""
    name = folder.parent.name if re.match(r"\d", folder.name) else folder.name
    return name.removesuffix(".app").replace(" ", "").lower()


def _excluded(folder: Path) -> bool:
    return any(part in _product(folder) for part in NOT_A_KERNEL)


def _product_rank(folder: Path) -> int:
    """Place in the order of products, for installations of the same version."""
    product = re.sub(r"[-_.\d]+$", "", _product(folder))
    return PRODUCTS.index(product) if product in PRODUCTS else len(PRODUCTS)


def _version(folder: Path) -> tuple[int, ...]:
    """Version of an installation: what it says of itself, else the folder's name; () if unknown."""
    texts = (_text_of(folder / ".VersionID"), _bundle_version(folder), folder.name)
    for text in texts:
        match = re.search(r"\d+(?:\.\d+)*", text)
        if match:
            return tuple(int(part) for part in match.group().split(".")[:6])
    return ()


def _bundle_version(folder: Path) -> str:
    """The version in a macOS application's property list, "" if there is none."""
    try:
        with open(folder / "Contents" / "Info.plist", "rb") as file:
            return str(plistlib.load(file).get("CFBundleShortVersionString", ""))
    except Exception:  # noqa: BLE001 - whatever is wrong with somebody else's file, it says no version
        return ""


def _text_of(path: Path) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(100)
    except OSError:
        return ""


def _is_program(path: Path) -> bool:
    try:
        return path.is_file() and os.access(path, os.X_OK)
    except OSError:
        return False


def _script_folders() -> list[Path]:
    """Where programs of installed packages are: beside the interpreter, and by the install scheme."""
    return [Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))]


def main(arguments: list[str]) -> int:
    """The command line of this module."""
    accept_any = "--any" in arguments
    if set(arguments) - {"--any"}:
        print("Usage: python -m wstpserver.settings.discovery [--any]", file=sys.stderr)
        return 64
    found = find_kernel()
    if found is None:
        print("no kernel found", file=sys.stderr)
        return 1
    print(f"{found.path} ({found.kind}, {found.where})")
    return 0 if found.kind == WOLFRAM or accept_any else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
