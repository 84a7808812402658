"""Inputs whose values are known from the documentation of the language, and what a kernel makes of them.

Each line of tests/embedded/inputs.txt is an input and its value in Wolfram Language; lines in brackets are sections. An
input is *right* if its value is the given one (reals up to 1 part in 10^5), *said* if it is not and a message says so
(once for a function, as to a user), *silent* if it comes back as it was typed without a word, and *wrong* otherwise.
"""
import math
from pathlib import Path

from wstpserver.wire.values import BigReal, Function, PackedArray, Symbol

INPUTS = Path(__file__).parents[2] / "tests/embedded/inputs.txt"

#: Seconds for one input.
INPUT_TIMEOUT = 60.0

#: The share of right values that the documentation promises.
LEAST_RIGHT = 0.85

#: Definitions of one input must not have an effect on the next.
CLEAR = 'ClearAll["Global`*"]'


def read_inputs(path=INPUTS):
    """[(section, input, value)], one for each line."""
    section, found = "", []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("[") and line.endswith("]") and "==>" not in line:
            section = line.strip("[]")
        elif line.strip():
            text, _, value = line.partition("  ==>  ")
            found.append((section, text.strip(), value.strip()))
    return found


def call(name, *arguments):
    """name[arguments...]"""
    return Function(Symbol(name), arguments)


def typed(text):
    """An expression as text: ToExpression["text"]"""
    return call("ToExpression", text)


def same(first, second):
    """Whether two values are equal, reals nearly."""
    first, second = (call("List", *v.to_list()) if isinstance(v, PackedArray) else v for v in (first, second))
    if isinstance(first, BigReal) or isinstance(second, BigReal):
        return isinstance(first, BigReal) and isinstance(second, BigReal) and first.text[:12] == second.text[:12]
    if isinstance(first, float) or isinstance(second, float):
        numbers = isinstance(first, float | int) and isinstance(second, float | int)
        return numbers and math.isclose(first, second, rel_tol=1e-5, abs_tol=1e-9) and type(first) is type(second)
    if isinstance(first, Function) and isinstance(second, Function):
        if len(first.args) != len(second.args) or not same(first.head, second.head):
            return False
        return all(same(*pair) for pair in zip(first.args, second.args, strict=True))
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(same(*pair) for pair in zip(first, second, strict=True))
    return type(first) is type(second) and first == second


class Judge:
    """Evaluates inputs in one kernel, over a link of the client library."""

    def __init__(self, link):
        self._link = link
        #: Functions that have said that they are not implemented.
        self._told = set()

    def evaluate(self, expression):
        """(value, number of messages)"""
        self._link.put(call("EvaluatePacket", expression))
        messages = 0
        while (packet := self._link.get_packet(INPUT_TIMEOUT)).name != "ReturnPacket":
            messages += packet.name == "MessagePacket"
            if packet.name == "TextPacket" and " is not implemented " in packet.arguments[0]:
                self._told.add(packet.arguments[0].partition(" is not implemented ")[0].split()[-1])
        return packet.arguments[0], messages

    def verdict(self, text, value):
        """right, said, silent or wrong; and what came."""
        self.evaluate(typed(CLEAR))
        wanted, _ = self.evaluate(typed(value))
        self.evaluate(typed(CLEAR))
        got, messages = self.evaluate(typed(text))
        if same(got, wanted):
            return "right", got
        if messages or self._told.intersection(heads(got)):
            return "said", got
        held, _ = self.evaluate(typed(f"HoldComplete[{text}]"))
        unchanged = isinstance(held, Function) and held.args and same(got, held.args[0])
        return ("silent" if unchanged else "wrong"), got


def heads(value):
    """The names of all functions in a value."""
    if isinstance(value, Function):
        yield from heads(value.head)
        for argument in value.args:
            yield from heads(argument)
    elif isinstance(value, Symbol):
        yield value.name
