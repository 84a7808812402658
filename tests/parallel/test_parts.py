"""The parts of the executor that need no kernel."""

import pytest

from tests.support.cases import for_all
from wstpserver.client.parallel.worker import Group, Item, TaskQueue, chunk, task, values_of_chunk
from wstpserver.wire.values import Function, PackedArray, Symbol


def listed(*values, head="List"):
    return Function(Symbol(head), values)


@for_all("name", ["Prime", "f", "Global`f", "`f", "$Version", "a1$b", "WSTPServer`Private`x"])
def test_a_name_is_a_symbol(name):
    assert task(name, (1, 2)) == Function(Symbol(name), (1, 2))
    assert task(f" {name}\n", ()) == Symbol(name)


@for_all("text", ["#^2 &", "f[1]", "1f", "f`", "f_", "a b", "", "é+1", "x;y"])
def test_any_other_text_is_wolfram_language(text):
    assert task(text, ("s",)) == Function(Function(Symbol("ToExpression"), (text.strip(),)), ("s",))


def test_expressions_and_python_values():
    assert task(Symbol("f"), ([1, {"a": None}],)).args[0].args[0] == 1
    assert task(listed(1), ()) == listed(1)
    assert task(Function(Symbol("Derivative"), (1,)), (Symbol("f"),)).head == Function(Symbol("Derivative"), (1,))


def test_what_cannot_be_evaluated():
    with pytest.raises(TypeError, match="not Python functions such as .*<lambda>.*\"#\\^2 &\""):
        task(lambda x: x, (1,))
    with pytest.raises(TypeError):
        task("f", (object(),))


PACKED = PackedArray.from_list([[1.5], [2.5]])


@for_all(
    ("value", "expected"),
    [
        (listed(listed(1), listed("a", head="System`List")), [(1,), ("a",)]),
        (listed(listed(1), PackedArray.from_list([2.5])), [(1,), (2.5,)]),
        (PACKED, [(1.5,), (2.5,)]),
        (PackedArray.from_list([[[1, 2]], [[3, 4]]]), [([1, 2],), ([3, 4],)]),
        (listed(listed(), listed(2)), [None, (2,)]),
        (listed(listed(1, 2), listed(3)), [None, (3,)]),
        (listed(1, listed(3)), [None, (3,)]),
        (listed(listed(1)), [None, None]),
        (Symbol("$Aborted"), [None, None]),
        (PackedArray.from_list([[1.5], [2.5]], heads=("f", "List")), [None, None]),
    ],
)
def test_values_of_a_chunk(value, expected):
    found = values_of_chunk(value, 2)
    plain = [part and tuple(x.tolist() if isinstance(x, PackedArray) else x for x in part) for part in found]
    assert plain == expected


def test_a_chunk_is_a_list_of_lists():
    assert chunk([1, Symbol("x")]) == listed(listed(1), listed(Symbol("x")))


def test_chunks_grow_until_they_are_worth_it():
    group = Group(None)
    assert group.limit(1000, 2) == 1, "nothing is known yet"
    group.took(1, 0.001)
    assert group.limit(1000, 2) == 50, "50 ms"
    assert group.limit(100, 2) == 25, "all kernels are to be done at the same time"
    assert group.limit(3, 2) == 1
    group.took(1, 10.0)
    assert group.limit(1000, 2) == 1
    nothing = Group(None)
    nothing.took(10, 0.0)
    assert nothing.limit(10**6, 2) == 4096
    assert Group(7).limit(3, 2) == 7


def queue_of(*groups, workers=1):
    queue = TaskQueue(workers)
    items = [Item(number, group) for number, group in enumerate(groups)]
    queue.put(items)
    return queue, items


def test_chunks_hold_one_group_only():
    first, second = Group(3), Group(2)
    queue, items = queue_of(first, first, second, second, second, first)
    assert [queue.take() for _ in range(4)] == [items[:2], items[2:4], items[4:5], items[5:]]


def test_what_was_given_back_comes_first_and_alone():
    queue, items = queue_of(*[Group(3)] * 4)
    taken = queue.take()
    queue.put_back(taken)
    assert [queue.take() for _ in range(4)] == [[item] for item in items]


def test_cancelled_items_are_passed_over():
    queue, items = queue_of(*[Group(2)] * 4)
    assert items[0].future.cancel()
    assert items[2].future.cancel()
    assert queue.take() == [items[1], items[3]]
    assert not items[1].future.cancel(), "it was begun"
    queue.close()
    assert queue.take() is None
    with pytest.raises(RuntimeError, match="shut down"):
        queue.put([])


def test_cancel_leaves_what_was_begun():
    queue, items = queue_of(*[Group(1)] * 3)
    queue.put_back(queue.take())
    queue.cancel()
    assert [item.future.cancelled() for item in items] == [False, True, True]
    assert queue.take() == items[:1]
