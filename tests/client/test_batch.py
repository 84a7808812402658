"""Many evaluations on their way at once."""

import itertools
import threading

import pytest

from tests.support.cases import for_all
from tests.support.packets import begin_dialog_packet, end_dialog_packet, input_name_packet, input_packet
from wstpserver.client import EvaluationAborted, EvaluationError, EvaluationTimeout, LinkClosed, Symbol

from .expressions import call
from .helpers import PROMPT, Kernel, Recorder, Worker, dies, endless, session_with, takes


@for_all("window", [1, 2, 3, 16, 1000])
@for_all("count", [0, 1, 2, 100])
def test_values_in_order(window, count):
    kernel = Kernel()
    with session_with(kernel) as session:
        assert list(session.evaluate_many(range(count), PROMPT, window=window)) == list(range(count))
        assert session.evaluate("a", PROMPT) == "a"
    assert [content for name, content in kernel.seen if name == "EvaluatePacket"][:count] == list(range(count))


def test_texts_and_expressions():
    with session_with(Kernel({"x": call("List", 1, Symbol("Null")), call("F", 1): 2})) as session:
        assert list(session.evaluate_many(["x", call("F", 1), 1.5, "x"])) == [[1, None], 2, 1.5, [1, None]]


def test_the_next_ones_are_sent_before_the_first_is_done():
    """And no more of them than the window holds."""
    drawn = []
    sent = threading.Event()

    def numbers():
        for number in itertools.count():
            drawn.append(number)
            yield number

    def first(kernel):
        assert sent.wait(PROMPT)
        return "first"

    with session_with(Kernel({0: first})) as session:
        values = session.evaluate_many(numbers(), PROMPT, window=4)
        worker = Worker(next, values)
        while len(drawn) < 4:
            threading.Event().wait(0.001)
        sent.set()
        assert worker.finish() == "first"
        assert drawn == [0, 1, 2, 3]
        assert [next(values) for _ in range(100)] == list(range(1, 101))
        assert len(drawn) <= 101 + 4
        values.close()
        assert session.evaluate("after", PROMPT) == "after"


def test_at_least_one_is_under_way():
    with session_with(Kernel()) as session, pytest.raises(ValueError, match="window=0"):
        session.evaluate_many([1], window=0)


def test_output_comes_with_its_evaluation():
    def rule(kernel):
        kernel.print(f"{len(kernel.seen)}\n")
        return len(kernel.seen)

    recorder = Recorder()
    with session_with(Kernel({"go": rule})) as session:
        for value in session.evaluate_many(["go"] * 10, PROMPT, callbacks=recorder.callbacks):
            assert recorder.events[-1] == ("print", f"{value}\n")
    assert len(recorder.events) == 10


def test_larger_than_what_goes_out_at_once():
    """Each of them alone, both directions full at the same time."""
    texts = [letter * 3_000_000 for letter in "abcdef"]
    with session_with(Kernel()) as session:
        assert list(session.evaluate_many([[text] for text in texts], 2 * PROMPT)) == [[text] for text in texts]


# Errors, in the place of the value that they concern


def test_an_exception_of_the_iterable_comes_after_the_values_before_it():
    def numbers():
        yield 1
        yield 2
        raise KeyError("on purpose")

    with session_with(Kernel()) as session:
        values = session.evaluate_many(numbers(), PROMPT)
        assert [next(values), next(values)] == [1, 2]
        with pytest.raises(KeyError, match="on purpose"):
            next(values)
        with pytest.raises(StopIteration):
            next(values)
        assert session.evaluate(5, PROMPT) == 5


def test_a_value_that_is_no_expression_comes_after_the_values_before_it():
    with session_with(Kernel()) as session:
        values = session.evaluate_many([1, {2}, 3], PROMPT)
        assert next(values) == 1
        with pytest.raises(TypeError, match="a Python set"):
            next(values)
        assert session.evaluate(5, PROMPT) == 5


def test_a_timeout_is_for_each():
    kernel = Kernel({"endless": endless})
    with session_with(kernel) as session:
        values = session.evaluate_many([1, 2, "endless", 3, 4], 0.4)
        assert [next(values), next(values)] == [1, 2]
        with takes(0.4), pytest.raises(EvaluationTimeout, match="within 0.4 s"):
            next(values)
        assert session.evaluate("right", PROMPT) == "right"


@for_all("window", [1, 16])
def test_an_abort_ends_all_of_them(window):
    with session_with(Kernel({"endless": endless})) as session:
        values = session.evaluate_many([1, "endless", 3], PROMPT, window=window)
        assert next(values) == 1
        worker = Worker(next, values)
        while not session.abort():
            threading.Event().wait(0.001)
        with pytest.raises(EvaluationAborted):
            worker.finish()
        with pytest.raises(StopIteration):
            next(values)
        assert session.evaluate("right", PROMPT) == "right"


def test_an_abort_between_two_values():
    with session_with(Kernel()) as session:
        values = session.evaluate_many(range(100), PROMPT)
        assert next(values) == 0
        assert session.abort()
        with pytest.raises(EvaluationAborted):
            for _ in range(20):
                next(values)
        assert session.evaluate("right", PROMPT) == "right"


def test_an_evaluation_that_aborts_itself_is_a_value():
    aborted = Symbol("$Aborted")
    with session_with(Kernel({"Abort[]": aborted})) as session:
        assert list(session.evaluate_many([1, "Abort[]", 2], PROMPT)) == [1, aborted, 2]


def test_a_kernel_that_dies():
    with session_with(Kernel({"dies": dies})) as session:
        values = session.evaluate_many([1, "dies", 2], PROMPT)
        assert next(values) == 1
        with takes(0), pytest.raises(LinkClosed):
            next(values)


def asks(kernel):
    kernel.link.put(input_packet("? "))
    answer = kernel.link.get_packet(PROMPT)
    return answer.arguments[0] if answer.name == "TextPacket" else kernel.until_aborted()


def test_input_needs_a_window_of_one():
    """The kernel would read the next evaluation instead of the answer."""
    recorder = Recorder(["41"] * 3)
    with session_with(Kernel({"asks": asks}), recorder.callbacks) as session:
        assert list(session.evaluate_many(["asks", 2, "asks"], PROMPT, window=1)) == ["41", 2, "41"]
        values = session.evaluate_many([1, "asks", 2], PROMPT)
        assert next(values) == 1
        with pytest.raises(EvaluationError, match="evaluation 2 of the batch asks .* window=1"):
            next(values)


def test_a_dialog_is_left_with_a_window_of_one():
    def dialog(kernel):
        kernel.link.put(begin_dialog_packet(1))
        kernel.ask(input_name_packet("(Dialog) In[2]:= "))
        kernel.link.put(end_dialog_packet(1))
        return "left"

    with session_with(Kernel({"dialog": dialog})) as session:
        assert next(session.evaluate_many(["dialog", 2], PROMPT, window=1)) == "left"


# The order among threads


def test_nothing_else_while_it_lasts():
    with session_with(Kernel()) as session:
        values = session.evaluate_many(range(10), PROMPT)
        assert next(values) == 0
        with pytest.raises(EvaluationError, match="evaluate_many must be finished or closed first"):
            session.evaluate(1)
        other = Worker(session.evaluate, "other", PROMPT)
        assert next(values) == 1
        values.close()
        assert other.finish() == "other"


def test_leaving_the_loop_gives_the_session_back():
    with session_with(Kernel()) as session:
        for value in session.evaluate_many(itertools.count(), PROMPT):
            if value == 3:
                break
        assert session.evaluate("after", PROMPT) == "after"
        assert session.evaluate_text("again", PROMPT).text == "again"


def test_a_batch_that_is_never_begun_costs_nothing():
    kernel = Kernel()
    with session_with(kernel) as session:
        session.evaluate_many([1, 2])
        assert session.evaluate(5, PROMPT) == 5
    assert [content for name, content in kernel.seen if name == "EvaluatePacket"] == [5]
