"""Text as a Wolfram kernel writes it: options of ToString, all characters, named characters, Run."""
import pytest

from tests.embedded.harness import call, typed
from wstpserver.wire.values import Symbol


def rule(name, value):
    return call("Rule", Symbol(name), value)


def test_input_form_as_java_programs_ask_for_it(used):
    """`evaluateToInputForm` of J/Link and .NET/Link sends this expression."""
    text = call("ToString", typed('{1/3, "a", x^2}'), rule("FormatType", Symbol("InputForm")), rule("PageWidth", 72))
    assert used.evaluate(text) == '{1/3, "a", x^2}'


@pytest.mark.parametrize("options, text", [
    ("FormatType -> OutputForm", "{1 / 2, s}"), ("FormatType -> InputForm", '{1/2, "s"}'),
    ("FormatType -> FullForm", 'List[Rational[1, 2], "s"]'), ("InputForm, PageWidth -> 4", '{1/2, \n "s"}'),
    ("FormatType -> InputForm, PageWidth -> Infinity", '{1/2, "s"}'),
])  # fmt: skip
def test_options_of_to_string(used, options, text):
    assert used.evaluate(f'ToString[{{1/2, "s"}}, {options}]') == text


def test_lines_are_broken_at_spaces_and_not_inside_strings(used):
    text = used.evaluate('ToString[Range[30], InputForm, PageWidth -> 20]')
    assert all(len(line) <= 20 for line in text.split("\n"))
    assert text.replace("\n ", "") == used.evaluate("ToString[Range[30], InputForm]")
    assert used.evaluate('ToString["one two three four", InputForm, PageWidth -> 6]') == '"one two three four"'


def test_output_form_continues_lines_with_a_mark(used):
    assert used.evaluate("ToString[{100, 200, 300}, PageWidth -> 12]") == "{100, 200, \n \n>    300}"


@pytest.mark.parametrize("text, shown", [
    ("{1/2, 2 I, a -> b, 1.5}", "List[Rational[1, 2], Complex[0, 2], Rule[a, b], 1.5`]"),
    ('f["a\\n\\"b"][x_]', 'f["a\\n\\"b"][Pattern[x, Blank[]]]'), ("<|1 -> {}|>", "Association[Rule[1, List[]]]"),
])  # fmt: skip
def test_full_form_writes_every_head(used, text, shown):
    assert used.shown(f"FullForm[{text}]") == shown
    assert used.evaluate(f"ToString[{text}, FullForm]") == shown


@pytest.mark.parametrize("text, value", [
    ("FromCharacterCode[120120]", "𝔸"), ("FromCharacterCode[{65, 128512}]", "A😀"),
    ("FromCharacterCode[{{97, 98}, {120120}}]", call("List", "ab", "𝔸")),
    ("ToCharacterCode[FromCharacterCode[{120120, 65}]]", call("List", 120120, 65)),
    ('FromCharacterCode[{206, 177}, "UTF8"]', "α"),
])  # fmt: skip
def test_characters_of_all_planes(used, text, value):
    assert used.evaluate(text) == value


def test_a_code_that_is_no_character(used):
    packets = used.evaluate_packets(typed("FromCharacterCode[1114112]"))
    assert packets[0] == ("MessagePacket", Symbol("FromCharacterCode"), "notunicode")


@pytest.mark.parametrize("name, code", [
    ("Rule", 0xF522), ("RuleDelayed", 0xF51F), ("ImaginaryI", 0xF74E), ("ExponentialE", 0xF74D),
    ("DifferentialD", 0xF74C), ("Equal", 0xF431), ("Infinity", 0x221E), ("Alpha", 0x03B1), ("EAcute", 0x00E9),
])  # fmt: skip
def test_named_characters_have_the_code_points_of_a_wolfram_kernel(used, name, code):
    assert used.evaluate(typed(f'"\\[{name}]"')) == chr(code)
    assert used.evaluate(call("ToString", chr(code), Symbol("InputForm"))) == f'"\\[{name}]"'


def test_named_characters_mean_the_same_in_code(used):
    for text in ("a \\[Rule] b", "a \uf522 b", "a \\:f522 b"):
        assert used.evaluate(typed(text)) == call("Rule", Symbol("a"), Symbol("b"))


@pytest.mark.parametrize("command, output, code", [
    ('"echo hi"', "hi\n", 0), ('"exit 3"', "", 3), ('"echo", "a b", 5', "a b 5\n", 0),
    ('"no-such-program-here 2>&1"', None, 127),
])  # fmt: skip
def test_run(used, command, output, code):
    *said, value = used.evaluate_packets(typed(f"Run[{command}]"))
    assert value == ("ReturnPacket", code)
    if output is not None:
        assert "".join(text for _, text in said) == output
