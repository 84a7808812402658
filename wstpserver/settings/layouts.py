"""Where Wolfram products put their kernel on each system.

The folders are those the products' own installers use (and the documentation's examples name); the
patterns are relative to the root of the file system, on Windows to the drive.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Installations of one system.

    ``programs`` are the kernel's file names on PATH, best first. ``installations`` are patterns of
    installation folders and ``kernels`` the places of the kernel inside one, best first;
    ``per_user`` are further patterns under the home folder.
    """

    programs: tuple[str, ...]
    installations: tuple[str, ...]
    per_user: tuple[str, ...]
    kernels: tuple[str, ...]


#: Product folders and applications that hold no kernel one may use from outside.
NOT_A_KERNEL = ("player", "wolframscript", "workbench", "cdf", "documentation", "alpha")

#: Products in the order of choice among installations of the same version.
PRODUCTS = ("mathematica", "wolfram", "wolframdesktop", "wolframengine")

LINUX = Layout(
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

MACOS = Layout(
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

WINDOWS = Layout(
    # wolfram.exe is the console program; WolframKernel.exe opens a window of its own.
    programs=("wolfram.exe", "WolframKernel.exe", "MathKernel.exe"),
    installations=("Program Files/Wolfram Research/*/*", "Program Files (x86)/Wolfram Research/*/*"),
    per_user=("AppData/Local/Programs/Wolfram Research/*/*",),
    kernels=("wolfram.exe", "WolframKernel.exe", "math.exe", "MathKernel.exe"),
)


def layout_of(platform: str) -> Layout:
    """The layout of a ``sys.platform``; systems we do not know are taken for a Unix."""
    if platform == "darwin":
        return MACOS
    return WINDOWS if platform.startswith("win") else LINUX
