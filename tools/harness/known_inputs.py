"""Inputs whose values are known from the documentation of the language, and what a kernel makes of them.

Each line of tests/embedded/inputs.txt is an input and its value in Wolfram Language; lines in brackets are sections. An
input is *right* if its value is the given one (reals up to 1 part in 10^5), *said* if it is not and a message says so
(once for a function, as to a user), *silent* if it comes back as it was typed without a word, and *wrong* otherwise.
"""
import math
import re
from pathlib import Path

INPUTS = Path(__file__).parents[2] / "tests/embedded/inputs.txt"

#: Seconds for one input.
INPUT_TIMEOUT = 60.0

#: The share of right values that the documentation promises.
LEAST_RIGHT = 0.85

#: Definitions of one input must not have an effect on the next. It takes as long as most inputs, and more: it empties
#: what Mathics remembers of values, so that only what can define something is followed by it.
CLEAR = 'ClearAll["Global`*"]'

#: What occurs in an input that defines something or changes a definition, once comparisons are taken out.
_COMPARISON = re.compile(r"===|=!=|==|!=|<=|>=")
_DEFINING = re.compile(
    r"=|\+\+|--|<<|Set|Clear|Unset|To\[|Protect|Attributes|Values|Remove|Get|Format|Needs|Begin|Import"
)


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


class Values:
    """Expressions of the client library.

    Args:
        client: The package `wstpserver.client`, which is what is tested: the harness does not import it.
    """

    def __init__(self, client):
        self._client = client

    def call(self, name, *arguments):
        """name[arguments...]"""
        return self._client.Function(self._client.Symbol(name), arguments)

    def typed(self, text):
        """An expression as text: ToExpression["text"]"""
        return self.call("ToExpression", text)

    def same(self, first, second):
        """Whether two values are equal, reals nearly."""
        first, second = map(self._unpacked, (first, second))
        big, function = self._client.BigReal, self._client.Function
        if isinstance(first, big) or isinstance(second, big):
            return isinstance(first, big) and isinstance(second, big) and first.text[:12] == second.text[:12]
        if isinstance(first, float) or isinstance(second, float):
            return type(first) is type(second) and math.isclose(first, second, rel_tol=1e-5, abs_tol=1e-9)
        if isinstance(first, function) and isinstance(second, function):
            if len(first.args) != len(second.args) or not self.same(first.head, second.head):
                return False
            return all(self.same(*pair) for pair in zip(first.args, second.args, strict=True))
        if isinstance(first, list) and isinstance(second, list):
            return len(first) == len(second) and all(self.same(*pair) for pair in zip(first, second, strict=True))
        return type(first) is type(second) and first == second

    def _unpacked(self, value):
        return self.call("List", *value.to_list()) if isinstance(value, self._client.PackedArray) else value

    def heads(self, value):
        """The names of all functions in a value."""
        if isinstance(value, self._client.Function):
            yield from self.heads(value.head)
            for argument in value.args:
                yield from self.heads(argument)
        elif isinstance(value, self._client.Symbol):
            yield value.name

    def held(self, value):
        """What a HoldComplete holds; None for anything else."""
        return value.args[0] if isinstance(value, self._client.Function) and value.args else None


class Judge:
    """Evaluates inputs in one kernel, over a link of the client library."""

    def __init__(self, link, client):
        self._link = link
        self._values = Values(client)
        #: Functions that have said that they are not implemented.
        self._told = set()
        self._clear = False

    def evaluate(self, expression):
        """(value, number of messages)"""
        self._link.put(self._values.call("EvaluatePacket", expression))
        messages = 0
        while (packet := self._link.get_packet(INPUT_TIMEOUT)).name != "ReturnPacket":
            messages += packet.name == "MessagePacket"
            if packet.name == "TextPacket" and " is not implemented " in packet.arguments[0]:
                self._told.add(packet.arguments[0].partition(" is not implemented ")[0].split()[-1])
        return packet.arguments[0], messages

    def evaluate_text(self, text):
        """The same of a text, without definitions of an earlier one."""
        if self._clear:
            self.evaluate(self._values.typed(CLEAR))
        self._clear = _DEFINING.search(_COMPARISON.sub("", text)) is not None
        return self.evaluate(self._values.typed(text))

    def verdict(self, text, value):
        """right, said, silent or wrong; and what came."""
        wanted, _ = self.evaluate_text(value)
        got, messages = self.evaluate_text(text)
        if self._values.same(got, wanted):
            return "right", got
        if messages or self._told.intersection(self._values.heads(got)):
            return "said", got
        held, _ = self.evaluate(self._values.typed(f"HoldComplete[{text}]"))
        unchanged = self._values.same(got, self._values.held(held))
        return ("silent" if unchanged else "wrong"), got
