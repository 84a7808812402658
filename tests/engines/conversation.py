"""What a client does with a kernel that runs elsewhere: the same for every engine and both kinds of kernels."""
import time

from tests.server.transfers import read_frame
from tests.support.serving import ABORTED, kernel_id, reconnect
from tools.harness.fake_kernel.codec import Function, Symbol

TEXTS = ["", "äöü €", "\U0001d11e\U0010ffff", "\ud7ff\ue000", "\x01\x1e\x7f\x9b", "中" * 5000, "x" * 100_000]

ABORT = 3


def evaluations(link, number):
    """So many evaluations, one after the other."""
    for value in range(number):
        assert link.evaluate(Function("Plus", value, 1)) == value + 1


def unicode(link):
    """Texts of all kinds come back as they were."""
    for text in TEXTS:
        assert link.evaluate(Function("StringJoin", text, "|")) == text + "|"


def output_while_it_happens(link):
    """Text arrives while the evaluation goes on."""
    link.put("EvaluatePacket", Function("CompoundExpression", Function("Print", "now"), Function("Ask", "? ")))
    assert link.get_packet() == ("TextPacket", "now\n")
    assert link.get_packet() == ("InputPacket", "? ")
    link.put("TextPacket", "then")
    assert link.get_packet() == ("ReturnPacket", "then")


def dialog(link):
    """A subsession in the middle of an evaluation."""
    link.put("EvaluatePacket", Function("Dialog"))
    assert link.get_packet() == ("BeginDialogPacket", 1)
    assert link.get_packet()[0] == "InputNamePacket"
    link.put("EvaluatePacket", Function("Return", 5))
    assert link.get_packet()[0] == "EndDialogPacket"
    assert link.get_packet() == ("ReturnPacket", 5)


def large(link, reals):
    """A packed list of so many reals comes; returns the bytes of the frame."""
    link.put("EvaluatePacket", Function("MakeArray", reals))
    length, first, _ = read_frame(link)
    assert b"ReturnPacket" in first and length > 8 * reals
    return length


def send_large(link, size):
    """A text of so many characters goes to the kernel."""
    assert link.evaluate(Function("StringLength", "x" * size)) == size


def abort_among_bulk(link, size):
    """Returns the seconds from an abort to the answer, in the middle of so many bytes of text."""
    link.put("EvaluatePacket", Function("Flood", size // 10_000, 10_000))
    for _ in range(200):
        assert link.get_packet()[0] == "TextPacket"
    began = time.monotonic()
    link.send_message(ABORT)
    packets = 0
    while (packet := link.get_packet())[0] == "TextPacket":
        packets += 1
    assert packet == ("ReturnPacket", ABORTED), packet
    assert packets < size // 10_000 - 1000  # the rest was not sent
    return time.monotonic() - began


def come_back(server, link):
    """Another client goes on with the kernel by its ID. Clients of the server get no kernel before they ask for one."""
    assert link.evaluate(Function("Set", Symbol("x"), 42)) == 42
    identifier = kernel_id(link)
    link.close()
    with server.connect() as other:
        reconnect(other, identifier)
        assert other.evaluate(Symbol("x")) == 42
