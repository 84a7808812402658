"""Kernel IDs such as ``a806-2645-9651``."""

from __future__ import annotations

import re
from collections.abc import Callable

#: What a kernel ID looks like (lower-case hexadecimal, as in the specification's examples).
KERNEL_ID = re.compile(r"[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}\Z")


class KernelIds:
    """Hands out IDs that were never handed out before by this object.

    *random_hex* takes a number of bytes and returns twice as many hexadecimal digits; pass
    ``secrets.token_hex``, because whoever knows an ID may take the kernel over.
    """

    def __init__(self, random_hex: Callable[[int], str]) -> None:
        self._random_hex = random_hex
        self._used: set[str] = set()

    def new(self) -> str:
        """Return a fresh ID."""
        while True:
            digits = self._random_hex(6)
            name = f"{digits[:4]}-{digits[4:8]}-{digits[8:]}"
            if name not in self._used:
                self._used.add(name)
                return name


def is_kernel_id(text: str) -> bool:
    """Tell whether *text* has the form of a kernel ID (not whether such a kernel exists)."""
    return KERNEL_ID.match(text) is not None
