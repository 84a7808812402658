"""The examples of docs/client.md, run as they stand there against a server played by threads."""

import doctest
import json
from pathlib import Path

import pytest

from wstpserver.client import LinkClosed, listen
from wstpserver.wire.values import BigReal, Function, PackedArray, Symbol

from .helpers import PROMPT, Kernel, Worker, endless

ROOT = Path(__file__).parents[2]
ADDRESS = "31415@localhost"


def call(name, *arguments):
    return Function(Symbol(name), arguments)


def prints(kernel):
    kernel.print("1\n")
    kernel.message("Power", "infy", "Power::infy: Infinite expression 1/0 encountered.")
    kernel.print("2\n")
    return 3


def divides(kernel):
    kernel.message("Power", "infy", "Power::infy: Infinite expression 1/0 encountered.")
    return call("DirectedInfinity")


SINE = call("N", call("Sin", 1), 20)
SPLIT = call("StringSplit", "aXbxc", "x", call("Rule", Symbol("IgnoreCase"), Symbol("True")))
ASSOCIATION = call("Association", call("Rule", "a", call("List", Symbol("True"), Symbol("Null"))))
RULES = {
    "Prime[1000]": 7919,
    call("Plus", 2, 2): 4,
    call("StringReverse", "hello"): "olleh",
    call("Sort", call("List", 3, 1, 2)): call("List", 1, 2, 3),
    SPLIT: call("List", "a", "b", "c"),
    SINE: BigReal("0.84147098480789650665`20."),
    '{1/3, 2^70, <|"a" -> {True, Null}|>}': call("List", call("Rational", 1, 3), 2**70, ASSOCIATION),
    "{{1., 2.}, {3., 4.}}": PackedArray.from_list([[1.0, 2.0], [3.0, 4.0]]),
    **{f"Prime[{n}]": prime for n, prime in zip(range(1, 6), (2, 3, 5, 7, 11), strict=True)},
    "2 + 2": 4,
    "Expand[(a + b)^2]": call(
        "Plus",
        call("Power", Symbol("a"), 2),
        call("Times", 2, Symbol("a"), Symbol("b")),
        call("Power", Symbol("b"), 2),
    ),
    "1/0": divides,
    "Print[1]; 1/0; Print[2]; 3": prints,
    "x = 1/3": "1/3",
    "x;": None,
    "Pause[60]": endless,
    "GetKernelID": json.dumps({"result": "a806-2645-9651"}),
    "GetPoolName": json.dumps({"result": "Main"}),
}


@pytest.fixture
def server():
    """A listener that plays a new kernel on every link."""
    kernels = []
    with listen("0@127.0.0.1") as listener:

        def serve():
            while True:
                try:
                    link = listener.accept()
                except LinkClosed:
                    return
                kernels.append(Worker(Kernel(RULES), link))

        accepting = Worker(serve)
        yield listener.link_name
    accepting.finish()
    for kernel in kernels:
        kernel.finish()


@pytest.mark.timeout(3 * PROMPT)
def test_the_examples(server):
    text = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    assert text.count(ADDRESS) >= 2
    pytest.importorskip("numpy")
    test = doctest.DocTestParser().get_doctest(text.replace(ADDRESS, server), {}, "client.md", "docs/client.md", 0)
    assert len(test.examples) > 20
    report = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    result = runner.run(test, out=report.append)
    assert result.failed == 0, "".join(report)
