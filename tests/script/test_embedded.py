"""What wstpscript has a kernel evaluate, evaluated by the embedded kernel."""

import pytest

from tests.embedded.conftest import kernel  # noqa: F401 - a fixture
from tests.embedded.harness import DEADLINE
from wstpserver.cli.script.formats import format_of
from wstpserver.cli.script.program import ScriptOutcome, ScriptVariables, change_folder, program, read_outcome
from wstpserver.client import Callbacks, Session
from wstpserver.wire.values import Symbol


@pytest.fixture(scope="module")
def session(warm_parent):
    """A kernel for all that clear what they define."""
    with Session(warm_parent.launch().link, results="expression") as session:
        yield session


@pytest.fixture
def run(session):
    """run(code) -> (outcome, printed text, names of messages), each in one and the same kernel."""

    def run(code):
        printed, messages = [], []
        callbacks = Callbacks(
            on_print=printed.append, on_message=lambda message: messages.append(f"{message.symbol}::{message.tag}")
        )
        value = session.evaluate(program(code), DEADLINE, callbacks=callbacks)
        return read_outcome(value), "".join(printed), messages

    run.session = session
    yield run
    session.evaluate('ClearAll["Global`*"]', DEADLINE)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ('StringReverse["hello"]', ScriptOutcome("olleh", 0)),
        ("2+2", ScriptOutcome("4", 0)),
        ('"a \\"quoted\\" string"', ScriptOutcome('a "quoted" string', 0)),
        ('{"a", x^2}', ScriptOutcome("{a, x ^ 2}", 0)),
        ("x = 5;", ScriptOutcome(None, 0)),
        ("Null", ScriptOutcome(None, 0)),
        ('"Null"', ScriptOutcome("Null", 0)),
        ("$Failed", ScriptOutcome("$Failed", 1)),
        ("{$Failed}", ScriptOutcome("{$Failed}", 0)),
        ("$Aborted", ScriptOutcome("$Aborted", 1)),
        ("Abort[]", ScriptOutcome("$Aborted", 1)),
        ("a = 1\nb = a + 1\nb + 1", ScriptOutcome("3", 0)),
        ("f[x_] :=\n x^2\n\n(* of three *)\nf[3]", ScriptOutcome("9", 0)),
        ("Exit[3]; 4", ScriptOutcome(None, 3, exits=True)),
        ("Quit[]", ScriptOutcome(None, 0, exits=True)),
        ("Catch[Throw[5]]", ScriptOutcome("5", 0)),
        ("Catch[Catch[Throw[5], t]]", ScriptOutcome("5", 0)),
        ("Catch[{Catch[Throw[5, t], s]}, t | u, h]", ScriptOutcome("h[5, t]", 0)),
        ("Return[5]", ScriptOutcome("Return[5]", 0)),
        ("Nothing", ScriptOutcome("Nothing", 0)),
        ("Exit", ScriptOutcome("Exit", 0)),
        ("{Quit, Head[Quit]}", ScriptOutcome("{Quit, Symbol}", 0)),
        ("Attributes[Exit]", ScriptOutcome("{Protected}", 0)),
        ('{"exit", {3}}', ScriptOutcome("{exit, {3}}", 0)),
    ],
)
def test_outcomes(run, code, outcome):
    assert run(code) == (outcome, "", [])


def test_the_program_itself_has_no_names(kernel):  # noqa: F811 - the fixture above
    with Session(kernel.link, results="expression") as session:
        value = session.evaluate(program('Names["Global`*"]'), DEADLINE)
        assert read_outcome(value) == ScriptOutcome("{}", 0)


def test_output_and_messages(run):
    assert run("Print[1]; 1/0; Print[2]; 3") == (ScriptOutcome("3", 0), "1\n2\n", ["Power::infy"])


def test_a_value_that_stays_as_it_is_with_a_message_gives_it_once(run):
    outcome = ScriptOutcome("{1, 2, 3}[[7]]", 0)
    assert run("{1, 2, 3}[[7]]") == (outcome, "", ["Part::partw"])
    assert run("Sequence[1, {1, 2, 3}[[7]]]")[2] == ["Part::partw"]
    told = []
    shown = program("{1, 2, 3}[[7]]", show=format_of("InputForm").show)
    value = run.session.evaluate(shown, DEADLINE, callbacks=Callbacks(on_message=told.append))
    assert read_outcome(value).text == "Part[{1, 2, 3}, 7]" and len(told) == 1


def test_a_syntax_error(run):
    """What stands before it has been evaluated."""
    outcome, printed, messages = run("Print[1]\n1 +* 2")
    assert (outcome, printed) == (ScriptOutcome("$Failed", 1), "1\n")
    assert len(messages) == 1
    assert messages[0].startswith("Syntax::")


def test_exit_and_quit_are_themselves_again_afterwards(run):
    run("Exit[1]")
    assert run.session.evaluate("Head[Exit]", DEADLINE) == Symbol("Symbol")
    assert run.session.evaluate("{OwnValues[Exit], OwnValues[Quit]} === {{}, {}}", DEADLINE) == Symbol("True")


@pytest.mark.parametrize(
    ("code", "shown", "message"),
    [
        ("Throw[1]", "Hold[Throw[1]]", "Throw::nocatch"),
        ("f[Throw[7]]", "Hold[Throw[7]]", "Throw::nocatch"),
        ("Throw[1, t]", "Hold[Throw[1, t]]", "Throw::nocatch"),
        ("Break[]", "Hold[Break[]]", "Break::nofdw"),
    ],
)
def test_control_flow_that_nothing_catches(run, code, shown, message):
    """As in wolframscript: the kernel's message, what it holds, and no failure."""
    assert run(code) == (ScriptOutcome(shown, 0), "", [message])


def test_the_name_of_the_script(run):
    variables = ScriptVariables("/some/where/s.wl", ("s.wl", "a b", "-c"), "line\n")
    code = "{$InputFileName, $ScriptCommandLine, $ScriptInputString}"
    value = run.session.evaluate(program(code, variables), DEADLINE)
    assert read_outcome(value) == ScriptOutcome("{/some/where/s.wl, {s.wl, a b, -c}, line\n}", 0)
    assert run("$InputFileName")[0] != ScriptOutcome("/some/where/s.wl", 0)


def test_the_current_folder(run, tmp_path):
    assert run.session.evaluate(change_folder(str(tmp_path)), DEADLINE) == Symbol("True")
    assert run("Directory[]")[0] == ScriptOutcome(str(tmp_path), 0)
    assert run.session.evaluate(change_folder(str(tmp_path / "missing")), DEADLINE) == Symbol("False")
    assert run("Directory[]") == (ScriptOutcome(str(tmp_path), 0), "", [])
