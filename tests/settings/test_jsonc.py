"""The configuration format: what is read, where it stands, and what is said of mistakes."""

import json
import math
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cases import for_all, for_each
from wstpserver.settings.jsonc import MAXIMUM_DEPTH, MAXIMUM_SIZE, ConfigurationError, Members, read_document, read_text


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


@for_all(
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


#: Unicode has none beyond the first 65,536 characters.
UNICODE_BLANKS = [chr(code) for code in range(0x20, 0x10000) if chr(code).isspace()] + ["\u200b", "\ufeff"]


@for_each(UNICODE_BLANKS, lambda blank: f"U+{ord(blank):04X}")
def test_any_unicode_blank_is_a_blank_outside_strings(blank):
    text = '{"a": {"b": true, "c": [1, Infinity], # x\n"d": " y"}}'.replace(" ", blank)
    assert read(text) == {"a": {"b": True, "c": [1, math.inf], "d": f"{blank}y"}}
    document = read_document(f'{{{blank}\n{blank}"a":{blank}x}}', "f")
    assert [(it.line, it.column) for it in document.problems] == [(2, 7)]


def test_places_are_lines_and_columns_in_characters():
    root = read_document('\ufeff{\n  "é": {\t"b": 1}, # x\n"c":[\n 7]}', "f").root
    first, second = root.value
    assert (first.line, first.column) == (2, 3)
    assert (first.value.line, first.value.column) == (2, 8)
    inner = first.value.value[0]
    assert (inner.line, inner.column, inner.value.line, inner.value.column) == (2, 10, 2, 15)
    assert (second.line, second.column) == (3, 1)
    assert (second.value.value[0].line, second.value.value[0].column) == (4, 2)


@for_all(
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
        ("{a:1}", (1, 2, 'unexpected "a"; keys and strings must be in double quotes')),
        ("{'a':1}", (1, 2, "unexpected \"'a'\"; keys and strings must be in double quotes")),
        ('{"a":True}', (1, 6, 'expected a value, got "True"; write "true"')),
        ('{"a":infinity}', (1, 6, 'expected a value, got "infinity"; write "Infinity"')),
        ('{"a":-Infinity}', (1, 6, 'unexpected "-Infinity"; keys and strings must be in double quotes')),
        ('{"a":1} // end', (1, 9, 'expected a value, got "//"; comments begin with #')),
        ('{"a":01}', (1, 6, 'unexpected "01"; keys and strings must be in double quotes')),
        ('{"a":"b\nc"}', (1, 6, "the string that begins here is not closed in its line")),
        ('{"a":"b', (1, 6, "the string that begins here is not closed in its line")),
        ('{"a":"b\\', (1, 8, '"\\" is not an escape sequence; write a backslash as \\\\')),
    ],
)  # fmt: skip
def test_syntax_errors(text, expected):
    assert problems(text)[0] == expected


def test_reading_goes_on_after_small_mistakes():
    text = '{"a":"C:\\Program"\n "b":[1 2],\n "a":"tab\there"\n"c":"\\u12"}'
    assert problems(text) == [
        (1, 9, '"\\P" is not an escape sequence; write a backslash as \\\\'),
        (2, 2, 'a comma is missing before "b"'),
        (2, 9, 'a comma is missing before "2"'),
        (3, 2, 'the key "a" is given twice, first in line 1'),
        (3, 10, "the control character '\\t' must be written as an escape sequence"),
        (4, 1, 'a comma is missing before "c"'),
        (4, 6, '"\\u" is not an escape sequence; write a backslash as \\\\'),
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


# The text of the file


def failure(path):
    """The one problem of a file that cannot be read."""
    with pytest.raises(ConfigurationError) as caught:
        read_text(path)
    (problem,) = caught.value.problems
    assert problem.file == str(path)
    return problem


def test_text_with_and_without_byte_order_mark(tmp_path):
    file = tmp_path / "f"
    file.write_bytes("größer\r\n".encode())
    assert read_text(file) == "größer\r\n"
    file.write_bytes(b"\xef\xbb\xbf{}")
    assert read_text(file) == "{}"
    file.write_bytes(b"")
    assert read_text(file) == ""


def test_what_is_not_there(tmp_path):
    assert failure(tmp_path / "f").message == "No such file or directory"
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "symbolic links" in failure(tmp_path / "loop").message
    (tmp_path / "plain").touch()
    assert failure(tmp_path / "plain" / "f").message == "Not a directory"
    assert "null" in failure(tmp_path / "f\0g").message


def test_a_file_without_permission(tmp_path, permissions_count):
    file = tmp_path / "f"
    file.touch(mode=0)
    assert failure(file).message == "Permission denied"


def test_a_folder(tmp_path):
    assert failure(tmp_path).message == "is a folder, not a file"


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path):
    os.mkfifo(tmp_path / "f")
    found = []
    thread = threading.Thread(target=lambda: found.append(failure(tmp_path / "f").message), daemon=True)
    thread.start()
    thread.join(10)
    assert found == ["is a device or a pipe, not a file"]


@for_all("name", ["null", "zero", "full"])
def test_a_device(name):
    assert failure(f"/dev/{name}").message == "is a device or a pipe, not a file"


def test_a_file_of_100_megabytes_is_refused_unread(tmp_path):
    file = tmp_path / "f"
    with open(file, "wb") as handle:
        handle.truncate(100_000_000)
    assert failure(file).message == "has 100000000 bytes or more; a configuration file has at most 4194304"


def test_the_largest_file(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b" " * MAXIMUM_SIZE)
    assert len(read_text(file)) == MAXIMUM_SIZE
    file.write_bytes(b" " * (MAXIMUM_SIZE + 1))
    assert "at most" in failure(file).message


def test_binary_data(tmp_path):
    file = tmp_path / "f"
    file.write_bytes("{\né".encode() + b"\0}")
    problem = failure(file)
    assert (problem.line, problem.column, problem.message) == (2, 2, "is not text: it holds a NUL byte")
    file.write_bytes(b"\x7fELF\x02\x01\x01\0\0\0" + os.urandom(1000))
    assert failure(file).line is not None


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_another_encoding(tmp_path, mark):
    file = tmp_path / "f"
    file.write_bytes(mark + "{\n# é\n".encode() + b'"gr\xf6sser":1}')
    problem = failure(file)
    assert (problem.line, problem.column, problem.message) == (3, 4, "byte 0xf6 is not UTF-8")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
def test_utf_16(tmp_path, encoding):
    file = tmp_path / "f"
    file.write_text("\ufeff{}" if encoding != "utf-16" else "{}", encoding=encoding)
    assert failure(file).message == "is written in UTF-16; save it as UTF-8"
