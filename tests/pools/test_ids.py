"""Kernel IDs."""

from __future__ import annotations

import secrets

from wstpserver.pools.states import KernelIds, is_kernel_id, permutation


def test_ids_look_as_documented_and_never_repeat():
    ids = KernelIds(secrets.token_bytes(32))
    made = [ids.new() for _ in range(1000)]
    assert len(set(made)) == 1000 and all(map(is_kernel_id, made))


def test_every_number_comes_once():
    permuted = permutation(b"some key", 12)
    found = [permuted(number) for number in range(1 << 12)]
    assert sorted(found) == list(range(1 << 12)) and found != sorted(found)


def test_the_key_decides():
    one, other = (KernelIds(bytes([number]) * 16) for number in (1, 2))
    again = KernelIds(bytes([1]) * 16)
    first = [one.new() for _ in range(100)]
    assert first == [again.new() for _ in range(100)]
    assert not set(first) & {other.new() for _ in range(100)}


def test_ids_that_follow_each_other_have_nothing_in_common():
    """Of 48 bits half differ on average; for these hundred pairs the mean is 24 with a deviation of 0.35."""
    ids = KernelIds(b"a fixed key for this test")
    numbers = [int(ids.new().replace("-", ""), 16) for _ in range(101)]
    differing = [bin(one ^ other).count("1") for one, other in zip(numbers, numbers[1:], strict=False)]
    assert 22.5 < sum(differing) / 100 < 25.5


def test_what_is_no_id():
    for text in ("", "a806", "A806-2645-9651", "a806-2645-9651 ", "KernelPoolOne"):
        assert not is_kernel_id(text)
