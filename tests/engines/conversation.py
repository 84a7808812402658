"""What a client does with a kernel that runs elsewhere: the same for every engine and both kinds of kernels."""
import functools

from tests.server.transfers import read_frame
from tests.support.serving import ABORTED, kernel_id, reconnect
from tools.harness.fake_kernel.codec import Function, Packed, Symbol

ABORT = 3


def evaluations(link, number):
    """So many evaluations, one after the other."""
    for value in range(number):
        assert link.evaluate(Function("Plus", value, 1)) == value + 1


@functools.cache
def every_character():
    """One of each, in a text."""
    return "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))


def unicode(link):
    """Texts of all kinds come back as they were, with every character first."""
    others = ("", "äöü €", "\U0001d11e\U0010ffff", "\ud7ff\ue000", "\x01\x1e\x7f\x9b", "中" * 5000, "x" * 100_000)
    for text in (every_character(), *others):
        assert link.evaluate(Function("StringJoin", text, "|")) == text + "|"


def output_while_it_happens(link, function="Ask", packet="InputPacket"):
    """Text arrives while the evaluation goes on; the function asks for a text with that packet."""
    link.put("EvaluatePacket", Function("CompoundExpression", Function("Print", "now"), Function(function, "? ")))
    assert link.get_packet() == ("TextPacket", "now\n")
    assert link.get_packet() == (packet, "? ")
    link.put("TextPacket", "then")
    assert link.get_packet() == ("ReturnPacket", "then")


def dialog(link, *last):
    """A subsession in the middle of an evaluation, and the packet that ends it."""
    link.put("EvaluatePacket", Function("Dialog"))
    assert link.get_packet() == ("BeginDialogPacket", 1)
    assert link.get_packet()[0] == "InputNamePacket"
    link.put(*(last or ("EvaluatePacket", Function("Return", 5))))
    assert link.get_packet()[0] == "EndDialogPacket"
    assert link.get_packet() == ("ReturnPacket", 5)


def large(link, reals, expression=None):
    """Packed lists of so many reals come, those of the expression, or one."""
    link.put("EvaluatePacket", expression or Function("MakeArray", reals))
    length, first, _ = read_frame(link)
    assert b"ReturnPacket" in first and length > 8 * reals


def send_large(link, size):
    """A text of so many characters goes to the kernel."""
    assert link.evaluate(Function("StringLength", "x" * size)) == size


def abort_among_bulk(link, size, flood=None):
    """An abort among so many bytes of text, which an expression prints 10,000 at a time: the rest is not sent."""
    link.put("EvaluatePacket", flood or Function("Flood", size // 10_000, 10_000))
    for _ in range(200):
        assert link.get_packet()[0] == "TextPacket"
    link.send_message(ABORT)
    packets = 0
    while (packet := link.get_packet())[0] == "TextPacket":
        packets += 1
    assert packet == ("ReturnPacket", ABORTED), packet
    assert packets < size // 10_000 - 1000  # the rest was not sent


def everything_embedded(server, link, reals):
    """All of it with an embedded kernel. A packed list of so many reals goes there and comes back.

    The kernel keeps it as an array, because lists that it computes with take some microseconds for each number.
    """
    evaluations(link, 1000)
    unicode(link)
    output_while_it_happens(link, "InputString", "InputStringPacket")
    dialog(link, "EnterTextPacket", "Return[5]")
    large(link, 20_000, typed("RandomReal[1, 20000]"))
    packed = Function("List", Packed(0xF6, reals, bytes(8 * reals)))
    kept = Function("Set", Symbol("x"), Function("NumericArray", packed, "Real64"))
    assert link.evaluate(Function("CompoundExpression", kept, 7)) == 7
    large(link, reals, Symbol("x"))
    send_large(link, 1_000_000)
    flood = typed('With[{line = StringRepeat["x", 9999]}, Do[Print[line], {10000}]]')
    abort_among_bulk(link, 100_000_000, flood)
    come_back(server, link)


def typed(text):
    """What evaluates a text."""
    return Function("ToExpression", text)


def come_back(server, link):
    """Another client goes on with the kernel by its ID. Clients of the server get no kernel before they ask for one."""
    assert link.evaluate(Function("Set", Symbol("x"), 42)) == 42
    identifier = kernel_id(link)
    link.close()
    with server.connect() as other:
        reconnect(other, identifier)
        assert other.evaluate(Symbol("x")) == 42
