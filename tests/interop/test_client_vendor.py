"""The client library against the vendor's: both roles, both modes, messages, large data, and the end of links."""

import contextlib
import threading

import pytest

from tests.client.helpers import PROMPT, Worker
from tests.interop.vendor import PACKETS, VendorError, VendorLibrary
from wstpserver.client import Callbacks, EvaluationAborted, LinkClosed, Session, connect, listen
from wstpserver.wire.packets import MessageCode
from wstpserver.wire.values import Function, PackedArray, Symbol

#: The library's error number for a link that the other side has closed.
CLOSED = 11

EXPRESSIONS = [
    7,
    -(2**31),
    2**40,
    -1.5,
    "",
    "hello",
    "hëllo \N{GREEK SMALL LETTER ALPHA} \U0001f600 \\ \n",
    Symbol("x"),
    Symbol("Größe"),
    Function(Symbol("f"), ()),
    Function(Symbol("Plus"), (1, Function(Function(Symbol("f"), (1,)), ("a", 2.5)))),
    Function(Symbol("List"), (Function(Symbol("List"), (1, 2)), Function(Symbol("List"), ()))),
]


@pytest.fixture
def library(vendor_library):
    with VendorLibrary(vendor_library) as made:
        yield made


def uuid_client_of_vendor(library):
    """We connect to the library's link server."""
    server = library.link_server()
    worker = Worker(connect, f"{server.port}@127.0.0.1", PROMPT)
    theirs = server.wait_for_link()
    try:
        theirs.activate()
    except VendorError:  # a library of 2015 says version 5: ours hangs up and connects again with 4
        theirs.close()
        theirs = server.wait_for_link()
        theirs.activate()
    return worker.finish(), theirs, server


def classic_client_of_vendor(library, both_ports):
    """We connect to a listening link of the library's."""
    theirs = library.open_string("-linkmode listen -linkprotocol TCPIP -linkhost 127.0.0.1")
    activation = Worker(theirs.activate)
    name = theirs.name if both_ports else theirs.name.split(",")[0]
    ours = connect(name, PROMPT, classic=True)
    activation.finish()
    return ours, theirs, contextlib.nullcontext()


def listener_for_vendor(library, classic, options, both_ports=True):
    """The library connects to our listener."""
    listener = listen("0@127.0.0.1", classic=classic)
    name = listener.link_name if both_ports else listener.link_name.split(",")[0]
    theirs = library.open_argv(["-linkmode", "connect", "-linkprotocol", "TCPIP", "-linkname", name, *options])
    activation = Worker(theirs.activate)
    ours = listener.accept(PROMPT)
    activation.finish()
    return ours, theirs, listener


WAYS = {
    "we connect, uuid": uuid_client_of_vendor,
    "we connect, classic, both ports": lambda library: classic_client_of_vendor(library, True),
    "we connect, classic, one port": lambda library: classic_client_of_vendor(library, False),
    "we listen, uuid": lambda library: listener_for_vendor(library, False, ["-linkoptions", "4"]),
    "we listen on two ports, uuid": lambda library: listener_for_vendor(library, True, ["-linkoptions", "4"], False),
    "we listen, classic, both ports": lambda library: listener_for_vendor(library, True, []),
    "we listen, classic, one port": lambda library: listener_for_vendor(library, False, []),
}


@pytest.fixture(params=WAYS, ids=lambda way: way.replace(", ", "-").replace(" ", "_"))
def ends(request, library):
    """(our link, the library's link), connected in each possible way."""
    ours, theirs, listening = WAYS[request.param](library)
    with listening, ours, theirs:
        yield ours, theirs


def test_expressions_there_and_back(ends):
    ours, theirs = ends

    def echo():
        for _ in EXPRESSIONS:
            theirs.put(theirs.get())

    worker = Worker(echo)
    for expression in EXPRESSIONS:
        ours.put(expression)
        assert ours.get(PROMPT) == expression
    worker.finish()
    ours.put(2**100)
    assert theirs.get() == 2**100


def test_messages(ends):
    ours, theirs = ends
    # one after the other: the library may drop an interrupt that an abort follows before it has looked
    ours.interrupt()
    assert theirs.poll_messages(1) == [(2, 0)]
    ours.abort()
    assert theirs.poll_messages(2) == [(2, 0), (3, 0)]
    ours.send_message(130, 77)
    assert theirs.poll_messages(3) == [(2, 0), (3, 0), (130, 77)]
    theirs.send_message(3)
    theirs.send_message(131, 5)
    assert ours.next_message(PROMPT) == (MessageCode.ABORT, 0)
    assert ours.next_message(PROMPT) == (131, 5)


def test_our_close_loses_nothing(ends):
    """The library reads everything we had put before it sees the end, however late it begins to read."""
    ours, theirs = ends
    for number in range(100):
        ours.put(Function(Symbol("f"), (number, "x" * 1000)))
    closing = Worker(ours.close)
    for number in range(100):
        assert theirs.get().args[0] == number
    with pytest.raises(VendorError) as caught:
        theirs.get()
    assert caught.value.code == CLOSED
    closing.finish()


def test_the_librarys_close_is_told_at_once(ends):
    ours, theirs = ends
    theirs.put(Function(Symbol("last"), (1,)))
    waiting = Worker(lambda: [ours.get(PROMPT), ours.get(PROMPT)])
    with pytest.raises(LinkClosed):
        theirs.close()
        waiting.finish()
    with pytest.raises(LinkClosed):
        ours.put(1)


def test_large_arrays(ends):
    """8 MB each way, packed."""
    ours, theirs = ends
    count = 1_000_000
    data = PackedArray.from_list([0.5] * count)
    worker = Worker(lambda: theirs.get_reals())
    ours.put(data)
    assert worker.finish(60) == count

    def send():
        theirs.put_reals([0.25] * count)
        theirs.check("EndPacket")
        theirs.check("Flush", timeout=60)

    worker = Worker(send)
    received = ours.get(60)
    assert isinstance(received, PackedArray)
    assert received.shape == (count,)
    assert received == PackedArray.from_list([0.25] * count)
    worker.finish(60)


def kernel(link, rules):
    """A kernel on the library's side of a link, for as long as that lives. `rules`: text -> function of the link."""
    link.put(Function(Symbol("InputNamePacket"), ("In[1]:= ",)))
    with contextlib.suppress(VendorError):
        while True:
            number = link.next_packet(60)
            content = link.get()
            link.new_packet()
            if number == PACKETS["EvaluatePacket"]:
                text = content.args[0] if isinstance(content, Function) and content.args else None
                value = rules[text](link) if text in rules else content
                link.put(Function(Symbol("ReturnPacket"), (value,)))


def test_a_session_with_a_kernel_on_the_library(ends):
    ours, theirs = ends

    def prints(link):
        link.put(Function(Symbol("TextPacket"), ("out\n",)))
        link.put(Function(Symbol("MessagePacket"), (Symbol("f"), "tag")))
        link.put(Function(Symbol("TextPacket"), ("f::tag: text",)))
        return 7

    def asks(link):
        link.put(Function(Symbol("InputPacket"), ("? ",)))
        assert link.next_packet() == PACKETS["TextPacket"]
        answer = link.get()
        link.new_packet()
        return answer

    def endless(link):
        link.messages.clear()
        while (3, 0) not in link.poll_messages(1):
            pass
        return Symbol("$Aborted")

    playing = Worker(kernel, theirs, {"prints": prints, "asks": asks, "endless": endless})
    heard = []
    callbacks = Callbacks(on_print=heard.append, on_message=heard.append, on_input=lambda prompt: prompt + "!")
    with Session(ours, callbacks=callbacks) as session:
        assert session.evaluate(5, PROMPT) == 5
        assert session.prompt == "In[1]:= "
        assert session.evaluate("prints", PROMPT) == 7
        assert heard == ["out\n", ("f", "tag", "f::tag: text")]
        assert session.evaluate("asks", PROMPT) == "? !"
        for _ in range(2):
            worker = Worker(session.evaluate, "endless", PROMPT)
            while not session.abort():
                threading.Event().wait(0.001)
            with pytest.raises(EvaluationAborted):
                worker.finish()
            assert session.evaluate(6, PROMPT) == 6
    playing.finish(60)
