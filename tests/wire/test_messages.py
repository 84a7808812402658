"""Messages of the message connection, recorded and made up."""
from __future__ import annotations

import pytest

from tests.support.cases import for_all
from tests.wire.replay import load_conversations, pieces
from wstpserver.wire.errors import LocalProtocolError
from wstpserver.wire.packets import CLOSING, MessageCode, MessageReader, encode_message


@for_all("size", [None, 1, 3, 8])
def test_recorded_messages(size: int | None) -> None:
    seen = []
    for conversation in load_conversations():
        for sent in (conversation.connecting, conversation.listening):
            stream = b"".join(sent.get(1, []))
            stream = stream[55:] if stream.startswith(b"id=") else stream
            reader = MessageReader()
            messages = [message for piece in pieces(stream, size) for message in reader.feed(piece)]
            seen.append(messages)
            assert reader.closing == stream.endswith(CLOSING)
            assert reader.at_boundary
    assert [(MessageCode.INTERRUPT, 0), (MessageCode.ABORT, 0), (MessageCode.LINK_CLOSING, 0)] in seen
    assert [(MessageCode.ABORT, 0)] in seen


@for_all("size", [None, 1, 5])
def test_all_codes(size: int | None) -> None:
    sent = [(code, code * 7) for code in (1, 2, 3, 4, 5, 6, 7, 8, 10, 64, 128, 200, 255, 300, 2**32 - 1)]
    sent = [(code, argument % 2**32) for code, argument in sent]
    reader = MessageReader()
    stream = b"".join(encode_message(code, argument) for code, argument in sent)
    assert [message for piece in pieces(stream, size) for message in reader.feed(piece)] == sent
    assert not reader.closing


def test_known_codes_have_names() -> None:
    ((code, argument),) = MessageReader().feed(encode_message(MessageCode.SYNCHRONIZE, 9))
    assert (type(code), code, argument) == (MessageCode, MessageCode.SYNCHRONIZE, 9)
    ((code, _),) = MessageReader().feed(encode_message(77))
    assert type(code) is int


def test_closing_needs_no_argument_and_ends_everything() -> None:
    reader = MessageReader()
    assert reader.feed(CLOSING[:3]) == []
    assert not reader.at_boundary
    assert reader.feed(CLOSING[3:]) == [(MessageCode.LINK_CLOSING, 0)]
    assert reader.closing
    assert reader.feed(encode_message(2)) == []
    # a program that sends code 9 itself sends all 8 bytes
    assert MessageReader().feed(encode_message(9, 4)) == [(MessageCode.LINK_CLOSING, 0)]


@for_all(("code", "argument"), [(-1, 0), (1, -1), (2**32, 0), (1, 2**32)])
def test_numbers_must_fit(code: int, argument: int) -> None:
    with pytest.raises(LocalProtocolError, match="32 bits"):
        encode_message(code, argument)
