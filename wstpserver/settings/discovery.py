"""Where things are on this computer: the kernel of pools without KernelPath, and the configuration folder.

A kernel is looked for among the programs on PATH, then in the installation folders of the system with the
newest version first, then comes the embedded kernel of this package. As a program the module prints what it
finds:

    python -m wstpserver.settings.discovery [--any]

The exit code is 0 if a Wolfram kernel was found and 1 if not; `--any` accepts the embedded kernel.

For pools with KernelLauncher the source of this module is run on the other machine: it uses the standard library alone
and works with Python 3.8.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# Kernels

#: The command of the embedded kernel and the distribution that it needs.
EMBEDDED_PROGRAM = "wstpkernel"
EMBEDDED_DISTRIBUTION = "Mathics3"

WOLFRAM = "wolfram"
EMBEDDED = "embedded"


@dataclass(frozen=True)
class Discovered:
    """A kernel: its path, its `kind` ("wolfram" or "embedded"), and in words where it was found."""

    path: str
    kind: str
    where: str


@dataclass(frozen=True)
class _Layout:
    """Where Wolfram products put their kernel on one system.

    The folders are those of the products' own installers. Patterns are relative to the root of the file
    system, on Windows to the drive.

    Attributes:
        programs: File names of the kernel on PATH, best first.
        installations: Patterns of installation folders.
        per_user: Further patterns under the home folder.
        kernels: Places of the kernel inside an installation folder, best first.
    """

    programs: tuple[str, ...]
    installations: tuple[str, ...]
    per_user: tuple[str, ...]
    kernels: tuple[str, ...]


#: Product folders and applications without a kernel that other programs may use.
_NOT_A_KERNEL = ("player", "wolframscript", "workbench", "cdf", "documentation", "alpha")

#: Products in the order of choice among installations of the same version.
_PRODUCTS = ("mathematica", "wolfram", "wolframdesktop", "wolframengine")

_LINUX = _Layout(
    programs=("WolframKernel", "wolfram", "MathKernel"),
    installations=(
        "usr/local/Wolfram/*/*",
        "usr/local/Wolfram/*",
        "opt/Wolfram/*/*",
        "opt/Wolfram/*",
        "opt/[Mm]athematica*",
        "opt/[Mm]athematica/*",
        "opt/[Ww]olfram*",
        "opt/[Ww]olfram[-A-Z]*/*",
    ),
    per_user=(".Wolfram/*/*", "Wolfram/*/*"),
    kernels=("Executables/WolframKernel", "Executables/wolfram", "Executables/MathKernel"),
)

_MACOS = _Layout(
    programs=("WolframKernel", "wolfram", "MathKernel"),
    installations=("Applications/*.app", "Applications/*/*.app"),
    per_user=("Applications/*.app",),
    kernels=(
        "Contents/MacOS/WolframKernel",
        "Contents/MacOS/MathKernel",
        # The free engine wraps the kernel in an application of its own.
        "Contents/Resources/Wolfram Player.app/Contents/MacOS/WolframKernel",
    ),
)

_WINDOWS = _Layout(
    # wolfram.exe is the console program; WolframKernel.exe opens a window of its own.
    programs=("wolfram.exe", "WolframKernel.exe", "MathKernel.exe"),
    installations=("Program Files/Wolfram Research/*/*", "Program Files (x86)/Wolfram Research/*/*"),
    per_user=("AppData/Local/Programs/Wolfram Research/*/*",),
    kernels=("wolfram.exe", "WolframKernel.exe", "math.exe", "MathKernel.exe"),
)


def _layout_of(platform: str) -> _Layout:
    """Return the layout of a `sys.platform`; an unknown system counts as a Unix."""
    if platform == "darwin":
        return _MACOS
    return _WINDOWS if platform.startswith("win") else _LINUX


def find_kernel(
    root: Path | None = None,
    platform: str = sys.platform,
    environ: Mapping[str, str] | None = None,
    scripts: Iterable[Path] | None = None,
) -> Discovered | None:
    """Find the kernel to use by default.

    Args:
        root: Replaces the root of the file system, for tests; PATH and the home folder are then under it too.
        platform: The system, as `sys.platform`.
        environ: The environment; None for that of this process.
        scripts: The folders in which the embedded kernel's program may be; None for those of this Python.

    Returns:
        The kernel, None if there is none.
    """
    environ = os.environ if environ is None else environ
    layout = _layout_of(platform)
    tree = _Tree(root, platform, environ)
    for path in _on_path(layout, tree):
        return Discovered(str(path), WOLFRAM, "found on PATH")
    for path in _installed(layout, tree):
        return Discovered(str(path), WOLFRAM, "found among the installed products")
    return find_embedded(platform, scripts)


def find_embedded(platform: str = sys.platform, scripts: Iterable[Path] | None = None) -> Discovered | None:
    """Find the embedded kernel's program, if the packages it needs are installed. Imports none of them."""
    if not embedded_is_installed():
        return None
    name = EMBEDDED_PROGRAM + (".exe" if platform.startswith("win") else "")
    for folder in _script_folders() if scripts is None else scripts:
        if _is_program(folder / name):
            return Discovered(str(folder / name), EMBEDDED, "the embedded kernel")
    return None


def embedded_is_installed() -> bool:
    """Return whether the distribution that the embedded kernel runs on is installed."""
    import importlib.metadata  # slow to import, and the client library imports this module

    try:
        importlib.metadata.distribution(EMBEDDED_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def kernel_kind(path: str) -> str:
    """Return the kind of kernel a path names: "embedded" for this package's own program, else "wolfram"."""
    name = re.split(r"[/\\]", path)[-1].lower()
    return EMBEDDED if name in (EMBEDDED_PROGRAM, EMBEDDED_PROGRAM + ".exe") else WOLFRAM


class _Tree:
    """The file system that is searched, or a simulated one."""

    def __init__(self, root: Path | None, platform: str, environ: Mapping[str, str]) -> None:
        self._simulated = root is not None
        self._windows = platform.startswith("win")
        self._environ = environ
        self.root = root if root is not None else self._real_root()

    def _real_root(self) -> Path:
        drive = self._environ.get("SystemDrive", "C:") if self._windows else ""
        return Path(drive + os.sep)

    def place(self, path: str) -> Path:
        """Return a path of the system as a path that can be opened."""
        if not self._simulated:
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
        """Return the matches of a pattern; a folder that cannot be read has none."""
        try:
            return sorted(base.glob(pattern))
        except OSError:
            return []


def _on_path(layout: _Layout, tree: _Tree) -> Iterator[Path]:
    """Yield kernels on PATH, ordered by program name first: it says more than the order of PATH."""
    for program in layout.programs:
        for folder in tree.path_folders():
            if _is_program(folder / program):
                yield folder / program


def _installed(layout: _Layout, tree: _Tree) -> list[Path]:
    """Return kernels in installation folders, the best first."""
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


def _kernels_in(layout: _Layout, folder: Path) -> list[Path]:
    """Return the best kernel inside one installation folder, as a list of at most one."""
    return [folder / place for place in layout.kernels if _is_program(folder / place)][:1]


def _product(folder: Path) -> str:
    """Return the product's name: the folder's own, or its parent's where the folder is named by a version."""
    name = folder.parent.name if re.match(r"\d", folder.name) else folder.name
    return re.sub(r"\.app$", "", name).replace(" ", "").lower()


def _excluded(folder: Path) -> bool:
    return any(part in _product(folder) for part in _NOT_A_KERNEL)


def _product_rank(folder: Path) -> int:
    """Return the place in the order of products, for installations of the same version."""
    product = re.sub(r"[-_.\d]+$", "", _product(folder))
    return _PRODUCTS.index(product) if product in _PRODUCTS else len(_PRODUCTS)


def _version(folder: Path) -> tuple[int, ...]:
    """Return an installation's version from its own files, else from the folder's name; () if unknown."""
    texts = (_text_of(folder / ".VersionID"), _bundle_version(folder), folder.name)
    for text in texts:
        match = re.search(r"\d+(?:\.\d+)*", text)
        if match:
            return tuple(int(part) for part in match.group().split(".")[:6])
    return ()


def _bundle_version(folder: Path) -> str:
    """Return the version in a macOS application's property list, "" if there is none."""
    path = folder / "Contents" / "Info.plist"
    if not path.is_file():
        return ""
    import plistlib  # of use on one system only, and slow to import

    try:
        with open(path, "rb") as file:
            return str(plistlib.load(file).get("CFBundleShortVersionString", ""))
    except Exception:  # noqa: BLE001 - a damaged file of another program has no version
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
    """Return where programs of installed packages are: beside the interpreter, and by the install scheme."""
    import sysconfig  # slow to import, and the client library imports this module

    return [Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))]


# Folders

FILE_NAME = "wstpserver.conf"
FOLDER_NAME = "WSTPServer"


def application_data_file(
    platform: str = sys.platform, environ: Mapping[str, str] = os.environ, home: Path | None = None
) -> Path | None:
    """Return the configuration file in the application data directory, whether it exists or not.

    That is the folder WSTPServer in `%APPDATA%` on Windows, `~/Library/Application Support/WSTPServer` on macOS, else
    `WSTPServer` in XDG_CONFIG_HOME (only if absolute, as its specification says) or `~/.config`.

    Args:
        platform: The system, as `sys.platform`.
        environ: The environment.
        home: The user's home folder, see `home_folder`.

    Returns:
        The path, None when the user has no home folder.
    """
    folder: Path | None = None
    if platform.startswith("win"):
        if environ.get("APPDATA"):
            folder = Path(environ["APPDATA"])
        elif home is not None:
            folder = home / "AppData" / "Roaming"
    elif platform == "darwin":
        folder = None if home is None else home / "Library" / "Application Support"
    else:
        configured = environ.get("XDG_CONFIG_HOME", "")
        if PurePosixPath(configured).is_absolute():
            folder = Path(configured)
        elif home is not None:
            folder = home / ".config"
    return None if folder is None else folder / FOLDER_NAME / FILE_NAME


def home_folder() -> Path | None:
    """Return the user's home folder, None if there is none (a service without HOME and without an account)."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def working_folder() -> Path:
    """Return the current folder, or the root folder if the current one was deleted."""
    try:
        return Path.cwd()
    except OSError:
        return Path(os.sep).absolute()


# The program


def main(arguments: list[str]) -> int:
    """Run the command line of this module; returns the exit code."""
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
