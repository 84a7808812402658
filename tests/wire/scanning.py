"""Runs the frame scanner over bytes cut in any way, and reports in the words of the oracle."""

from __future__ import annotations

from collections.abc import Iterable

from wstpserver._native import lib

from tests.wire.oracle import Event, Reading
from wstpserver.wire.frames import END, ERROR, MORE, TAIL, FrameScanner

MAX_UNDECIDED = lib.WSTPSCAN_MAX_UNDECIDED

_KINDS = {END: "END", TAIL: "TAIL"}


def scan_pieces(pieces: Iterable[bytes], scanner: FrameScanner) -> Reading:
    """Scan all pieces, or up to the error. An END that took its ``]`` along counts as END and TAIL."""
    events: list[Event] = []
    for piece in pieces:
        rest = memoryview(piece)
        while True:
            verdict = scanner.scan_bytes(rest)
            assert scanner.used <= len(rest)
            assert scanner.undecided <= MAX_UNDECIDED
            if verdict in (MORE, ERROR):
                break
            taken, rest = rest[: scanner.used], rest[scanner.used :]
            with_tail = verdict == END and taken[-1] == ord("]")
            head = (int(scanner.head), scanner.head_name)
            events.append(Event(_KINDS[verdict], scanner.state.consumed - with_tail, *head))
            if with_tail:
                events.append(Event("TAIL", scanner.state.consumed, *head))
        if verdict == ERROR:
            return Reading(events, 0, (scanner.state.error, scanner.error_offset or 0), False)
        assert scanner.used == len(rest)
    return Reading(events, scanner.undecided, None, scanner.at_boundary)


def scan(*pieces: bytes) -> Reading:
    """What a new scanner that reports everything says about these pieces of one stream."""
    return scan_pieces(pieces, FrameScanner())


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """``data`` cut before each of these offsets."""
    edges = [0, *sorted(places), len(data)]
    return [data[start:end] for start, end in zip(edges, edges[1:], strict=False)]


def skip(scanner: FrameScanner, count: int) -> int:
    """Pass over opaque bytes; returns how many it were."""
    return int(lib.wstpscan_skip(scanner.state, count))


def completion(scanner: FrameScanner, **limit: int) -> bytes:
    """The bytes that complete the frame in progress."""
    return b"".join(scanner.completion_in_parts(**limit))
