"""Aborts: whatever the kernel does; the session goes on; never the wrong evaluation."""
import threading
import time

import pytest

from tests.embedded.harness import call, typed
from wstpserver.wire.values import Symbol

ABORTED = Symbol("$Aborted")

#: Told by the evaluation itself that it has begun.
BEGUN = "Print[begun]; "


@pytest.mark.parametrize("text", [
    "Pause[300]", "Do[i, {i, 10^9}]", "While[True]", "Sum[i^2, {i, 10^8}]", "Table[x^i, {i, 10^7}]", "Nest[f, x, 10^7]",
    "FixedPoint[# + 1 &, 1]", "While[True, Print[1]]", "Block[{q = While[True]}, q]",
    "Module[{q = 1}, While[True, q++]]", "TimeConstrained[While[True], 100]", "Catch[While[True]]",
    "Quiet[While[True, 1/0]]", "Input[]", "InputString[]",
])  # fmt: skip
def test_abort_ends_the_evaluation(kernel, text):
    value = kernel.aborted(typed(BEGUN + text), after="TextPacket")
    assert value == ABORTED
    assert kernel.evaluate("{1 + 1, q}").args == (2, Symbol("q"))


@pytest.mark.parametrize("text", ["Integrate[Sin[x^3] Exp[x^2]/(1 + x^5)^3, x]", "FactorInteger[2^257 - 1]"])
def test_abort_is_enforced_inside_other_libraries(kernel, text):
    value = kernel.aborted(typed(BEGUN + text), after="TextPacket")
    assert value == ABORTED
    assert kernel.evaluate("1 + 1") == 2


def test_fifty_aborts_in_a_row_leave_the_session_right(kernel):
    work = "count = %d; " + BEGUN + "Block[{z = 1}, Do[z = z + k; w[k] = z; Module[{m = k}, m^2], {k, 10^8}]]"
    for count in range(50):
        value = kernel.aborted(typed(work % count), after="TextPacket")
        assert value == ABORTED
        assert kernel.evaluate("{count, z, k, x + x}").args == (
            count, Symbol("z"), Symbol("k"), call("Times", 2, Symbol("x")),
        )  # fmt: skip


def test_abort_right_after_its_evaluation(kernel):
    for _ in range(20):
        value = kernel.aborted(typed("Pause[300]"))
        assert value == ABORTED


def test_abort_of_an_idle_kernel_does_nothing(kernel):
    for count in range(100):
        kernel.link.abort()
        assert kernel.evaluate(call("Plus", count, 1)) == count + 1


def test_abort_that_comes_as_an_evaluation_ends_does_not_hit_the_next(kernel):
    for count in range(100):
        kernel.send("EvaluatePacket", call("Plus", count, 1))
        kernel.link.abort()
        (_, value), = kernel.packets_until("ReturnPacket")
        assert value in (count + 1, ABORTED)
        assert kernel.evaluate_packets(call("Times", 2, count)) == [("ReturnPacket", 2 * count)]


def test_aborts_from_another_thread_at_any_time(kernel):
    stop = threading.Event()

    def abort_on():
        while not stop.wait(0.003):
            kernel.link.abort()

    thread = threading.Thread(target=abort_on)
    thread.start()
    try:
        for count in range(30):
            value = kernel.evaluate(f"Block[{{z = {count}}}, Do[z = z + 1, {{200}}]; z]")
            assert value in (count + 200, ABORTED)
    finally:
        stop.set()
        thread.join()
    assert kernel.evaluate("{z, Block[{z = 1}, Do[z = z + 1, {200}]; z]}").args[0] == Symbol("z")
    assert kernel.shown("1 + 1") == "2"


def test_two_aborts_for_one_evaluation(kernel):
    kernel.send("EvaluatePacket", typed(BEGUN + "Pause[300]"))
    kernel.packets_until("TextPacket")
    kernel.link.abort()
    kernel.link.abort()
    assert kernel.packets_until("ReturnPacket") == [("ReturnPacket", ABORTED)]
    assert kernel.evaluate_packets(call("Plus", 1, 1)) == [("ReturnPacket", 2)]


def test_check_abort_deals_with_it(kernel):
    work = typed("{CheckAbort[Print[begun]; Pause[300], caught], Pause[0.3]; 2}")
    value = kernel.aborted(work, after="TextPacket")
    assert value == call("List", Symbol("caught"), 2)


def test_abort_while_results_are_being_read(kernel):
    """A client that is slow to read must still be able to abort, and no packet is torn."""
    kernel.send("EvaluatePacket", typed('While[True, Print[StringRepeat["x", 100000]]]'))
    kernel.packets_until("TextPacket")
    time.sleep(0.2)  # the kernel now waits for us to read
    kernel.link.abort()
    packets = kernel.packets_until("ReturnPacket")
    assert packets[-1] == ("ReturnPacket", ABORTED)
    assert all(packet == ("TextPacket", "x" * 100_000 + "\n") for packet in packets[:-1])


@pytest.mark.parametrize("text, value, seconds", [
    ("TimeConstrained[While[True], 0.2]", ABORTED, 0.2),
    ("TimeConstrained[Pause[300], 0.2, late]", Symbol("late"), 0.2),
    ("TimeConstrained[1 + 1, 30, late]", 2, 0),
    ("TimeConstrained[TimeConstrained[Pause[300], 20, inner], 0.2, outer]", Symbol("outer"), 0.2),
    ("TimeConstrained[TimeConstrained[Pause[300], 0.2, inner], 20, outer]", Symbol("inner"), 0.2),
    ("TimeConstrained[Do[Block[{z = 1}, z++], {10^7}], 0.2]; z", Symbol("z"), 0.2),
    ("TimeConstrained[Integrate[Sin[x^3] Exp[x^2]/(1 + x^5)^3, x], 0.2, late]", Symbol("late"), 0.2),
    ("{TimeRemaining[], TimeConstrained[TimeRemaining[] > 10, 20]}",
     call("List", call("DirectedInfinity", 1), Symbol("True")), 0),
])  # fmt: skip
def test_time_limits(kernel, text, value, seconds):
    start = time.monotonic()
    assert kernel.evaluate(text) == value
    assert seconds <= time.monotonic() - start
    assert kernel.evaluate("Pause[0.3]; 1 + 1") == 2  # no limit is left over


def test_time_limit_tears_no_packet(kernel):
    packets = kernel.evaluate_packets(typed("TimeConstrained[While[True, Print[Range[50]]], 0.5]"))
    assert len(set(packets[:-1])) == 1
    assert packets[-1] == ("ReturnPacket", ABORTED)
