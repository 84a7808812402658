"""What one process of the server hands over to the next: its format, links, and what was not sent yet."""
import json
import os
import socket

import gevent
import pytest

from wstpserver.server import handover
from wstpserver.server.connection import Connection
from wstpserver.server.handover import (
    FORMAT,
    HandoverError,
    check_format,
    decode,
    descriptors,
    encode,
    fetch,
    link_of_record,
    link_record,
    packed,
    store,
    unpacked,
)
from wstpserver.server.relay.frame_writer import FrameWriter

SEVERAL_BUFFERS = 8_000_000


def test_a_record_comes_back_as_it_was():
    record = {"kernels": {"a": {"link": {"received": packed(b"\x00\xff")}}}, "clients": []}
    found = decode(encode(record))
    assert {key: found[key] for key in record} == record
    assert found["format"] == FORMAT
    assert unpacked(found["kernels"]["a"]["link"]["received"]) == b"\x00\xff"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b"[]", "has no format"),
        (b'{"format": "1"}', "has no format"),
        (json.dumps({"format": FORMAT + 1, "program": "9.9"}).encode(), "what version 9.9 hands over"),
        (b'{"format": 0}', "only formats up to"),
    ],
)
def test_what_is_no_record_is_refused_with_the_reason(data, message):
    with pytest.raises(HandoverError, match=message):
        decode(data)


def test_every_format_up_to_the_present_one_is_known():
    for number in range(1, FORMAT + 1):
        check_format(number)


def test_a_stored_record_is_read_once_and_its_file_closed():
    descriptor = store({"clients": [1]})
    assert os.get_inheritable(descriptor)
    assert fetch(descriptor)["clients"] == [1]
    with pytest.raises(OSError):
        os.fstat(descriptor)


def test_a_descriptor_that_is_none_is_a_clear_error():
    with pytest.raises(HandoverError, match="cannot be read"):
        fetch(999_999)


def test_descriptors_are_found_wherever_they_are():
    record = {
        "kernels": {"a": {"process": {"pid": 77, "output": {"descriptor": 3}}, "link": {"data": 4, "messages": 5}}},
        "clients": [{"link": {"data": 6, "messages": 7}}],
        "listeners": [{"descriptor": 8}],
    }
    assert sorted(descriptors(record)) == [3, 4, 5, 6, 7, 8]


@pytest.fixture
def pairs():
    opened = [_tcp_pair() for _ in range(2)]
    yield opened
    for pair in opened:
        for one in pair:
            one.close()


def _tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    return ours, theirs


def _read(connected, size):
    data = bytearray()
    while len(data) < size:
        part = gevent.get_hub().threadpool.apply(connected.recv, (1 << 20,))
        assert part
        data += part
    return bytes(data)


def test_a_link_goes_on_where_it_was(pairs):
    (data, peer), (messages, _) = pairs
    before = Connection(data), Connection(messages)
    record = json.loads(json.dumps(link_record(*before, 6, "peer", received=b"F", messages_received=b"\x00")))
    numbers = {"data": os.dup(record["data"]), "messages": os.dup(record["messages"])}
    link = link_of_record(record | numbers)
    try:
        assert (link.leftover, link.messages_leftover) == (b"F", b"\x00")
        assert (link.greeting_version, link.address) == (6, "peer")
        assert not os.get_inheritable(link.data.socket.fileno())
        link.data.send(b"on")
        assert peer.recv(10) == b"on"
    finally:
        link.close()


def test_half_a_link_leaves_nothing_open(pairs):
    (data, _), _ = pairs
    number = os.dup(data.fileno())
    with pytest.raises(OSError):
        link_of_record({"data": number, "messages": 999_999, "version": 4})
    with pytest.raises(OSError):
        os.fstat(number)


def test_what_a_slow_reader_has_not_taken_is_kept_and_sent_first(pairs):
    (data, peer), _ = pairs
    connection = Connection(data)
    writer, source = FrameWriter(connection), object()
    frame = b"x" * SEVERAL_BUFFERS + b"]"
    writing = gevent.spawn(writer.write, source, frame, at_boundary=True)
    gevent.idle()
    assert not writing.ready(), "it was to wait for the reader"
    connection.keep_unsent()
    writing.join()
    assert 0 < len(connection.unsent) < len(frame)
    assert not connection.handle.free, "C must not pass what is kept"
    writer.write(object(), b"second]", at_boundary=True)
    assert connection.unsent.endswith(b"]second]")
    writer.go_on(connection.take_unsent(), None)
    third = gevent.spawn(writer.write, object(), b"third]", at_boundary=True)
    assert _read(peer, len(frame) + 13) == frame + b"second]third]"
    third.join()
    assert connection.handle.free
    connection.close()


def test_nothing_unsent_leaves_the_connection_free_for_c(pairs):
    (data, _), _ = pairs
    connection = Connection(data)
    writer = FrameWriter(connection)
    writer.go_on(b"", None)
    assert connection.handle.free
    writer.go_on(b"", object())
    assert not connection.handle.free, "a late ] may come"
    connection.close()


def test_a_record_in_an_unnamed_file_where_the_system_has_no_memory_files(monkeypatch):
    monkeypatch.delattr(handover.os, "memfd_create", raising=False)
    descriptor = store({"clients": [2]})
    assert fetch(descriptor)["clients"] == [2]
