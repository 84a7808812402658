"""Kernel IDs such as `a806-2645-9651`."""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import blake2b

#: What a kernel ID looks like (lower-case hexadecimal, as in the specification's examples).
KERNEL_ID = re.compile(r"[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}\Z")

#: Bits of an ID, and rounds of the network below.
BITS = 48
ROUNDS = 10


class KernelIds:
    """Hands out IDs, none of them twice, without remembering any: a server may start millions of kernels.

    They are the numbers 0, 1, 2 ... behind a permutation that *key* chooses. Pass 16 to 64 bytes from
    `secrets.token_bytes`, because a client that knows an ID may take the kernel over: no ID may be guessed from others.
    """

    def __init__(self, key: bytes) -> None:
        self._permuted = permutation(key, BITS)
        self._number = 0

    def new(self) -> str:
        """Return a fresh ID."""
        digits = f"{self._permuted(self._number):012x}"
        self._number += 1
        return f"{digits[:4]}-{digits[4:8]}-{digits[8:]}"


def permutation(key: bytes, bits: int) -> Callable[[int], int]:
    """Return a permutation of the numbers of so many *bits* (even) that cannot be computed without the *key*."""
    half = bits // 2
    mask = (1 << half) - 1

    def mixed(turn: int, number: int) -> int:
        digest = blake2b(turn.to_bytes(1, "big") + number.to_bytes(8, "big"), key=key, digest_size=8).digest()
        return int.from_bytes(digest, "big") & mask

    def permuted(number: int) -> int:
        # A Feistel network: each round can be undone whatever `mixed` returns, so different numbers stay different.
        left, right = number >> half & mask, number & mask
        for turn in range(ROUNDS):
            left, right = right, left ^ mixed(turn, right)
        return left << half | right

    return permuted


def is_kernel_id(text: str) -> bool:
    """Tell whether *text* has the form of a kernel ID (not whether such a kernel exists)."""
    return KERNEL_ID.match(text) is not None
