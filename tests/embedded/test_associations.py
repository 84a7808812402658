"""Associations: construction, access, assignment, and the functions that take them."""
import pytest

from tests.embedded.harness import call, typed
from wstpserver.wire.values import Symbol


def association(**entries):
    return call("Association", *(call("Rule", key, value) for key, value in entries.items()))


def test_a_key_is_assigned(used):
    used.evaluate('a = <|"x" -> 1|>')
    assert used.evaluate_packets(typed('a["b"] = 5')) == [("ReturnPacket", 5)]
    assert used.evaluate("a") == association(x=1, b=5)
    assert used.evaluate('a["b"] += 2; a["x"] = 0; a') == association(x=0, b=7)


def test_a_key_of_an_inner_association_is_assigned(used):
    assert used.evaluate('a = <|"p" -> <|"q" -> 1|>|>; a["p"]["q"] = 2; a["p"]') == association(q=2)


def test_a_part_is_assigned(used):
    assert used.evaluate('a = <|"x" -> 1|>; a[["x"]] = 3; a[[Key[2]]] = 4; a["x"]') == 3
    assert used.evaluate("a[2]") == 4
    assert used.evaluate("l = {1, 2}; l[[1]] = 5; l") == call("List", 5, 2)


@pytest.mark.parametrize("text, value", [
    ('<|"a" -> 1|> + <|"a" -> 2|>', association(a=3)), ('2 <|"a" -> 1, "b" -> 2|> + 1', association(a=3, b=5)),
    ('Total[{<|"a" -> 1|>, <|"a" -> 2|>}]', association(a=3)), ('Abs[<|"a" -> -1|>]', association(a=1)),
])  # fmt: skip
def test_arithmetic_of_values(used, text, value):
    assert used.evaluate(text) == value


def test_other_assignments_are_as_before(used):
    assert used.evaluate('f["b"] = 5; {f["b"], f["c"]}') == call("List", 5, call("f", "c"))
    packets = used.evaluate_packets(typed("Sin[1] = 2"))
    assert packets[0] == ("MessagePacket", Symbol("Set"), "write")


@pytest.mark.parametrize("text, value", [
    ('Association[{"a" -> 1}, "b" -> 2]', association(a=1, b=2)),
    ('x = <|"a" -> 1|>; Association[x, <|"a" -> 3|>]', association(a=3)),
    ('#a & [<|"a" -> 7|>]', 7), ('#a + #b & /@ {<|"a" -> 1, "b" -> 2|>}', call("List", 3)),
    ('Lookup[<|"a" -> 1|>, {"a", "z"}, 0]', call("List", 1, 0)), ('Lookup["a"][<|"a" -> 1|>]', 1),
    ('<|"a" -> 1|>["z"]', call("Missing", "KeyAbsent", "z")), ('<|"a" -> {5, 6}|>[["a", 2]]', 6),
    ('First[<|"a" -> 1, "b" -> 2|>]', 1),
    ('Total[<|"a" -> 1, "b" -> 2|>]', 3), ('Mean[<|"a" -> 1, "b" -> 3|>]', 2),
    ('Select[<|"a" -> 1, "b" -> 2|>, # > 1 &]', association(b=2)), ('Max[<|"a" -> 1, "b" -> 2|>]', 2),
    ('Normal[<|"a" -> 1|>]', call("List", call("Rule", "a", 1))),
    ('KeySort[<|"b" -> 1, "a" -> 2|>]', association(a=2, b=1)),
    ('Merge[{<|"a" -> 1|>, <|"a" -> 2|>}, Total]', association(a=3)),
    ('KeyTake[<|"a" -> 1, "b" -> 2|>, "b"]', association(b=2)),
    ('KeyDrop[<|"a" -> 1, "b" -> 2|>, "b"]', association(a=1)),
    ('GroupBy[Range[4], # > 2 &, Total] // Values', call("List", 3, 7)),
    ('Counts[{"a", "b", "a"}]', association(a=2, b=1)), ('AssociationThread[{"a"}, {1}]', association(a=1)),
    ('KeyValueMap[f, <|"a" -> 1|>]', call("List", call("f", "a", 1))),
    ('Sort[<|"a" -> 2, "b" -> 1|>]', association(b=1, a=2)),
    ('KeyExistsQ[<|"a" -> 1|>, "a"]', Symbol("True")), ('Values[Map[f, <|"a" -> 1|>]]', call("List", call("f", 1))),
])  # fmt: skip
def test_functions(used, text, value):
    assert used.evaluate_packets(typed(text)) == [("ReturnPacket", value)]


def test_a_loop_that_collects_in_an_association(used):
    used.evaluate("c = <||>; Do[c[Mod[i, 3]] = i, {i, 9}]")
    assert used.evaluate("Values[c]") == call("List", 7, 8, 9)
