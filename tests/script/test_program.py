"""What the answer to a script's program means; the program itself runs on kernels in other tests."""

import pytest

from wstpserver.cli.script.program import ScriptOutcome, ScriptVariables, program, read_outcome
from wstpserver.wire.encode import encode
from wstpserver.wire.values import Function, PackedArray, Symbol

from .helpers import ABORTED, FAILED, NULL, listed


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (listed("value", listed("olleh")), ScriptOutcome("olleh", 0)),
        (listed("value", listed("")), ScriptOutcome("", 0)),
        (listed("value", listed(NULL)), ScriptOutcome(None, 0)),
        (listed("value", listed(Symbol("System`Null"))), ScriptOutcome(None, 0)),
        (listed("value", listed(FAILED)), ScriptOutcome("$Failed", 1)),
        (listed("value", listed(ABORTED)), ScriptOutcome("$Aborted", 1)),
        (listed("value", listed()), ScriptOutcome(None, 0)),
        (listed("value", listed("1", "2")), ScriptOutcome("1\n2", 0)),
        (listed("value", listed(NULL, FAILED)), ScriptOutcome("$Failed", 1)),
        (listed("exit", listed()), ScriptOutcome(None, 0, exits=True)),
        (listed("exit", listed(3)), ScriptOutcome(None, 3, exits=True)),
        (listed("exit", listed(256)), ScriptOutcome(None, 0, exits=True)),
        (listed("exit", listed(-1)), ScriptOutcome(None, 255, exits=True)),
        (listed("exit", PackedArray.from_list([3])), ScriptOutcome(None, 3, exits=True)),
        (listed("exit", listed("no number")), ScriptOutcome(None, 0, exits=True)),
        (ABORTED, ScriptOutcome("$Aborted", 1)),
        (FAILED, ScriptOutcome("$Failed", 1)),
        (5, ScriptOutcome("5", 0)),
        (Function(Symbol("Hold"), (Function(Symbol("Throw"), (1,)),)), ScriptOutcome("Hold[Throw[1]]", 0)),
        (NULL, ScriptOutcome(None, 0)),
        (listed("value", "x", 1), ScriptOutcome('{"value", "x", 1}', 0)),
    ],
    ids=repr,
)
def test_outcome(answer, outcome):
    assert read_outcome(answer) == outcome


def test_the_program_holds_the_code_as_a_string():
    """Quotes, line ends and backslashes in it need no escaping, and it can be sent."""
    code = 'a = "b\\n\\"";\n(* \u03b1 *) a'
    found = []
    pending = [program(code)]
    while pending:
        part = pending.pop()
        if isinstance(part, Function):
            if part.head == Symbol("ToExpression"):
                found.append(part)
            pending.extend((part.head, *part.args))
    assert found == [Function(Symbol("ToExpression"), (code,))]
    encode(program(code))


def test_the_program_names_no_symbol_that_a_kernel_may_lack():
    """Naming it would create it, for the code to see."""
    names = set()
    pending = [program("1", ScriptVariables("s.wl", ("s.wl",), "line"), "ToString[#, CForm] &"), program("1")]
    while pending:
        part = pending.pop()
        if isinstance(part, Symbol):
            names.add(part.name)
        elif isinstance(part, Function):
            pending.extend((part.head, *part.args))
    assert names <= {
        "$Aborted", "$Failed", "$InputFileName", "$PrintForms", "$ScriptCommandLine", "$ScriptInputString",
        "Alternatives", "Append", "Apply", "BlankNullSequence", "Block", "Catch", "CompoundExpression", "Exit", "First",
        "Function", "HoldAllComplete", "If", "List", "Map", "Null", "Or", "OutputForm", "Pattern", "Protect", "Quit",
        "SameQ", "Select", "Set", "SetDelayed", "Slot", "SymbolName", "Throw", "ToExpression", "ToString",
        "Unevaluated", "Unprotect", "WSTPServer`Private`scriptExit", "WSTPServer`Private`shown",
        "WSTPServer`Private`status",
    }  # fmt: skip
