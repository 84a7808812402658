"""Associations and lists: what Mathics lacks or answers otherwise than a Wolfram kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cmp_to_key
from typing import Any

from mathics.core.atoms import Integer, String
from mathics.core.attributes import A_HOLD_FIRST, A_PROTECTED
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.list import ListExpression
from mathics.core.symbols import Symbol, SymbolFalse, SymbolTrue
from mathics.core.systemsymbols import (
    SymbolAll,
    SymbolAssociation,
    SymbolFunction,
    SymbolMissing,
    SymbolRule,
    SymbolRuleDelayed,
    SymbolSlot,
)

from wstpserver.embedded.builtins.library import Library

COLLECTIONS = Library()

SymbolNothing, SymbolKey = Symbol("System`Nothing"), Symbol("System`Key")

#: The entries of an association: keys with their rules, in order. Keys are compared as expressions.
Entries = dict[BaseElement, Expression]


def is_association(element: BaseElement) -> bool:
    """Whether an expression is an association whose elements are rules."""
    return (
        isinstance(element, Expression)
        and element.head is SymbolAssociation
        and all(is_rule(part) for part in element.elements)
    )


def is_rule(element: BaseElement) -> bool:
    """Whether an expression is a rule of two parts."""
    return (
        isinstance(element, Expression)
        and (element.head is SymbolRule or element.head is SymbolRuleDelayed)
        and len(element.elements) == 2
    )


def entries_of(association: Any) -> Entries:
    """The entries of an association; of equal keys the last one counts, at the place of the first."""
    return {rule.elements[0]: rule for rule in association.elements}


def association_of(rules: Iterable[BaseElement]) -> Expression:
    """An association of rules with different keys, which need no evaluation any more."""
    return Expression(SymbolAssociation, *rules)


def from_pairs(pairs: Iterable[tuple[BaseElement, BaseElement]]) -> Expression:
    """An association of keys and values; of equal keys the last one counts."""
    return association_of({key: Expression(SymbolRule, key, value) for key, value in pairs}.values())


def pairs_of(association: Any) -> list[tuple[BaseElement, BaseElement]]:
    """Keys and values."""
    return [(rule.elements[0], rule.elements[1]) for rule in entries_of(association).values()]


def values_of(collection: Any) -> Sequence[BaseElement]:
    """The values of an association, the elements of another expression."""
    if is_association(collection):
        return [rule.elements[1] for rule in entries_of(collection).values()]
    elements: Sequence[BaseElement] = collection.elements
    return elements


def call(evaluation: Any, function: BaseElement, *arguments: BaseElement) -> BaseElement:
    """The value of function[arguments]."""
    expression = Expression(function, *arguments)
    return expression.evaluate(evaluation) or expression


def is_true(evaluation: Any, function: BaseElement, *arguments: BaseElement) -> bool:
    """Whether function[arguments] is True."""
    return call(evaluation, function, *arguments) is SymbolTrue


def missing(key: BaseElement) -> Expression:
    """Missing["KeyAbsent", key]"""
    return Expression(SymbolMissing, String("KeyAbsent"), key)


def operator_form(name: str, argument: BaseElement) -> Expression:
    """name[argument] as a function of what comes first: name[#, argument] &"""
    called = Expression(Symbol(f"System`{name}"), Expression(SymbolSlot, Integer(1)), argument)
    return Expression(SymbolFunction, called)


def _is_list(element: BaseElement) -> bool:
    return isinstance(element, ListExpression)


def _unwrapped(key: BaseElement) -> BaseElement:
    return key.elements[0] if isinstance(key, Expression) and key.head is SymbolKey and len(key.elements) == 1 else key


def _keys(element: BaseElement) -> list[BaseElement]:
    return [_unwrapped(key) for key in (element.elements if _is_list(element) else [element])]


def in_order(elements: Iterable[Any], evaluation: Any, key: Callable[[Any], BaseElement] | None = None) -> list[Any]:
    """Elements in canonical order, equal ones in the given order."""

    def compare(left: Any, right: Any) -> int:
        first, second = (left, right) if key is None else (key(left), key(right))
        if first == second:
            return 0
        return -1 if first < second else 1

    return sorted(elements, key=cmp_to_key(compare))


# Associations: construction, access, assignment.


@COLLECTIONS.define("Association", 0, None)
def association(evaluation: Any, *parts: BaseElement) -> BaseElement | None:
    """Lists of rules and other associations within an association are merged into it."""
    if all(is_rule(part) for part in parts):
        return None
    rules: list[BaseElement] = []
    for part in parts:
        if is_rule(part):
            rules.append(part)
        elif (_is_list(part) or is_association(part)) and all(map(is_rule, part.elements)):
            rules.extend(part.elements)
        elif part is not SymbolNothing:
            value = part.evaluate(evaluation)  # the arguments are held
            if value is None or value is part or not (_is_list(value) or is_association(value) or is_rule(value)):
                return None
            rules.extend([value] if is_rule(value) else value.elements)
    return Expression(SymbolAssociation, *rules)


@COLLECTIONS.define("Association", 1, head=True)
def association_value(evaluation: Any, head: BaseElement, key: BaseElement) -> BaseElement | None:
    """<|...|>[key]"""
    if not is_association(head):
        return None
    rule = entries_of(head).get(_unwrapped(key))
    return missing(_unwrapped(key)) if rule is None else rule.elements[1]


@COLLECTIONS.define("Set", 2)
def set_key(evaluation: Any, left: BaseElement, value: BaseElement) -> BaseElement | None:
    """asc[key] = value for a symbol whose value is an association; also asc[key1][key2] = value."""
    path: list[BaseElement] = []
    target = left
    if target.has_form("Part", 2) and _names_key(target.elements[1]):
        target, path = target.elements[0], [target.elements[1]]
    while isinstance(target, Expression) and len(target.elements) == 1 and not isinstance(target, ListExpression):
        path.insert(0, target.elements[0])
        target = target.head
    if not path or not isinstance(target, Symbol):
        return None
    owned = evaluation.definitions.get_ownvalues(target.name)
    if not owned or not is_association(owned[0].replace):
        return None
    keys = [key.evaluate(evaluation) or key for key in path]
    changed = _with_value(owned[0].replace, keys, value)
    if changed is None:
        return None
    evaluation.definitions.set_ownvalue(target.name, changed)
    return value


def _with_value(target: BaseElement, keys: list[BaseElement], value: BaseElement) -> Expression | None:
    if not is_association(target):
        return None
    entries = entries_of(target)
    key = _unwrapped(keys[0])
    if len(keys) > 1:
        inner = entries.get(key)
        changed = None if inner is None else _with_value(inner.elements[1], keys[1:], value)
        if changed is None:
            return None
        value = changed
    entries[key] = Expression(SymbolRule, key, value)
    return association_of(entries.values())


@COLLECTIONS.define("AssociateTo", 2, attributes=A_HOLD_FIRST | A_PROTECTED,
                    usage="AssociateTo[a, key -> value] adds an entry to the association a.")  # fmt: skip
def associate_to(evaluation: Any, target: BaseElement, rules: BaseElement) -> BaseElement | None:
    """Add entries to the association that is the value of a symbol."""
    given = rules.elements if _is_list(rules) or is_association(rules) else [rules]
    return _change(evaluation, target, lambda entries: entries.update({r.elements[0]: r for r in given if is_rule(r)}))


@COLLECTIONS.define("KeyDropFrom", 2, attributes=A_HOLD_FIRST | A_PROTECTED,
                    usage="KeyDropFrom[a, key] removes an entry of the association a.")  # fmt: skip
def key_drop_from(evaluation: Any, target: BaseElement, keys: BaseElement) -> BaseElement | None:
    """Remove entries of the association that is the value of a symbol."""

    def drop(entries: Entries) -> None:
        for key in _keys(keys):
            entries.pop(key, None)

    return _change(evaluation, target, drop)


def _change(evaluation: Any, target: BaseElement, change: Callable[[Entries], None]) -> BaseElement | None:
    value = target.evaluate(evaluation)
    if not isinstance(target, Symbol) or not is_association(value):
        return None
    entries = entries_of(value)
    change(entries)
    changed = association_of(entries.values())
    evaluation.definitions.set_ownvalue(target.get_name(), changed)
    return changed


@COLLECTIONS.define("Lookup", 1, 3, attributes=A_PROTECTED)
def lookup(
    evaluation: Any, collection: BaseElement, keys: BaseElement | None = None, default: BaseElement | None = None
) -> BaseElement | None:
    """Lookup in an association, a list of rules, or a list of associations."""
    if keys is None:
        return operator_form("Lookup", collection)
    if _is_list(collection) and not all(map(is_rule, collection.elements)):
        parts = [lookup(evaluation, part, keys, default) for part in collection.elements]
        return None if None in parts else ListExpression(*parts)
    if not (is_association(collection) or _is_list(collection)):
        return None
    entries: Entries = {}
    for rule in collection.elements:
        if is_association(collection):
            entries[rule.elements[0]] = rule
        else:
            entries.setdefault(rule.elements[0], rule)
    found = [entries[key].elements[1] if key in entries else default or missing(key) for key in _keys(keys)]
    return ListExpression(*found) if _is_list(keys) else found[0]


def _key_test(name: str, usage: str, test: Callable[[Entries, BaseElement], bool]) -> None:
    @COLLECTIONS.define(name, 1, 2, usage=usage)
    def key_test(evaluation: Any, target: BaseElement, key: BaseElement | None = None) -> BaseElement | None:
        if key is None:
            return operator_form(name, target)
        if not is_association(target):
            return None
        return SymbolTrue if test(entries_of(target), _unwrapped(key)) else SymbolFalse


_key_test("KeyExistsQ", "KeyExistsQ[a, key] tells whether an association has a key.", lambda e, key: key in e)
_key_test("KeyMemberQ", "KeyMemberQ[a, key] tells whether an association has a key.", lambda e, key: key in e)
_key_test("KeyFreeQ", "KeyFreeQ[a, key] tells whether an association lacks a key.", lambda e, key: key not in e)


def _key_filter(
    name: str, usage: str, kept: Callable[[Any, Entries, BaseElement], Iterable[BaseElement]]
) -> None:
    @COLLECTIONS.define(name, 1, 2, usage=usage)
    def key_filter(evaluation: Any, target: BaseElement, keys: BaseElement | None = None) -> BaseElement | None:
        if keys is None:
            return operator_form(name, target)
        if _is_list(target) and target.elements and all(map(is_association, target.elements)):
            return ListExpression(*(key_filter(evaluation, part, keys) for part in target.elements))
        if not is_association(target):
            return None
        return association_of(entries_of(target)[key] for key in kept(evaluation, entries_of(target), keys))


_key_filter("KeyTake", "KeyTake[a, keys] gives the entries with these keys.",
            lambda _, entries, keys: [key for key in _keys(keys) if key in entries])  # fmt: skip
_key_filter("KeyDrop", "KeyDrop[a, keys] gives the entries without these keys.",
            lambda _, entries, keys: [key for key in entries if key not in _keys(keys)])  # fmt: skip
_key_filter("KeySelect", "KeySelect[a, test] gives the entries whose keys pass a test.",
            lambda evaluation, entries, test: [key for key in entries if is_true(evaluation, test, key)])  # fmt: skip


@COLLECTIONS.define("KeySort", 1, 2, usage="KeySort[a] sorts an association by its keys.")
def key_sort(evaluation: Any, target: BaseElement, order: BaseElement | None = None) -> BaseElement | None:
    """Entries in the order of their keys."""
    if not is_association(target) or order is not None:
        return None
    entries = entries_of(target)
    return association_of(entries[key] for key in in_order(entries, evaluation))


@COLLECTIONS.define("KeySortBy", 2, usage="KeySortBy[a, f] sorts an association by f of its keys.")
def key_sort_by(evaluation: Any, target: BaseElement, function: BaseElement) -> BaseElement | None:
    """Entries in the order of a function of their keys."""
    if not is_association(target):
        return None
    entries = entries_of(target)
    by = {key: call(evaluation, function, key) for key in entries}
    return association_of(entries[key] for key in in_order(entries, evaluation, by.__getitem__))


@COLLECTIONS.define("KeyMap", 2, usage="KeyMap[f, a] applies f to the keys of an association.")
def key_map(evaluation: Any, function: BaseElement, target: BaseElement) -> BaseElement | None:
    """Keys replaced by a function of them."""
    if not is_association(target):
        return None
    return from_pairs((call(evaluation, function, key), value) for key, value in pairs_of(target))


@COLLECTIONS.define("KeyValueMap", 1, 2, usage="KeyValueMap[f, a] gives the list of f[key, value].")
def key_value_map(evaluation: Any, function: BaseElement, target: BaseElement | None = None) -> BaseElement | None:
    """f[key, value] for all entries."""
    if target is None or not is_association(target):
        return None
    return ListExpression(*(call(evaluation, function, key, value) for key, value in pairs_of(target)))


def _key_sets(name: str, usage: str, chosen: Callable[[list[Entries]], Iterable[BaseElement]]) -> None:
    @COLLECTIONS.define(name, 1, usage=usage)
    def key_sets(evaluation: Any, targets: BaseElement) -> BaseElement | None:
        if not _is_list(targets) or not all(map(is_association, targets.elements)):
            return None
        all_entries = [entries_of(part) for part in targets.elements]
        keys = list(dict.fromkeys(chosen(all_entries)))
        if name == "KeyComplement":
            return association_of(all_entries[0][key] for key in keys)
        return ListExpression(*(
            association_of(entries.get(key, Expression(SymbolRule, key, missing(key))) for key in keys)
            for entries in all_entries
        ))  # fmt: skip


_key_sets("KeyUnion", "KeyUnion[{a1, a2, ...}] gives all associations all keys.",
          lambda every: [key for entries in every for key in entries])  # fmt: skip
_key_sets("KeyIntersection", "KeyIntersection[{a1, a2, ...}] gives the common keys of associations.",
          lambda every: [key for key in every[0] if all(key in entries for entries in every)])  # fmt: skip
_key_sets("KeyComplement", "KeyComplement[{a1, a2, ...}] gives the entries of a1 with keys that no other has.",
          lambda every: [key for key in every[0] if not any(key in entries for entries in every[1:])])  # fmt: skip


@COLLECTIONS.define("AssociationThread", 1, 2, usage="AssociationThread[keys, values] makes an association.")
def association_thread(evaluation: Any, keys: BaseElement, values: BaseElement | None = None) -> BaseElement | None:
    """Keys and values of two lists of one length."""
    if values is None:
        if not is_rule(keys):
            return None
        keys, values = keys.elements
    both_lists = isinstance(keys, Expression) and isinstance(values, Expression)
    if not both_lists or len(keys.elements) != len(values.elements):
        return None
    return from_pairs(zip(keys.elements, values.elements, strict=True))


@COLLECTIONS.define("AssociationMap", 2, usage="AssociationMap[f, {k1, ...}] makes <|k1 -> f[k1], ...|>.")
def association_map(evaluation: Any, function: BaseElement, target: BaseElement) -> BaseElement | None:
    """Keys of a list with f of them, or f of the rules of an association."""
    if is_association(target):
        rules = [call(evaluation, function, rule) for rule in entries_of(target).values()]
        return association_of({rule.elements[0]: rule for rule in rules}.values()) if all(map(is_rule, rules)) else None
    if not _is_list(target):
        return None
    return from_pairs((key, call(evaluation, function, key)) for key in target.elements)


@COLLECTIONS.define("Merge", 2, usage="Merge[{a1, a2, ...}, f] applies f to all values of each key.")
def merge(evaluation: Any, targets: BaseElement, function: BaseElement) -> BaseElement | None:
    """F of all values of a key."""
    if not _is_list(targets):
        return None
    gathered: dict[BaseElement, list[BaseElement]] = {}
    for part in targets.elements:
        if is_rule(part):
            gathered.setdefault(part.elements[0], []).append(part.elements[1])
        elif is_association(part) or (_is_list(part) and all(map(is_rule, part.elements))):
            for rule in part.elements:
                gathered.setdefault(rule.elements[0], []).append(rule.elements[1])
        else:
            return None
    return from_pairs((key, call(evaluation, function, ListExpression(*values))) for key, values in gathered.items())


def _gathered(
    evaluation: Any, items: Iterable[BaseElement], function: BaseElement
) -> dict[BaseElement, list[BaseElement]]:
    groups: dict[BaseElement, list[BaseElement]] = {}
    for item in items:
        groups.setdefault(call(evaluation, function, item), []).append(item)
    return groups


@COLLECTIONS.define("GroupBy", 1, 3, usage="GroupBy[list, f, g] groups elements by f and applies g to each group.")
def group_by(
    evaluation: Any, items: BaseElement, function: BaseElement | None = None, reduce: BaseElement | None = None
) -> BaseElement | None:
    """Groups of elements with equal f; f -> g groups g of the elements; {f1, f2} groups in levels."""
    if function is None:
        return operator_form("GroupBy", items)
    if _is_list(function):
        first, *rest = function.elements
        outer = group_by(evaluation, items, first)
        if outer is None or not rest:
            return outer if reduce is None else group_by(evaluation, items, first, reduce)
        inner = ListExpression(*rest) if len(rest) > 1 else rest[0]
        return from_pairs((key, group_by(evaluation, group, inner, reduce) or group) for key, group in pairs_of(outer))
    by, shown = function.elements if is_rule(function) else (function, None)
    if is_association(items):
        rules: dict[BaseElement, list[BaseElement]] = {}
        for rule in entries_of(items).values():
            rules.setdefault(call(evaluation, by, rule.elements[1]), []).append(rule)
        groups = [(key, association_of(group)) for key, group in rules.items()]
    elif _is_list(items):
        found = _gathered(evaluation, items.elements, by)
        groups = [
            (key, ListExpression(*(group if shown is None else [call(evaluation, shown, item) for item in group])))
            for key, group in found.items()
        ]
    else:
        return None
    return from_pairs((key, group if reduce is None else call(evaluation, reduce, group)) for key, group in groups)


@COLLECTIONS.define("Counts", 1, usage="Counts[list] counts the elements of a list.")
def counts(evaluation: Any, items: BaseElement) -> BaseElement | None:
    """How often each element is in a list."""
    if not (_is_list(items) or is_association(items)):
        return None
    found: dict[BaseElement, int] = {}
    for item in values_of(items):
        found[item] = found.get(item, 0) + 1
    return from_pairs((item, Integer(number)) for item, number in found.items())


@COLLECTIONS.define("CountsBy", 2, usage="CountsBy[list, f] counts the elements of a list by f.")
def counts_by(evaluation: Any, items: BaseElement, function: BaseElement) -> BaseElement | None:
    """How many elements have each value of f."""
    if not _is_list(items):
        return None
    groups = _gathered(evaluation, items.elements, function)
    return from_pairs((key, Integer(len(group))) for key, group in groups.items())


@COLLECTIONS.define("PositionIndex", 1, usage="PositionIndex[list] gives the positions of each element.")
def position_index(evaluation: Any, items: BaseElement) -> BaseElement | None:
    """Positions of each element."""
    if not _is_list(items):
        return None
    found: dict[BaseElement, list[int]] = {}
    for place, item in enumerate(items.elements, 1):
        found.setdefault(item, []).append(place)
    return from_pairs((item, ListExpression(*map(Integer, places))) for item, places in found.items())


@COLLECTIONS.define("Normal", 1)
def normal(evaluation: Any, target: BaseElement) -> BaseElement | None:
    """The list of rules of an association."""
    return ListExpression(*entries_of(target).values()) if is_association(target) else None


# Functions of lists, for associations too: they see the values.


def _on_values(name: str, least: int, most: int | None, place: int = 0) -> None:
    """Let a function that takes a list take the values of an association."""
    symbol = Symbol(f"System`{name}")

    @COLLECTIONS.define(name, least, most)
    def on_values(evaluation: Any, *arguments: BaseElement) -> BaseElement | None:
        if place >= len(arguments) or not is_association(arguments[place]):
            return None
        given = list(arguments)
        given[place] = ListExpression(*values_of(arguments[place]))
        return call(evaluation, symbol, *given)


for _name, _least, _most in (
    ("Total", 1, 2), ("Mean", 1, 1), ("Median", 1, 1), ("Variance", 1, 1), ("StandardDeviation", 1, 1), ("Max", 1, 1),
    ("Min", 1, 1), ("First", 1, 2), ("Last", 1, 2), ("MemberQ", 2, 2), ("Cases", 2, 2), ("Count", 2, 2),
    ("Tally", 1, 1),
    ("AnyTrue", 2, 2), ("AllTrue", 2, 2), ("NoneTrue", 2, 2), ("FirstCase", 2, 3),
    ("SelectFirst", 2, 3), ("MinMax", 1, 2),
):  # fmt: skip
    _on_values(_name, _least, _most)
for _name, _least, _most in (("Fold", 2, 3), ("FoldList", 2, 3), ("Apply", 2, 2), ("Scan", 2, 2)):
    _on_values(_name, _least, _most, place=_most - 1)


@COLLECTIONS.define("FoldList", 2, 3)
def fold_list(
    evaluation: Any, function: BaseElement, start: BaseElement, items: BaseElement | None = None
) -> BaseElement | None:
    """{x, f[x, a], ...}: Mathics evaluates all of it again for each element."""
    whole = start if items is None else items
    if not isinstance(whole, Expression) or is_association(whole):
        return None
    elements = list(whole.elements)
    if items is None:
        if not elements:
            return whole
        start = elements.pop(0)
    values = [start]
    for element in elements:
        values.append(call(evaluation, function, values[-1], element))
    return ListExpression(*values) if isinstance(whole, ListExpression) else Expression(whole.head, *values)


@COLLECTIONS.define("Accumulate", 1)
def accumulate(evaluation: Any, items: BaseElement) -> BaseElement | None:
    """The sums of the first elements, of an association by key."""
    plus = Symbol("System`Plus")
    if not is_association(items):
        return fold_list(evaluation, plus, items)
    sums = fold_list(evaluation, plus, ListExpression(*values_of(items)))
    return from_pairs(zip(entries_of(items), getattr(sums, "elements", ()), strict=True))


def _sorted_association(name: str, least: int, most: int, arrange: Callable[..., list[Expression] | None]) -> None:
    @COLLECTIONS.define(name, least, most)
    def rearranged(evaluation: Any, target: BaseElement, *arguments: BaseElement) -> BaseElement | None:
        if not is_association(target):
            return None
        rules = arrange(evaluation, list(entries_of(target).values()), *arguments)
        return None if rules is None else association_of(rules)


def _select(evaluation: Any, rules: list[Expression], test: BaseElement, count: BaseElement | None = None) -> Any:
    chosen = [rule for rule in rules if is_true(evaluation, test, rule.elements[1])]
    return chosen[: count.value] if isinstance(count, Integer) else chosen


def _delete_cases(evaluation: Any, rules: list[Expression], pattern: BaseElement) -> list[Expression]:
    return [r for r in rules if not is_true(evaluation, Symbol("System`MatchQ"), r.elements[1], pattern)]


def _sort(evaluation: Any, rules: list[Expression]) -> list[Expression]:
    return in_order(rules, evaluation, lambda rule: rule.elements[1])


def _sort_by(evaluation: Any, rules: list[Expression], function: BaseElement) -> list[Expression]:
    by = {id(rule): call(evaluation, function, rule.elements[1]) for rule in rules}
    return in_order(rules, evaluation, lambda rule: by[id(rule)])


_sorted_association("Select", 2, 3, _select)
_sorted_association("DeleteCases", 2, 2, _delete_cases)
_sorted_association("Sort", 1, 1, _sort)
_sorted_association("SortBy", 2, 2, _sort_by)
_sorted_association("ReverseSort", 1, 1, lambda evaluation, rules: _sort(evaluation, rules)[::-1])
_sorted_association("ReverseSortBy", 2, 2, lambda evaluation, rules, f: _sort_by(evaluation, rules, f)[::-1])
_sorted_association("DeleteMissing", 1, 1, lambda evaluation, rules: [
    rule for rule in rules if not rule.elements[1].has_form("Missing", None)])  # fmt: skip


@COLLECTIONS.define("MapIndexed", 2)
def map_indexed(evaluation: Any, function: BaseElement, target: BaseElement) -> BaseElement | None:
    """f[value, {Key[key]}] for an association."""
    if not is_association(target):
        return None
    return from_pairs(
        (key, call(evaluation, function, value, ListExpression(Expression(SymbolKey, key))))
        for key, value in pairs_of(target)
    )


@COLLECTIONS.define("Part", 2, None)
def part(evaluation: Any, target: BaseElement, index: BaseElement, *rest: BaseElement) -> BaseElement | None:
    """asc[["key"]], asc[[Key[k]]], asc[[n]] and lists of these; the rest of the indices is applied to the values."""
    if not is_association(target):
        return None
    rules = list(entries_of(target).values())
    if _is_list(index):
        chosen = [_entry(rules, one) for one in index.elements]
        if any(rule is None for rule in chosen):
            return None
    elif index is SymbolAll:
        chosen = list(rules)
    else:
        rule = _entry(rules, index)
        if rule is None:
            return missing(_unwrapped(index)) if _names_key(index) else None
        value: BaseElement = rule.elements[1]
        return call(evaluation, Symbol("System`Part"), value, *rest) if rest else value
    if not rest:
        return association_of(rule for rule in chosen if rule is not None)
    return from_pairs(
        (rule.elements[0], call(evaluation, Symbol("System`Part"), rule.elements[1], *rest)) for rule in chosen if rule
    )


def _names_key(index: BaseElement) -> bool:
    return isinstance(index, String) or index is not _unwrapped(index)


def _entry(rules: list[Expression], index: BaseElement) -> Expression | None:
    if isinstance(index, Integer):
        place = index.value - 1 if index.value > 0 else index.value + len(rules)
        return rules[place] if 0 <= place < len(rules) and index.value else None
    if _names_key(index):
        key = _unwrapped(index)
        return next((rule for rule in rules if rule.elements[0] == key), None)
    return None


# Operator forms: name[argument] as a function of what comes first, or last.

#: Functions whose operator form takes the first argument, with the number of arguments the operator has.
_FIRST_LATER = {
    "Append": (1,), "ContainsAll": (1,), "ContainsAny": (1,), "ContainsExactly": (1,), "ContainsNone": (1,),
    "ContainsOnly": (1,), "CountsBy": (1,), "Delete": (1,), "DeleteCases": (1,), "Drop": (1,), "Extract": (1,),
    "FirstPosition": (1,), "GatherBy": (1,), "Insert": (2,), "Merge": (1,), "Prepend": (1,), "ReplacePart": (1,),
    "Select": (1,), "SplitBy": (1,), "SubsetQ": (1,), "TakeLargest": (1,), "TakeLargestBy": (2,), "TakeSmallest": (1,),
    "TakeSmallestBy": (2,), "OrderingBy": (1,), "KeySortBy": (1,), "StringTake": (1,), "StringDrop": (1,),
    "StringRepeat": (1,),
}  # fmt: skip
#: Functions whose operator form takes the last argument.
_LAST_LATER = {
    "AssociationMap": 1, "Array": 1, "Fold": 1, "FoldList": 1, "KeyMap": 1, "KeyValueMap": 1, "Outer": 1,
    "ParallelMap": 1,
}  # fmt: skip


def _operator(name: str, counts: tuple[int, ...], *, last: bool) -> None:
    symbol = Symbol(f"System`{name}")

    @COLLECTIONS.define(name, 1, head=True)
    def of_operator(evaluation: Any, operator: BaseElement, argument: BaseElement) -> BaseElement | None:
        if not isinstance(operator, Expression) or operator.head is not symbol or len(operator.elements) not in counts:
            return None
        given = (*operator.elements, argument) if last else (argument, *operator.elements)
        return call(evaluation, symbol, *given)

    if name in ("Delete", "GatherBy", "SplitBy"):  # Mathics takes the operator for a function of too few arguments

        @COLLECTIONS.define(name, 1)
        def as_function(evaluation: Any, argument: BaseElement) -> BaseElement | None:
            return operator_form(name, argument)


for _name, _counts in _FIRST_LATER.items():
    _operator(_name, _counts, last=False)
for _name, _count in _LAST_LATER.items():
    _operator(_name, (_count,), last=True)


# Pure functions: #name.


def install_named_slots() -> None:
    """Let #name in a pure function stand for the value of the key in the association that is the first argument."""
    original = Expression.replace_slots

    def replace_slots(self: Expression, slots: Any, evaluation: Any) -> Any:
        if self._head is SymbolSlot and len(self._elements) == 1 and isinstance(self._elements[0], String):
            key = self._elements[0]
            if len(slots) > 1 and is_association(slots[1]):
                rule = entries_of(slots[1]).get(key)
                return missing(key) if rule is None else rule.elements[1]
            return self
        return original(self, slots, evaluation)

    Expression.replace_slots = replace_slots
