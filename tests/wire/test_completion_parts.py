"""A completion in parts is the completion, and never all in memory."""

import tracemalloc

import pytest

from tests.support.cases import for_all
from wstpserver.wire.completion import PART_SIZE
from wstpserver.wire.errors import LocalProtocolError
from wstpserver.wire.frames import END, MORE, FrameScanner


def scanned(data):
    scanner = FrameScanner(())
    scanner.scan_bytes(data)
    assert scanner.error is None
    return scanner


BEGINNINGS = [
    b"", b"F", b"FB#DA~Af\n", b'"1000003 A~1000000 xx', b"F300000 #DA~Af\n", b"F90000 #DA~Af\nP90000 \xf6abc",
]  # fmt: skip


@for_all("beginning", BEGINNINGS)
def test_the_parts_together_are_the_completion(beginning):
    scanner = scanned(beginning)
    parts = list(scanner.completion_in_parts())
    whole = FrameScanner()
    assert whole.scan_bytes(beginning + b"".join(parts)) == (END if beginning else MORE)
    assert whole.at_boundary
    assert all(len(part) <= PART_SIZE for part in parts)


def test_a_gigabyte_takes_no_memory():
    parts = scanned(b'"1000000003 A~1000000000 xx').completion_in_parts(limit=1 << 30)
    tracemalloc.start()
    assert sum(map(len, parts)) > 999_000_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * PART_SIZE


def test_what_cannot_be_completed_is_refused_before_anything_is_asked_for():
    with pytest.raises(LocalProtocolError):
        scanned(b'"4294967296 A~').completion_in_parts()
