"""The configuration format: what is read, where it stands, and what is said of mistakes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wstpserver.settings.reader import MAXIMUM_DEPTH, Members, read_document


def plain(node):
    """The tree as plain Python values."""
    if isinstance(node.value, Members):
        return {member.key: plain(member.value) for member in node.value}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


def read(text):
    document = read_document(text, "f")
    assert document.problems == []
    return plain(document.root)


def problems(text):
    """The problems as (line, column, message)."""
    return [(it.line, it.column, it.message) for it in read_document(text, "f").problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", {}),
        ("\ufeff{}", {}),
        ('{"a": 1, }', {"a": 1}),
        ("[1, 2,]", [1, 2]),
        ("# first\n{ # second\n}\n# third", {}),
        ('{"a#b": "# no comment \\" # none"}', {"a#b": '# no comment " # none'}),
        ('{"a":true,"b":false,"c":null}', {"a": True, "b": False, "c": None}),
        ("[0, -0, 12, -1.5, 2e3, 2E-3, 1.25e+2]", [0, 0, 12, -1.5, 2000.0, 0.002, 125.0]),
        (r'"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"', '"\\/\b\f\n\r\té😀'),
        (r'"\ud800"', "\ufffd"),
        ("{\r\n\"a\"\r\n:\r\n1\r\n}\r\n", {"a": 1}),
        ('{"":{"":[[],{},[{}]]}}', {"": {"": [[], {}, [{}]]}}),
        ('"no object"', "no object"),
        ('{"a":1}#', {"a": 1}),
    ],
)  # fmt: skip
def test_what_is_read(text, value):
    assert read(text) == value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)  # fmt: skip


@given(json_values, st.sampled_from([None, 0, 3]), st.booleans())
def test_all_json_is_read_as_json_reads_it(value, indent, ascii_only):
    assert read(json.dumps(value, indent=indent, ensure_ascii=ascii_only)) == value


@given(st.text(st.sampled_from('{}[]:,"\\#\n\r\t a1-.etrufalsnl\ufeffé')))
def test_any_text_is_read_or_gets_a_problem_with_a_place(text):
    document = read_document(text, "f")
    assert document.root is not None or document.problems
    for problem in document.problems:
        assert problem.line >= 1 and problem.column >= 1
        assert problem.line <= text.count("\n") + 1


def test_places_are_lines_and_columns_in_characters():
    root = read_document('\ufeff{\n  "é": {\t"b": 1}, # x\n"c":[\n 7]}', "f").root
    first, second = root.value
    assert (first.line, first.column) == (2, 3)
    assert (first.value.line, first.value.column) == (2, 8)
    inner = first.value.value[0]
    assert (inner.line, inner.column, inner.value.line, inner.value.column) == (2, 10, 2, 15)
    assert (second.line, second.column) == (3, 1)
    assert (second.value.value[0].line, second.value.value[0].column) == (4, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (1, 1, 'the file is empty; expected an object, beginning with "{"')),
        ("# only\n# comments", (2, 11, 'the file is empty; expected an object, beginning with "{"')),
        ('{"a":\n{"b":1,', (2, 8, 'the file ends here, but the "}" for line 2 is missing')),
        ("[1", (1, 3, 'the file ends here, but the "]" for line 1 is missing')),
        ('{"a" 1}', (1, 6, 'expected a colon after the key "a", got "1"')),
        ('{"a":}', (1, 6, 'expected a value, got "}"')),
        ('{"a":1,,}', (1, 8, 'expected a key in quotes or "}", got ","')),
        ('{1:2}', (1, 2, 'expected a key in quotes or "}", got "1"')),
        ('{"a":1]', (1, 7, 'expected a comma or "}", got "]"')),
        ('{"a":1 2}', (1, 8, 'expected a comma or "}", got "2"')),
        ("[1:2]", (1, 3, 'expected a comma or "]", got ":"')),
        ('{"a":1}}', (1, 8, 'expected the end of the file, got "}"')),
        ("{} {}", (1, 4, 'expected the end of the file, got "{"')),
        ("{a:1}", (1, 2, 'unexpected "a"; keys and strings stand in double quotes')),
        ("{'a':1}", (1, 2, "unexpected \"'a'\"; keys and strings stand in double quotes")),
        ('{"a":True}', (1, 6, 'expected a value, got "True"; write "true" in small letters')),
        ('{"a":1} // end', (1, 9, 'expected a value, got "//"; comments begin with #')),
        ('{"a":01}', (1, 6, 'unexpected "01"; keys and strings stand in double quotes')),
        ('{"a":"b\nc"}', (1, 6, "the string that begins here is not closed in its line")),
        ('{"a":"b', (1, 6, "the string that begins here is not closed in its line")),
        ('{"a":"b\\', (1, 8, '"\\" is no escape sequence; a backslash itself is written \\\\')),
    ],
)  # fmt: skip
def test_syntax_errors(text, expected):
    assert problems(text)[0] == expected


def test_reading_goes_on_after_small_mistakes():
    text = '{"a":"C:\\Program"\n "b":[1 2],\n "a":"tab\there"\n"c":"\\u12"}'
    assert problems(text) == [
        (1, 9, '"\\P" is no escape sequence; a backslash itself is written \\\\'),
        (2, 2, 'a comma is missing before "b"'),
        (2, 9, 'a comma is missing before "2"'),
        (3, 2, 'the key "a" is given twice, first in line 1'),
        (3, 10, "the control character '\\t' must be written as an escape sequence"),
        (4, 1, 'a comma is missing before "c"'),
        (4, 6, '"\\u" is no escape sequence; a backslash itself is written \\\\'),
    ]
    assert plain(read_document(text, "f").root) == {"a": "C:\\Program", "b": [1, 2], "c": "\\u12"}


def test_a_key_given_twice_keeps_its_first_value_whatever_the_second_is():
    document = read_document('{"a":1,"a":{"a":2,"b":[{}]},"c":3}', "f")
    assert plain(document.root) == {"a": 1, "c": 3}
    assert len(document.problems) == 1


def test_nesting_is_limited():
    assert read("[" * MAXIMUM_DEPTH + "]" * MAXIMUM_DEPTH)
    assert problems("[" * 1_000_000) == [(1, MAXIMUM_DEPTH + 1, f"nested more than {MAXIMUM_DEPTH} levels deep")]


def test_the_number_of_problems_is_limited():
    found = problems("[" + "1 " * 100_000 + "]")
    assert len(found) == 101
    assert found[-1][2] == "more than 100 problems; reading stops here"
    assert len(problems('"' + "\\x" * 100_000 + '"')) == 101


def test_numbers_too_long_for_anything_are_refused():
    assert problems("1" * 5000)[0][2] == f'the number "{"1" * 37}..." is too long'
