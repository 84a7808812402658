"""Kernel IDs."""

from __future__ import annotations

import secrets

from wstpserver.model.ids import KernelIds, is_kernel_id


def test_ids_look_as_documented_and_never_repeat():
    ids = KernelIds(secrets.token_hex)
    made = [ids.new() for _ in range(1000)]
    assert len(set(made)) == 1000 and all(map(is_kernel_id, made))


def test_a_number_that_was_used_is_drawn_again():
    draws = iter(["a80626459651", "a80626459651", "825c6cbd129b"])
    ids = KernelIds(lambda size: next(draws))
    assert [ids.new(), ids.new()] == ["a806-2645-9651", "825c-6cbd-129b"]


def test_what_is_no_id():
    for text in ("", "a806", "A806-2645-9651", "a806-2645-9651 ", "KernelPoolOne"):
        assert not is_kernel_id(text)
