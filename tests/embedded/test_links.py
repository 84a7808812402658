"""LinkCreate, LinkConnect and others inside the kernel: links of a program's own."""
import pytest

from tests.embedded.harness import DEADLINE, call, typed
from wstpserver.client import connect, listen
from wstpserver.wire.values import Symbol


@pytest.fixture
def side_link(kernel):
    """The client's end of a link that the kernel created as `l`."""
    name = kernel.evaluate('l = LinkCreate[LinkProtocol -> "TCPIP"]; First[l]')
    link = connect(name, DEADLINE, classic=True)
    yield link
    link.close()


def test_a_link_object_names_its_ports(kernel):
    value = kernel.evaluate("LinkCreate[]")
    assert value.head == Symbol("LinkObject")
    assert "@127.0.0.1," in value.args[0] and len(value.args) == 3


def test_expressions_go_both_ways(kernel, side_link):
    kernel.evaluate("Do[LinkWrite[l, i^2], {i, 3}]; LinkWrite[l, Unevaluated[1 + 1]]")
    assert [side_link.get(DEADLINE) for _ in range(3)] == [1, 4, 9]
    assert side_link.get(DEADLINE) == call("Plus", 1, 1)
    side_link.put(call("Plus", 2, 3))
    side_link.put(call("Plus", 2, 3))
    assert kernel.evaluate("LinkRead[l]") == 5
    assert kernel.evaluate("LinkRead[l, Hold]") == call("Hold", call("Plus", 2, 3))


def test_ready(kernel, side_link):
    assert kernel.evaluate("LinkReadyQ[l]") == Symbol("False")
    side_link.put("text")
    assert kernel.evaluate("LinkReadyQ[l, 20]") == Symbol("True")
    assert kernel.evaluate("LinkRead[l]") == "text"


def test_the_other_side_reads_what_came_before_the_close(kernel, side_link):
    kernel.evaluate("LinkWrite[l, x]; LinkClose[l]")
    assert side_link.get(DEADLINE) == Symbol("x")
    packets = kernel.evaluate_packets(typed("LinkRead[l]"))
    assert packets[0] == ("MessagePacket", Symbol("LinkRead"), "linkn")
    assert packets[-1] == ("ReturnPacket", Symbol("$Failed"))


def test_a_link_the_other_side_closed(kernel, side_link):
    kernel.evaluate("LinkActivate[l]")
    side_link.close()
    packets = kernel.evaluate_packets(typed("LinkRead[l]"))
    assert packets[0] == ("MessagePacket", Symbol("LinkRead"), "linkx")
    assert kernel.evaluate("Links[]") == call("List")


def test_connects_to_another_program(kernel):
    with listen("0@127.0.0.1", classic=True) as listener:
        kernel.send("EvaluatePacket", typed(f'c = LinkConnect["{listener.link_name}"]; LinkWrite[c, 7]; Head[c]'))
        link = listener.accept(DEADLINE)
    assert link.get(DEADLINE) == 7
    assert kernel.packets_until("ReturnPacket") == [("ReturnPacket", Symbol("LinkObject"))]
    link.close()


def test_both_ends_in_one_kernel(kernel):
    value = kernel.evaluate("a = LinkCreate[]; b = LinkConnect[First[a]]; LinkWrite[a, {1, 2}]; LinkRead[b]")
    assert value == call("List", 1, 2)


def test_nobody_listens(kernel):
    with listen("0@127.0.0.1", classic=True) as listener:
        name = listener.link_name
    packets = kernel.evaluate_packets(typed(f'LinkConnect["{name}"]'))
    assert packets[0] == ("MessagePacket", Symbol("LinkConnect"), "linke")
    assert packets[-1] == ("ReturnPacket", Symbol("$Failed"))


def test_other_protocols_are_refused(kernel):
    packets = kernel.evaluate_packets(typed('LinkCreate[LinkProtocol -> "SharedMemory"]'))
    assert packets[0] == ("MessagePacket", Symbol("LinkCreate"), "linkp")
    assert 'LinkProtocol -> "TCPIP"' in packets[1][1]


@pytest.mark.parametrize("text", ["LinkRead[l]", "LinkWrite[l, 1]", "LinkActivate[l]"])
def test_an_abort_ends_the_wait_for_the_other_side(kernel, text):
    kernel.evaluate("l = LinkCreate[];")
    value = kernel.aborted(typed(f"Print[1]; {text}"), after="TextPacket")
    assert value == Symbol("$Aborted")
    assert kernel.evaluate("1 + 1") == 2


@pytest.mark.parametrize("text, code", [("LinkInterrupt[l]", 2), ("LinkInterrupt[l, 3]", 3)])
def test_an_interrupt_reaches_the_other_side(kernel, side_link, text, code):
    kernel.evaluate(f"LinkActivate[l]; {text}")
    assert side_link.next_message(DEADLINE)[0] == code


def test_a_link_is_opened_in_the_mode_that_is_asked_for(kernel):
    text = 'a = LinkOpen["0@127.0.0.1", LinkMode -> Listen]; b = LinkOpen[First[a], LinkMode -> Connect]; '
    assert kernel.evaluate(text + "LinkWrite[b, 5]; LinkRead[a]") == 5
