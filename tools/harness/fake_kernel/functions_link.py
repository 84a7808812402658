"""Functions that speak on the link while evaluated: output, questions, dialogs, commands, broken frames."""
import os

from tools.harness.fake_kernel.codec import Function, Raw, Symbol, encode
from tools.harness.fake_kernel.registry import FALSE, NULL, TRUE, EndDialog, function, held

SERVER_FUNCTIONS = (
    "CloseKernel", "ConnectKernel", "DisconnectKernel", "GetKernelID", "GetPoolName", "GetServerInformation",
    "SetAllowSilentKernelReplacement", "SetKeepAlive", "SetReserveKernel", "StartKernel",
)  # fmt: skip


@function("Print")
def print_text(session, *values):
    from tools.harness.fake_kernel.printing import output_form

    session.link.put("TextPacket", "".join(map(output_form, values)) + "\n")
    return NULL


@function("Message")
def message(session, symbol, tag, text="a message"):
    """Message["sym", "tag", "text"]: a MessagePacket and its TextPacket."""
    session.message(symbol, tag, text)
    return NULL


@function("Flood")
def flood(session, count, size=60):
    """Flood[n, size]: n TextPackets, numbered, each of at least `size` characters; abortable between them."""
    for number in range(count):
        session.link.put("TextPacket", f"{number} ".ljust(size, "."))
        session.check()
    return count


@function("Ask")
def ask(session, prompt="? "):
    """Ask["prompt"]: an InputPacket; the client's text is the value."""
    session.link.put("InputPacket", prompt)
    return session.get_text()


@function("AskString")
def ask_string(session, prompt="? "):
    session.link.put("InputStringPacket", prompt)
    return session.get_text()


@held("CallClient")
def call_client(session, expression):
    """CallClient[n, args...]: a CallPacket; what the client returns is the value."""
    number, *arguments = [session.evaluate(argument) for argument in expression.args]
    session.link.put("CallPacket", number, Function("List", *arguments))
    return _returned(*session.link.get(abortable=True))


@function("Dialog")
def dialog(session):
    """Dialog[]: a subsession; the value of Return[value] evaluated in it."""
    return session.dialog()


@function("Return")
def return_from_dialog(session, value=NULL):
    if session.dialogs:
        raise EndDialog(value)
    return Function("Return", value)


@held("Command")
def command(session, expression):
    """Command[c[...]]: send WSCommandPacket[c[...]] to the server; its answer, as it came, is the value."""
    return send_command(session, expression.args[0], as_it_came=True)


def send_command(session, inner, *, as_it_came=False):
    session.link.put_raw(encode(Function("WSCommandPacket", inner)) + b"]")
    value, wire = session.link.get()
    return _returned(value, wire) if as_it_came else value


def _returned(value, wire):
    """The argument of a ReturnPacket with its bytes; any other expression whole."""
    if isinstance(value, Function) and value.is_head("ReturnPacket") and len(value.args) == 1:
        return value.raw[0]
    return Raw(wire.removesuffix(b"]"))


def _server_function(name):
    def call(session, *arguments):
        import json

        reply = send_command(session, Function(name, *arguments))
        answer = json.loads(reply.args[0])
        if "result" in answer:
            return _from_json(answer["result"])
        head, end = ("Success", "succeeded") if answer["status"] == "ExecutionSuccess" else ("Failure", "failed")
        return Function(head, "WSTPServer", _from_json({"MessageTemplate": f"{name} {end}."}))

    return call


def _from_json(value):
    if isinstance(value, dict):
        return Function("Association", *[Function("Rule", key, _from_json(item)) for key, item in value.items()])
    if isinstance(value, list):
        return Function("List", *map(_from_json, value))
    if isinstance(value, bool) or value is None:
        return {True: TRUE, False: FALSE, None: NULL}[value]
    return value


for _name in SERVER_FUNCTIONS:
    function(f"WSTPServer`{_name}")(_server_function(_name))


@function("Received")
def received(session):
    """Received[]: the frames that came and were no packet for a kernel, as they came."""
    return Function("List", *[Raw(wire.removesuffix(b"]")) for wire in session.unknown])


@function("HalfFrame")
def half_frame(session, then="wait", size=1000):
    """HalfFrame[then, n]: half of TextPacket["yyy..."] of n characters. `then` is "wait" (for ever), "die",
    "close" (the link, then wait), or the path of a FIFO: once somebody writes there the other half follows.
    """
    frame = encode(Function("TextPacket", "y" * size)) + b"]"
    session.link.put_raw(frame[: len(frame) // 2])
    if then == "die":
        os._exit(1)
    if then == "close":
        session.link.close()
    if then in ("wait", "close"):
        os.read(os.pipe()[0], 1)  # nobody writes there
    wait_for_fifo(session, then, abortable=False)
    session.link.put_raw(frame[len(frame) // 2 :])
    return size


@function("BusyUntil")
def busy_until(session, path):
    """BusyUntil["fifo"]: evaluate until somebody writes to the FIFO; abortable."""
    wait_for_fifo(session, path)
    return path


def wait_for_fifo(session, path, *, abortable=True):
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if abortable:
            session.pause(None, descriptor)
        else:
            import select

            select.select([descriptor], [], [])
    finally:
        os.close(descriptor)


@function("SendMessage")
def send_message(session, code, argument=0):
    """SendMessage[code, argument]: eight bytes on the message connection, to the client."""
    session.link.send_message(code, argument)
    return NULL


@function("SendMessages")
def send_messages(session, code, number):
    """SendMessages[code, n]: n messages to the client, with the arguments 0 ... n-1, not each in a write of its own."""
    session.link.send_messages(code, number)
    return NULL


@held("PutFrame")
def put_frame(session, expression):
    """PutFrame[expr]: expr itself as a top-level frame, before the answer."""
    session.link.put_raw(expression.raw[0] + b"]")
    return Symbol("Null")


@function("PutBytes")
def put_bytes(session, text):
    """PutBytes["text"]: the characters as bytes, whatever they are, before the answer."""
    session.link.put_raw(text.encode("latin-1"))
    return NULL
