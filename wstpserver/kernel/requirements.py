"""What has to be installed for a kernel to run, checked without importing it."""

from __future__ import annotations

from importlib.util import find_spec

#: Importable names. Mathics imports ``packaging`` without declaring it; without it number theory fails to load, and a
#: line on stdout is the only sign.
REQUIRED = ("mathics", "mathics_scanner", "packaging")


def missing_packages() -> list[str]:
    """The required packages that cannot be found."""
    return [name for name in REQUIRED if find_spec(name) is None]


def explain_missing(names: list[str]) -> str:
    """What to tell the user, in one paragraph."""
    return (
        f"wstpkernel: the embedded kernel needs {' and '.join(names)}, which is not installed for this Python. "
        "Install it with: pip install 'wstpserver[mathics]'"
    )
