"""Clients that die: their kernel works on, and the next client hears nothing of them."""

import pytest

from tests.server.transfers import LARGE, Peak, send_until_stuck
from tests.support.serving import (
    MEBIBYTE,
    Calm,
    Since,
    evaluate_length,
    join,
    kernel_id,
    kernel_process,
    long_text,
    one_pool,
    ready_kernels,
    serving,
    wait_until_busy,
)
from tools.harness.fake_kernel.codec import Function, Symbol, encode
from tools.harness.kernels import make_kernel

NULL = Symbol("Null")
UNBRIDGED = "unbridged from kernel .*: the client's link ended"
WAYS = ["close", "close politely", "reset", "half"]


@pytest.fixture(scope="module")
def _single(tmp_path_factory):
    """One kernel that clients get one after the other."""
    folder = tmp_path_factory.mktemp("single")
    keys = {"MaximumKernelNumber": 1, "ReservePreviouslyConnectedKernels": False}
    with serving(folder, one_pool(make_kernel(folder), 1, **keys)) as server:
        ready_kernels(server, 1)
        with join(server) as link:
            pid = kernel_process(link)
        yield server, Calm(server, 1), pid


@pytest.fixture
def single(_single):
    """The server with one kernel, which must be the same and alone at the end."""
    server, calm, pid = _single
    calm.wait()
    yield server
    with join(server) as link:
        assert kernel_process(link) == pid
    calm.assert_again()


def leave(link, how):
    """End a link as a program ends one that closes it, crashes, or loses its network half way."""
    if how == "reset":
        link.reset()
    elif how == "half":
        link.message.close()
        link.data.close()
    else:
        link.close(politely=how == "close politely")


@pytest.mark.parametrize("how", WAYS)
def test_idle(single, how):
    link = join(single)
    link.evaluate(Function("Set", Symbol("x"), 7))
    leave(link, how)
    with join(single) as following:
        assert following.evaluate(Function("Get", Symbol("x"))) == 7


@pytest.mark.parametrize("how", WAYS)
def test_in_the_middle_of_an_evaluation(single, gate, how):
    """The evaluation goes on; what it writes is kept and is nothing of the next client's."""
    link = join(single)
    identifier = kernel_id(link)
    text = Function("CompoundExpression", Function("Print", "before"), gate.busy(), Function("Print", "after"), 99)
    link.put("EvaluatePacket", text)
    assert link.get_packet() == ("TextPacket", "before\n")
    gate.wait_until_reached()
    since = Since(single)
    leave(link, how)
    since.wait_for(UNBRIDGED)
    with single.connect() as following:
        following.put("WSCommandPacket", Function("ConnectKernel", identifier, 20))
        since.wait_for(f"waits up to 20 s for kernel {identifier}")
        gate.open()
        assert following.answer() == ("ReturnPacket", '{"status":"ExecutionSuccess"}')
        assert following.get_packet()[0] == "InputNamePacket"
        assert following.evaluate("mine") == "mine"
        assert [(packet.head.name, packet.args[0]) for packet in missed(following)] == [
            ("TextPacket", "after\n"),
            ("ReturnPacket", 99),
        ]


def test_what_a_kernel_wrote_for_one_client_is_nothing_of_another(single, gate):
    """Only who asks for the kernel by its ID can read it."""
    link = join(single)
    link.put("EvaluatePacket", Function("CompoundExpression", gate.busy(), "secret"))
    gate.wait_until_reached()
    since = Since(single)
    link.close()
    since.wait_for(UNBRIDGED)
    gate.open()
    with join(single) as following:
        assert missed(following) == []


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("part", [3, 20, 30, 1000])
def test_in_the_middle_of_a_small_frame(single, part, how):
    """A small frame reaches the kernel whole or not at all: the kernel does not even notice."""
    beginning, end = evaluate_length(3000)
    with join(single) as link:
        evaluations = link.evaluate(Function("Evaluations"))
    link = join(single)
    link.put_raw((beginning + b"x" * 3000 + end)[:part])
    leave(link, how)
    with join(single) as following:
        assert following.evaluate(Function("Evaluations")) == evaluations + 1


def test_at_every_byte_of_a_small_frame(single):
    frame = encode(Function("EvaluatePacket", Function("Plus", 1, 2.5, "three"))) + b"]"
    with join(single) as link:
        evaluations = link.evaluate(Function("Evaluations"))
    for part in range(len(frame) - 1):
        link = join(single)
        link.put_raw(frame[:part])
        link.close()
    with join(single) as following:
        assert following.evaluate(Function("Evaluations")) == evaluations + 1


@pytest.mark.parametrize("how", WAYS)
def test_in_the_middle_of_a_large_text(single, how):
    """The kernel gets its frame completed and evaluates it; nobody sees the answer."""
    beginning, _ = evaluate_length(1_000_000)
    link = join(single)
    evaluations = link.evaluate(Function("Evaluations"))
    identifier = kernel_id(link)
    link.put_raw(beginning + b"x" * 200_000)
    wait_until_busy(single, identifier)
    leave(link, how)
    with join(single) as following:
        assert following.evaluate("mine") == "mine"
        assert following.evaluate(Function("Evaluations")) == evaluations + 3
        assert missed(following) == []


def test_what_would_take_much_to_complete_closes_the_kernel(tmp_path):
    """60 megabytes are announced and a tenth of one is sent: the kernel goes, and another one comes."""
    beginning, _ = evaluate_length(LARGE)
    with serving(tmp_path, one_pool(make_kernel(tmp_path), 1)) as server:
        with join(server) as link:
            since = Since(server)
            process, identifier = kernel_process(link), kernel_id(link)
            link.put_raw(beginning + b"x" * 100_000)
            wait_until_busy(server, identifier)
        with Peak(server) as peak, join(server) as following:
            assert kernel_process(following) != process
        assert peak.growth < 24 * MEBIBYTE
        since.wait_for(f"Kernel {identifier} .* died: a client left it in the middle of a frame")


def missed(link):
    """The packets that the kernel wrote while nobody listened."""
    link.put("WSCommandPacket", Function("GetMissedOutput"))
    head, value = link.get_packet()
    assert head == "ReturnPacket"
    return value.args[1].args


LARGE_PARTS = {
    "a list of numbers": b"F30000 #GA~DList\n" + b"\xe4\1\0\0\0\n" * 12_000,
    "a packed block": b"F50000 #GA~DList\nP50000 \xf6" + bytes(100_001),
    "a rectangular array": b"A40000 D^FB#GA~DList\nF20000 #GA~DList\n.\nP40000 \xe4" + bytes(90_001),
    "nested functions": b"FA#DA~Af\n" * 8_000,
    "a function with many arguments": b"F30000 #DA~Af\n" + b'"EA~Bab\n' * 15_000,
    "a real in digits": b"*100009 A~100000 " + b"7" * 70_000,
}


@pytest.mark.parametrize("case", LARGE_PARTS)
@pytest.mark.parametrize("cut", [0, 1, 7])
def test_in_the_middle_of_other_large_expressions(single, case, cut):
    """What is missing becomes $Aborted, whatever has begun is filled up."""
    data = b"FA#QA~NEvaluatePacket\nFB#GA~DHold\n" + LARGE_PARTS[case]
    link = join(single)
    identifier = kernel_id(link)
    link.put_raw(data[: len(data) - cut])
    wait_until_busy(single, identifier)
    link.close()
    with join(single) as following:
        assert following.evaluate("mine") == "mine"
        assert missed(following) == []


def test_a_large_frame_that_is_no_evaluation(single):
    """The kernel gets a whole frame of a head that it does not know."""
    beginning, _ = long_text("TextPacket", 1_000_000)
    link = join(single)
    link.put_raw(beginning + b"x" * 200_000)
    link.close()
    with join(single) as following:
        assert following.evaluate(4) == 4
        last = following.evaluate(Function("Received")).args[-1]
        assert (last.head.name, len(last.args[0])) == ("TextPacket", 1_000_000)


@pytest.mark.parametrize("how", WAYS)
def test_with_evaluations_waiting(single, gate, how):
    """What was sent ahead and not begun is dropped with its client."""
    link = join(single)
    evaluations = link.evaluate(Function("Evaluations"))
    link.put("EvaluatePacket", gate.busy())
    gate.wait_until_reached()
    for _ in range(5):
        link.put("EvaluatePacket", Function("Set", Symbol("stale"), 1))
    link.put("WSCommandPacket", Function("GetKernelID"))  # read after the evaluations
    assert link.get_packet()[0] == "ReturnPacket"
    since = Since(single)
    leave(link, how)
    since.wait_for(UNBRIDGED)
    gate.open()
    with join(single) as following:
        assert following.evaluate(Function("Evaluations")) == evaluations + 2


@pytest.mark.parametrize("how", WAYS)
def test_while_its_kernel_writes(single, gate, how):
    """The rest of a frame that was on its way goes nowhere."""
    link = join(single)
    link.put("EvaluatePacket", Function("HalfFrame", gate.path, 500_000))
    assert link.data.recv(1000)
    since = Since(single)
    leave(link, how)
    since.wait_for(UNBRIDGED)
    gate.open()
    with join(single) as following:
        assert following.evaluate("mine") == "mine"


@pytest.mark.parametrize("size", [1000, 500_000])
def test_a_client_that_dies_while_its_kernel_does_not_read(tmp_path, gate, size):
    """Megabytes of this client's are stuck in front of a kernel that is busy: still the client is given up, and what
    the server had in hand of its frames needs no kernel any more."""
    beginning, end = long_text("TextPacket", size)
    keys = {"MaximumKernelNumber": 1, "ReservePreviouslyConnectedKernels": False}
    with serving(tmp_path, one_pool(make_kernel(tmp_path), 1, **keys), grace={"client": 0.5}) as server:
        link = join(server)
        link.put("EvaluatePacket", gate.busy())
        gate.wait_until_reached()
        send_until_stuck(link.data, (beginning + b"x" * size + end) * (LARGE // size))
        since = Since(server)
        link.close()
        since.wait_for(UNBRIDGED)
        gate.open()
        with join(server) as following:
            assert following.evaluate("mine") == "mine"


def test_the_next_client_of_the_same_id(single, gate):
    """Reconnection by ID waits until the kernel is idle, and gets the prompt with the right number."""
    link = join(single)
    identifier = kernel_id(link)
    link.put("EnterTextPacket", "1 + 1")
    number = int(link.get_packet()[1].removeprefix("Out[").removesuffix("]= "))
    link.get_packet()
    link.get_packet()
    link.put("EnterExpressionPacket", gate.busy())
    gate.wait_until_reached()
    since = Since(single)
    link.close()
    since.wait_for(UNBRIDGED)
    gate.open()
    with single.connect() as following:
        assert following.get_packet() == ("InputNamePacket", f"In[{number + 2}]:= ")
        assert kernel_id(following) == identifier

