"""Every expression of the protocol vectors crosses a bridge unchanged, both ways, however it is cut."""
import json
import random
import socket
import struct
from pathlib import Path

import pytest

from tools.harness.fake_kernel.codec import Function, Packed, Raw, Symbol, decode, encode
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool

DATA = Path(__file__).parents[1] / "data"
VECTORS = [
    (f"{path.stem.partition('-')[2]} {vector['name']}", bytes.fromhex(vector["wire"]))
    for path in sorted(DATA.glob("expressions-*.json"))
    for vector in json.loads(path.read_text(encoding="utf-8"))
]


def is_for_the_server(wire):
    """Commands end at the server, and are not for the kernel to see."""
    value = decode(wire)
    return isinstance(value, Function) and value.is_head("WSCommandPacket")


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    """serving(**behaviour) -> a running server with such kernels, one for the whole module."""
    running = {}

    def start(**behaviour):
        key = repr(behaviour)
        if key not in running:
            folder = tmp_path_factory.mktemp("server")
            settings = pool(make_kernel(folder, **behaviour), MinimumKernelNumber=1, KeepAlive=False)
            running[key] = ServerProcess(folder, {"Pools": {"Bytes": settings}})
            running[key].__enter__()
        return running[key]

    yield start
    for server in running.values():
        server.__exit__(None, None, None)


@pytest.fixture(params=["whole frames", "small writes"])
def writing(request):
    """How the kernel writes its frames: the latter in pieces of 7 bytes."""
    return request.param


@pytest.fixture
def link(writing, serving):
    """A client's link after its first prompt."""
    server = serving() if writing == "whole frames" else serving(write_size=7)
    with server.connect() as connected:
        assert connected.get_packet()[0] == "InputNamePacket"
        yield connected


def test_echoed_inside_an_evaluation(link):
    for name, wire in VECTORS:
        expression = Raw(wire.removesuffix(b"]"))
        link.put("EvaluatePacket", Function("Echo", expression))
        assert link.get_raw() == encode(Function("ReturnPacket", expression)), name


def test_echoed_frame_by_frame(serving):
    """The mirror kernel sends each frame back as a frame, then ends what was an evaluation."""
    with serving(mirror=True).connect() as link:
        assert link.get_packet()[0] == "InputNamePacket"
        for name, wire in VECTORS:
            if is_for_the_server(wire):
                continue
            link.put_raw(wire)
            assert link.get_raw() == wire.removesuffix(b"]"), name
            head = decode(wire).head if isinstance(decode(wire), Function) else None
            if head == Symbol("EvaluatePacket"):
                assert link.get_packet() == ("ReturnPacket", Symbol("Null"))
            elif head in (Symbol("EnterTextPacket"), Symbol("EnterExpressionPacket")):
                assert link.get_packet()[0] == "InputNamePacket"


def test_cut_at_random(link):
    """The same bytes in pieces of 1 to 50, each in a segment of its own."""
    link.data.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pieces = random.Random(1)
    expressions = [Raw(wire.removesuffix(b"]")) for _, wire in VECTORS if len(wire) < 600]
    stream = b"".join(encode(Function("EvaluatePacket", Function("Echo", raw))) + b"]" for raw in expressions)
    position = 0
    while position < len(stream):
        size = pieces.randint(1, 50)
        link.put_raw(stream[position : position + size])
        position += size
    for raw in expressions:
        assert link.get_raw() == encode(Function("ReturnPacket", raw))


def test_ends_of_packets_may_be_left_out(link):
    for _, wire in VECTORS[:40]:
        expression = Raw(wire.removesuffix(b"]"))
        link.put_raw(encode(Function("EvaluatePacket", Function("Echo", expression))))
        assert link.get_raw() == encode(Function("ReturnPacket", expression))


def test_many_reals(writing, link):
    count = 1_000_000 if writing == "whole frames" else 50_000
    packed = Function("List", Packed(0xF6, count, struct.pack(f"<{count}d", *range(count))))
    link.put("EvaluatePacket", Function("Echo", packed))
    assert link.get_raw() == encode(Function("ReturnPacket", packed))
