"""The vendor's library as client and as kernel, with the server between."""
import subprocess

import pytest

from tests.interop.programs import StepError
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.fake_kernel.codec import Symbol
from tools.harness.kernels import make_kernel
from tools.harness.server import ROOT, ServerProcess, pool

#: Text that a careless treatment of characters breaks, each for a reason of its own.
TEXTS = {
    "ascii": "hello world",
    "latin": "".join(map(chr, range(0xA1, 0x100))),
    "greek and kanji": "λx 日本語",
    "astral": "a😀b𝔸𐍈",
    "marks of the protocol": 'F@#]"\\ \\:03bb \\351 ]\n]',
    "controls": "".join(map(chr, range(1, 0x20))) + "\x7f",
    "long": "é" * 70_000,
    "empty": "",
    "private and last": "\ue000\ufffd",
}


def quoted(text):
    """As a step of the client writes a string: bytes below space, quotes and backslashes as \\xx."""
    escaped = "".join(f"\\{ord(char):02x}" if char < " " or char in '"\\' else char for char in text)
    return f'"{escaped}"'


@pytest.fixture(params=["light kernel", "vendor kernel"])
def server(request, tmp_path):
    """A server with one kernel that clients get one after the other: the test suite's or the vendor's."""
    is_vendor = request.param == "vendor kernel"
    kernel = request.getfixturevalue("vendor_kernel") if is_vendor else make_kernel(tmp_path)
    settings = pool(kernel, MinimumKernelNumber=1, ReservePreviouslyConnectedKernels=False)
    with ServerProcess(tmp_path, {"Pools": {"Interop": settings}}) as running:
        running.is_vendor = is_vendor
        yield running


@pytest.fixture
def client(vendor_client, server):
    """The vendor's client, connected, its first prompt read."""
    vendor_client.connect(server.port)
    assert vendor_client.read() == 'InputNamePacket["In[1]:= "]'
    return vendor_client


def test_example_program(compiled, server):
    program = compiled(ROOT / "examples" / "evaluate.c")
    done = subprocess.run([program, f"{server.port}@127.0.0.1"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2 + 2 = 4\n", "")


def test_example_program_without_a_server(compiled):
    program = compiled(ROOT / "examples" / "evaluate.c")
    done = subprocess.run([program, "1@127.0.0.1"], capture_output=True, text=True, timeout=60)
    assert done.returncode in (2, 3)
    assert done.stderr


def test_evaluates(client):
    client.step("plus 2 40")
    assert client.read() == "ReturnPacket[42]"


def test_text_input(client):
    client.step('text "2+3"')
    packets = [client.read() for _ in range(3)]
    assert packets == ['OutputNamePacket["Out[1]= "]', 'ReturnTextPacket["5"]', 'InputNamePacket["In[2]:= "]']


def test_packed_reals(client):
    assert client.step("reals 1000000") == "1000000 equal"
    client.step("plus 1 1")
    assert client.read() == "ReturnPacket[2]"


@pytest.mark.parametrize("name", TEXTS)
def test_text_arrives_unchanged(client, name):
    client.step(f"call Echo {quoted(TEXTS[name])}")
    assert client.read() == f"ReturnPacket[{quoted(TEXTS[name])}]"


def test_commands(client):
    client.step("command GetPoolName")
    assert client.read() == 'ReturnPacket["{\\22result\\22:\\22Interop\\22}"]'


def begin_long_evaluation(client, server):
    """An evaluation that has certainly begun."""
    if server.is_vendor:
        client.step("call Spin 60")
        assert client.read() == 'TextPacket["spinning"]'
    else:
        client.step('text "Print[\\22spinning\\22]; Spin[60]"')
        assert client.read() == 'TextPacket["spinning\\0a"]'


def test_abort(client, server):
    begin_long_evaluation(client, server)
    client.step("abort")
    answers = [client.read(deadline=60)]
    while len(answers) < (1 if server.is_vendor else 3):
        answers.append(client.read(deadline=60))
    assert any("$Aborted" in answer for answer in answers)
    client.step("plus 1 1")
    assert client.read() == "ReturnPacket[2]"


@pytest.mark.parametrize("leaving", ["close", "die"])
@pytest.mark.parametrize("before", ["nothing", "plus 1 1", "half"])
def test_kernel_serves_the_next_client(client, server, leaving, before):
    """However a client leaves, the next one gets the kernel, and nothing of the conversation before."""
    if before != "nothing":
        client.step(before)
    if leaving == "die":
        client.send("die")
        client.process.wait(60)
    else:
        client.step("close")
    with server.connect() as following:
        head, prompt = following.get_packet()
        assert (head, prompt.startswith("In[")) == ("InputNamePacket", True)
        assert following.evaluate(call("Plus", 2, 2)) == 4
        assert len(server.processes()) == 1


def test_kernel_death_is_told(client):
    client.step("call Die")
    assert client.read(deadline=60).startswith('TextPacket["WSTPServer: the kernel died: ')
    with pytest.raises(StepError) as caught:
        client.read(deadline=60)
    assert caught.value.code in (1, 11)  # 1: what the library says to an end without closing message


def test_kernel_quits(client):
    with pytest.raises(StepError) as caught:
        client.step("call Quit")
        client.read(deadline=60)
    assert caught.value.code in (1, 11)


def test_vendor_kernel_serves_a_raw_client(server):
    """The other pairing: a client that shows every byte."""
    with server.connect() as link:
        assert link.get_packet()[0] == "InputNamePacket"
        for text in TEXTS.values():
            assert link.evaluate(call("Echo", text)) == text
        link.put("EvaluatePacket", call("Echo", Symbol("x")))
        assert link.get_packet() == ("ReturnPacket", Symbol("x"))
