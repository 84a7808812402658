"""What one process of the server hands over to the next: its format, links, and what was not sent yet."""

import json
import os
import socket
import time

import gevent
import pytest

from tests.server.whole import Peer, Process, packet
from tests.support.serving import SUCCESS
from tests.support.settings import make_settings
from tools.harness.fake_kernel.codec import Function
from tools.harness.server import ROOT
from wstpserver.server.bridge.dispatcher import Dispatcher
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
from wstpserver.server.kernels.persistence import Persistence
from wstpserver.server.log import Log
from wstpserver.server.relay.sinks import FrameWriter

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
    monkeypatch.delattr(os, "memfd_create", raising=False)
    descriptor = store({"clients": [2]})
    assert fetch(descriptor)["clients"] == [2]


# A record of each format, as a server of its time has written it


class _StoredProcesses:
    """Takes the place of the launcher: the processes of a stored record do not exist."""

    def __init__(self):
        self.line = self
        self.persistence = Persistence(Log(), 0.0)

    def process_of_record(self, record, name):
        return Process()

    def join(self, *_):
        """No kernel is started here."""

    leave = join


@pytest.fixture
def stored():
    """(the record of format 1 with descriptors of this process, the other sides of its connections by name)."""
    record = json.loads((ROOT / "tests" / "data" / "handover-1.json").read_text(encoding="utf-8"))
    peers, others = {}, []
    ends = {f"client {number}": one for number, one in enumerate(record["clients"], 1)} | record["kernels"]
    for name, one in ends.items():
        for connection in ("data", "messages"):
            ours, theirs = _tcp_pair()
            one["link"][connection] = ours.detach()
            if connection == "data":
                peers[name] = Peer(theirs)
            else:
                others.append(theirs)
        one.get("process", {}).pop("output", None)
        for limited, key in ((one.get("wait", {}), "ends"), (one.get("time_limit", {}), "due")):
            if key in limited:
                limited[key] = time.monotonic() + 60.0  # the clock was that of another computer
    yield decode(json.dumps(record).encode()), peers
    for one in (*others, *peers.values()):
        one.close()


def test_a_record_of_format_1_is_gone_on_with(stored):
    record, peers = stored
    pool = {"name": "a", "KernelPath": "/bin/true", "MinimumKernelNumber": 0, "MaximumKernelNumber": 4}
    settings = make_settings(pools=[{**pool, "EvaluationTimeLimit": 1000}])
    dispatcher = Dispatcher(settings, Log(), _StoredProcesses())
    busy, asking, quiet = (one["kernel"] for one in record["registry"]["clients"] if "kernel" in one)
    (reserved,) = set(record["kernels"]) - {busy, asking, quiet}

    def serve(session, link, one):
        dispatcher.resume_command(session, one)
        session.run(link.leftover)

    running = [gevent.spawn(serve, *one) for one in dispatcher.go_on(record)]
    dispatcher.start()
    gevent.idle()
    kernels = dispatcher.registry.kernels
    assert [kernels[one].state.value for one in (busy, asking, reserved, quiet)] == [
        "bridged", "bridged", "reserved", "bridged",
    ]  # fmt: skip
    assert kernels[busy].busy and kernels[asking].evaluation.asking
    assert dispatcher.supervisor.sessions[kernels[reserved]].backlog.frames

    peers["client 2"].put(packet("TextPacket", "Ada"))
    gevent.idle()
    assert peers[asking].get() == ("TextPacket", "Ada")

    # the answer reaches its client; then the client whose command has waited for this kernel gets it
    peers[busy].put(packet("ReturnPacket", "done"))
    gevent.idle()
    assert peers["client 1"].get() == ("ReturnPacket", "done")
    assert peers["client 4"].get() == ("ReturnPacket", SUCCESS)
    assert peers["client 4"].get()[0] == "InputNamePacket"
    assert kernels[busy].client.name.startswith("Client 4 ")

    # what had come of a packet is completed by the rest of it
    peers["client 3"].put(b"x" * 100 + b"\n]")
    gevent.idle()
    assert peers[quiet].get() == ("EvaluatePacket", Function("StringLength", "x" * 100))

    for session in tuple(dispatcher.sessions.values()):
        session.end()
    gevent.joinall(running, timeout=60)
    dispatcher.stop()
