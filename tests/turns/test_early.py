"""What a client sends before it has a kernel reaches the kernel afterwards, in order, messages included."""
from __future__ import annotations

import contextlib

import pytest

from tests.support.scripted_kernel import ScriptedKernels
from tests.support.serving import one_pool, serving
from tests.turns.player import DEADLINE, NOTHING
from tools.harness.fake_kernel.codec import Function, encode


@pytest.fixture
def starting(tmp_path):
    """(server, kernel, client): the client waits for the only kernel there may be, which is not ready yet."""
    with ScriptedKernels() as kernels:
        configuration = one_pool(kernels.path, KeepAlive=False, MaximumKernelNumber=1)
        with (
            serving(tmp_path, configuration) as server,
            contextlib.closing(kernels.accept()) as kernel,
            server.connect() as client,
        ):
            yield server, kernel, client


def answer(client):
    """The next packet that a client gets, without what the server tells those who wait."""
    while True:
        head, *arguments = client.get_packet()
        if not (head == "TextPacket" and arguments[0].startswith("WSTPServer: ")):
            return (head, *arguments)


def noticed(kernel):
    """The next message that a kernel gets; NOTHING if none comes."""
    kernel.link.message.settimeout(DEADLINE)
    try:
        return kernel.link.get_message()
    except TimeoutError:
        return NOTHING


def test_packets(starting):
    server, kernel, client = starting
    client.put("EnterTextPacket", "1")
    client.put("Foo", 2)
    frames = kernel.become_ready(server)
    while len(frames) < 2:
        frames.append(kernel.link.get_raw())
    assert frames == [encode(Function("EnterTextPacket", "1")), encode(Function("Foo", 2))]
    assert answer(client) == ("InputNamePacket", "In[1]:= ")


@pytest.mark.parametrize("code", [2, 3, 128])
def test_a_message_behind_a_packet(starting, code):
    server, kernel, client = starting
    client.put("EnterTextPacket", "1")
    client.send_message(code, 5)
    frames = kernel.become_ready(server)
    if not frames:
        frames.append(kernel.link.get_raw())
    assert frames == [encode(Function("EnterTextPacket", "1"))]
    assert noticed(kernel) == (code, 5)
    kernel.link.put("InputNamePacket", "In[2]:= ")
    assert answer(client) == ("InputNamePacket", "In[1]:= ")
    assert answer(client) == ("InputNamePacket", "In[2]:= ")
