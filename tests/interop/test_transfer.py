"""WSTransferExpression in programs on the vendor's library, with characters above U+FFFF.

Greeted with 4 or 5, libraries since 2018 crash in it, in the process of the program that calls it.
"""

import contextlib
import subprocess
from pathlib import Path

import pytest

from tests.client.helpers import PROMPT, Worker
from wstpserver.client import LinkClosed, connect, listen
from wstpserver.wire.encode import encode
from wstpserver.wire.frames import EscapeRewriter
from wstpserver.wire.tokens import text_item
from wstpserver.wire.values import Function, Symbol

FACE = "\U0001f600"

EXAMPLE = Function(
    Symbol("f"),
    ("plain", FACE + "x" * 70, Function(Symbol("g" + FACE), (1,)), Function(Symbol("List"), (1, 2, 3))),
)

EXPRESSIONS = [
    "plain",
    FACE,
    "x" * 100 + FACE * 3,
    Symbol("x"),
    Symbol("Größe" + FACE),
    Function(Symbol("f" + FACE), (FACE, Symbol(FACE), 1, 2.5)),
    Function(Function(Symbol("f"), (1,)), ("a\\b\n" + FACE, "Größe", "日本語")),
    Function(Symbol("Hold"), (Function(Symbol("List"), ()), 2**40, "\ud800" * 70)),
    Function(Symbol("List"), (1.5, 2.5)),
]


@pytest.fixture
def program(compiled):
    return compiled(Path(__file__).parent / "vendor_transfer.c")


@contextlib.contextmanager
def running(program, *options):
    """The program with these link options; that it ends well is required at the end."""
    process = subprocess.Popen([program, *options], stdout=subprocess.PIPE, text=True)
    try:
        yield process
        said, _ = process.communicate(timeout=PROMPT)
        assert (process.returncode, said.strip().split("\n")[-1]) == (0, "done"), said
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def it_connects(program, classic):
    with listen("0@127.0.0.1", classic=classic) as listener:
        options = ["-linkoptions", "4"] if not classic else []
        name = ["-linkmode", "connect", "-linkprotocol", "TCPIP", "-linkname", listener.link_name]
        with running(program, *name, *options), listener.accept(PROMPT) as link:
            yield link


@contextlib.contextmanager
def it_listens(program, both_ports):
    options = ["-linkmode", "listen", "-linkprotocol", "TCPIP", "-linkhost", "127.0.0.1"]
    with running(program, *options) as process:
        name = Worker(process.stdout.readline).finish().strip()
        with connect(name if both_ports else name.split(",")[0], PROMPT, classic=True) as link:
            yield link


WAYS = {
    "it connects, uuid": lambda program: it_connects(program, classic=False),
    "it connects, classic": lambda program: it_connects(program, classic=True),
    "it listens, both ports": lambda program: it_listens(program, both_ports=True),
    "it listens, one port": lambda program: it_listens(program, both_ports=False),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_expressions_pass_through_the_program(program, way):
    with way(program) as link:
        assert link.get(PROMPT) == EXAMPLE
        for expression in EXPRESSIONS:
            for _ in range(2):  # by way of a loopback link, and straight
                link.put(expression)
                assert link.get(PROMPT) == expression


def test_escapes_of_six_digits_pass_when_they_are_rewritten(program):
    """The library of 2015 hangs on them as they come from one of 2023 at version 6."""
    text = f"x\\{FACE}\n日é" * 20
    payload = encode(text, seven_bit=True)
    assert rb"\:D83D\:DE00" in payload
    escaped = rb"x\\\|01f600\012\:65e5\351" * 20
    stream = text_item(b'"', b"A~120 " + escaped) + b"]" + text_item(b"#", rb"A~A\|01f600") + b"]"
    rewriter = EscapeRewriter()
    string, symbol = b"".join(rewriter.feed(stream)).split(b"\n]")[:2]
    with it_connects(program, classic=False) as link:
        link.get(PROMPT)
        for wire, value in ((string, text), (symbol, Symbol(FACE)), (payload[:-2], text)):
            for _ in range(2):
                link.put_raw(wire + b"\n]")
                assert link.get(PROMPT) == value


def test_the_end_of_the_link_ends_the_program(program):
    with it_connects(program, classic=False) as link:
        link.get(PROMPT)
    with pytest.raises(LinkClosed):
        link.get(PROMPT)
