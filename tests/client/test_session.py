"""Sessions: values, output while it happens, questions, and that no answer ever goes to another evaluation."""

import json
import threading

import pytest

from tests.support.cases import for_all
from tests.support.packets import (
    begin_dialog_packet,
    call_packet,
    display_packet,
    end_dialog_packet,
    input_name_packet,
    input_packet,
    input_string_packet,
    menu_packet,
    syntax_packet,
)
from wstpserver.client import (
    Callbacks,
    CommandError,
    ConnectError,
    EvaluationAborted,
    EvaluationError,
    EvaluationFailed,
    EvaluationTimeout,
    KernelLost,
    KernelMessage,
    KernelWarning,
    LinkClosed,
    Session,
    TextOutput,
    resync,
)
from wstpserver.wire.encode import encode
from wstpserver.wire.packets import packet, return_packet, text_packet
from wstpserver.wire.values import Function, Symbol

from .helpers import NO_ANSWER, PROMPT, Kernel, Recorder, Worker, dies, endless, peer, session_with, takes

ABORTED = Symbol("$Aborted")
SUCCESS = json.dumps({"status": "ExecutionSuccess"})
END_OF_KERNEL = Function(Symbol("SetKeepAlive"), (Symbol("False"),))


# Values


@for_all("classic", [False, True])
def test_text_and_expressions(classic):
    plus = Function(Symbol("Plus"), (2, 2))
    kernel = Kernel({"2+2": 4, plus: 4, "f[x]": Function(Symbol("f"), (Symbol("x"),))})
    with session_with(kernel, classic=classic) as session:
        assert session.evaluate("2+2", PROMPT) == 4
        assert session.evaluate(plus, PROMPT) == 4
        assert session.evaluate(5, PROMPT) == 5
        assert session.evaluate("f[x]", PROMPT) == Function(Symbol("f"), (Symbol("x"),))
        assert session.prompt == "In[1]:= "
    assert ("EvaluatePacket", Function(Symbol("ToExpression"), ("2+2",))) in kernel.seen


def test_a_link_can_be_given():
    with peer(Kernel()) as name:
        from wstpserver.client import connect

        with Session(connect(name, PROMPT)) as session:
            assert session.evaluate(3, PROMPT) == 3


def test_a_kernel_that_sends_no_prompt():
    """As behind a server without automatic connection."""
    with session_with(Kernel(prompt=False)) as session:
        assert session.evaluate(3, PROMPT) == 3
        assert session.prompt is None


def test_no_server(closed_port):
    with pytest.raises(ConnectError):
        Session(f"{closed_port}@127.0.0.1", PROMPT)


# Output


def test_output_comes_while_it_happens():
    """The kernel goes on only when the callback has seen the line."""
    seen = threading.Event()

    def rule(kernel):
        kernel.print("first\n")
        assert seen.wait(PROMPT)
        kernel.print("second\n")
        return 7

    lines = []

    def on_print(text):
        lines.append(text)
        seen.set()

    with session_with(Kernel({"go": rule}), Callbacks(on_print=on_print)) as session:
        assert session.evaluate("go", PROMPT) == 7
    assert lines == ["first\n", "second\n"]


def test_messages_are_one_event_with_their_text():
    def rule(kernel):
        kernel.print("before\n")
        kernel.message("Power", "infy", "Power::infy: Infinite expression 1/0.\n")
        kernel.message("f", "x", None)
        kernel.message("g", "y", "second text")
        kernel.print("after\n")
        kernel.link.put(packet("MessagePacket", Symbol("General"), Symbol("stop")))
        kernel.link.put(display_packet("%!PS"))
        return 1

    recorder = Recorder()
    with session_with(Kernel({"go": rule}), recorder.callbacks) as session:
        session.evaluate("go", PROMPT)
    assert recorder.events == [
        ("print", "before\n"),
        ("message", "Power", "infy", "Power::infy: Infinite expression 1/0.\n"),
        ("message", "f", "x", ""),
        ("message", "g", "y", "second text"),
        ("print", "after\n"),
        ("message", "General", "stop", ""),
    ]


def test_callbacks_of_one_call_come_before_those_of_the_session():
    def rule(kernel):
        kernel.print("text")
        kernel.message("f", "x", "message")
        return 1

    session_heard, call_heard = [], []
    both = Callbacks(on_print=session_heard.append, on_message=session_heard.append)
    with session_with(Kernel({"go": rule}), both) as session:
        session.evaluate("go", PROMPT, callbacks=Callbacks(on_print=call_heard.append))
        session.evaluate("go", PROMPT)
    message = KernelMessage("f", "x", "message")
    assert call_heard == ["text"]
    assert session_heard == [message, "text", message]


def test_without_callbacks_text_goes_to_stdout_and_messages_are_warnings(capsys):
    def rule(kernel):
        kernel.print("text")
        kernel.message("f", "x", "message")
        kernel.link.put(packet("SuspendPacket"))
        kernel.link.put(Function(Symbol("NoPacketAtAll"), (1,)))
        kernel.link.put("no packet either")
        kernel.link.put(packet("TextPacket"))
        return 1

    with session_with(Kernel({"go": rule})) as session, pytest.warns(KernelWarning) as caught:
        assert session.evaluate("go", PROMPT) == 1
    assert [str(warning.message) for warning in caught] == ["message"]
    assert caught[0].filename == __file__, "the line that called the library"
    assert capsys.readouterr().out == "text"


def test_quiet_callbacks_drop_output(capsys, recwarn):
    def rule(kernel):
        kernel.print("text")
        kernel.message("f", "x", "message")
        return 1

    with session_with(Kernel({"go": rule})) as session:
        assert session.evaluate("go", PROMPT, callbacks=Callbacks.quiet()) == 1
    assert not recwarn.list
    assert capsys.readouterr().out == ""


def test_check_raises_on_messages_and_on_failed():
    def warns(kernel):
        kernel.message("Power", "infy", "Power::infy: Infinite expression 1/0 encountered.")
        return Function(Symbol("DirectedInfinity"), ())

    kernel = Kernel({"1/0": warns, "bad": Symbol("$Failed"), "good": 1})
    with session_with(kernel) as session:
        with pytest.raises(EvaluationFailed, match=r"^Power::infy: Infinite expression") as caught:
            session.evaluate("1/0", PROMPT, check=True)
        assert [message.tag for message in caught.value.messages] == ["infy"]
        assert str(caught.value.value) == "ComplexInfinity"
        with pytest.raises(EvaluationFailed, match=r"the value is \$Failed"):
            session.evaluate("bad", PROMPT, check=True)
        with pytest.raises(EvaluationFailed):
            session.evaluate_text("bad", PROMPT, check=True)
        with pytest.raises(EvaluationFailed):
            session.enter_expression(Symbol("$Failed"), PROMPT, check=True)
        values = session.evaluate_many(["good", "bad", "good"], PROMPT, check=True)
        assert next(values) == 1
        with pytest.raises(EvaluationFailed):
            next(values)
        assert session.evaluate("good", PROMPT, check=True) == 1
        assert session.evaluate("bad", PROMPT) == Symbol("$Failed")
        session.check = True
        with pytest.raises(EvaluationFailed):
            session.evaluate("bad", PROMPT)
        assert session.evaluate("bad", PROMPT, check=False) == Symbol("$Failed")


# Questions


@for_all("ask", [input_packet, input_string_packet])
def test_input(ask):
    recorder = Recorder(["41"])
    with session_with(Kernel({"go": lambda kernel: kernel.ask(ask("? ")).arguments[0]}), recorder.callbacks) as session:
        assert session.evaluate("go", PROMPT) == "41"
    assert recorder.events == [("input", "? ")]


def test_input_that_nobody_gives_aborts():
    def rule(kernel):
        kernel.link.put(input_packet("? "))
        return kernel.until_aborted()

    with session_with(Kernel({"go": rule})) as session:
        with pytest.raises(EvaluationError, match="asks for input"):
            session.evaluate("go", PROMPT)
        assert session.evaluate(5, PROMPT) == 5


@for_all("enter", [Session.evaluate, Session.evaluate_text])
def test_nothing_is_sent_that_could_answer_a_question_that_was_given_up(enter):
    """The abort may come later than what follows it, since it takes another connection: it is waited for."""
    came = []

    def rule(kernel):
        kernel.link.put(input_packet("? "))
        aborted = kernel.until_aborted()  # by the second abort: the first one has no effect
        came.append(kernel.link.ready(0))
        return aborted

    def give_up(prompt):
        raise KeyboardInterrupt

    kernel = Kernel({"go": rule}, ignore_aborts=1)
    with session_with(kernel, Callbacks(on_input=give_up)) as session:
        with pytest.raises(KeyboardInterrupt):
            enter(session, "go", PROMPT)
        with pytest.raises(EvaluationTimeout, match="still at work"):
            session.synchronize(0.1)
        session.synchronize(PROMPT)
        assert session.prompt == ("In[2]:= " if enter is Session.evaluate_text else "In[1]:= ")
        assert session.evaluate(5, PROMPT) == 5
    assert came == [False]


def test_the_menu_of_an_interrupted_kernel():
    def rule(kernel):
        assert kernel.interrupted.wait(PROMPT)
        kernel.interrupted.clear()
        return kernel.ask(menu_packet(1, "Interrupt> ")).arguments[0]

    recorder = Recorder(["a"])
    with session_with(Kernel({"go": rule})) as session:
        assert session.interrupt() is False, "nothing runs"
        for callbacks, answer in ((None, "c"), (recorder.callbacks, "a")):
            worker = Worker(lambda given=callbacks: session.evaluate("go", PROMPT, callbacks=given))
            while not session.interrupt():
                threading.Event().wait(0.001)
            assert worker.finish() == answer
    assert recorder.events == [("menu", "Interrupt> ")]


def test_functions_of_the_client():
    call = Callbacks(on_call=lambda number, arguments: Function(Symbol("List"), (number, arguments)))

    def rule(kernel):
        return kernel.ask(call_packet(3, "x")).arguments[0]

    with session_with(Kernel({"go": rule})) as session:
        assert session.evaluate("go", PROMPT, callbacks=call) == [3, "x"]
        assert session.evaluate("go", PROMPT) == Symbol("$Failed")


def test_a_dialog_is_left():
    """The prompt and the results inside it do not end the evaluation."""

    def rule(kernel):
        kernel.link.put(begin_dialog_packet(1))
        answer = kernel.ask(input_name_packet("(Dialog) In[2]:= "))
        assert answer == ("EnterExpressionPacket", (Function(Symbol("Return"), ()),))
        kernel.link.put(return_packet("inside"))
        kernel.link.put(end_dialog_packet(1))
        return "outside"

    with session_with(Kernel({"go": rule})) as session:
        assert session.evaluate("go", PROMPT) == "outside"
        assert session.evaluate_text("go", PROMPT).text == "outside"


# Lines of text


def test_lines_of_text():
    def wrong(kernel):
        kernel.message("Syntax", "sntxi", "incomplete")
        kernel.link.put(syntax_packet(3))

    with session_with(Kernel({"1+1": 2, "x;": None, "1+": wrong})) as session:
        assert session.evaluate_text("1+1", PROMPT) == TextOutput("Out[1]= ", "2", "In[2]:= ", None)
        assert session.evaluate_text("x;", PROMPT) == TextOutput(None, None, "In[3]:= ", None)
        recorder = Recorder()
        entered = session.evaluate_text("1+", PROMPT, callbacks=recorder.callbacks)
        assert entered == TextOutput(None, None, "In[4]:= ", 3)
        assert recorder.events == [("message", "Syntax", "sntxi", "incomplete")]
        assert session.prompt == "In[4]:= "


def test_lines_as_expressions():
    plus = Function(Symbol("Plus"), (2, 2))
    with session_with(Kernel({plus: 4})) as session:
        assert session.enter_expression(plus, PROMPT) == ("Out[1]= ", 4, "In[2]:= ")


def test_a_prompt_under_way_is_not_taken_for_the_end_of_a_line():
    """Prompts also come when a server connects a kernel; a line's answers begin after those."""

    def script(link):
        kernel = Kernel({"1+1": 2}, prompt=False)
        for _ in range(3):
            link.put(input_name_packet("In[1]:= "))
        kernel(link)

    with session_with(script) as session:
        assert session.evaluate_text("1+1", PROMPT).text == "2"
        assert session.evaluate_text("1+1", PROMPT).name == "Out[2]= "


# Time-outs and aborts


def test_a_timeout_is_what_it_says_and_the_session_goes_on():
    kernel = Kernel({"endless": endless})
    with session_with(kernel) as session:
        for _ in range(3):
            with takes(0.2), pytest.raises(EvaluationTimeout, match="within 0.2 s"):
                session.evaluate("endless", 0.2)
            assert session.evaluate(5, PROMPT) == 5
        with pytest.raises(EvaluationTimeout):
            session.evaluate_text("endless", 0.2)
        assert session.evaluate(6, PROMPT) == 6


def test_late_output_is_thrown_away():
    """Everything that a given-up evaluation still sends, its value too."""
    go_on = threading.Event()

    def stubborn(kernel):
        assert go_on.wait(PROMPT)
        kernel.print("late")
        kernel.message("f", "late", "late")
        return "late"

    recorder = Recorder()
    with session_with(Kernel({"stubborn": stubborn, "next": "right"}), recorder.callbacks) as session:
        with pytest.raises(EvaluationTimeout):
            session.evaluate("stubborn", 0.2)
        with takes(0.2), pytest.raises(EvaluationTimeout):
            session.evaluate("next", 0.2)
        go_on.set()
        assert session.evaluate("next", PROMPT) == "right"
        assert session.evaluate_text("next", PROMPT).text == "right"
    assert recorder.events == []


def test_a_timeout_counts_output_too():
    """A kernel that prints all the time does not stretch it."""

    def chatty(kernel):
        while not kernel.aborted.wait(0.02):
            kernel.print("still here\n")
        return ABORTED

    with session_with(Kernel({"chatty": chatty})) as session:
        with takes(0.3), pytest.raises(EvaluationTimeout):
            session.evaluate("chatty", 0.3)
        assert session.evaluate(1, PROMPT) == 1


def test_abort_from_another_thread():
    kernel = Kernel({"endless": endless})
    with session_with(kernel) as session:
        assert session.abort() is False, "nothing runs"
        for call in (session.evaluate, session.evaluate_text):
            worker = Worker(call, "endless", PROMPT)
            while not session.abort():
                threading.Event().wait(0.001)
            with pytest.raises(EvaluationAborted) as caught:
                worker.finish()
            assert not isinstance(caught.value, EvaluationTimeout)
            assert session.evaluate(1, PROMPT) == 1


def test_an_evaluation_that_aborts_itself_returns_that():
    with session_with(Kernel({"Abort[]": ABORTED})) as session:
        assert session.evaluate("Abort[]", PROMPT) == ABORTED


def test_an_abort_without_effect_is_repeated(monkeypatch):
    """One that reaches the kernel before it has read the evaluation is lost."""
    monkeypatch.setattr(resync, "REPEAT_ABORT", 0.05)
    with session_with(Kernel({"endless": endless}, ignore_aborts=2)) as session:
        worker = Worker(session.evaluate, "endless", PROMPT)
        while not session.abort():
            threading.Event().wait(0.001)
        with pytest.raises(EvaluationAborted):
            worker.finish()
        assert session.evaluate(1, PROMPT) == 1


def test_an_abort_that_comes_too_late_does_not_hit_the_next_evaluation():
    """The evaluation ends with its value although an abort was sent; the abort then hits what comes next: a
    question of the session's own, which it asks again.
    """
    fast = threading.Event()

    def deaf(kernel):
        fast.set()
        assert kernel.aborted.wait(PROMPT)
        kernel.rules.update({"late": None})
        return "value"

    hits = []

    class Late(Kernel):
        def _evaluate(self, content):
            # The first evaluation after the aborted one is hit by the abort that came too late.
            if "late" in self.rules and not hits:
                hits.append(content)
                return ABORTED
            return super()._evaluate(content)

    with session_with(Late({"deaf": deaf, "next": "right"})) as session:
        worker = Worker(session.evaluate, "deaf", PROMPT)
        assert fast.wait(PROMPT)
        assert session.abort()
        assert worker.finish() == "value"
        assert session.evaluate("next", PROMPT) == "right"
    assert isinstance(hits[0], int)


def test_an_exception_in_a_callback_aborts_and_goes_on_to_the_caller():
    def rule(kernel):
        kernel.print("text")
        return kernel.until_aborted()

    def failing(text):
        raise ValueError("on purpose")

    with session_with(Kernel({"go": rule})) as session:
        with pytest.raises(ValueError, match="on purpose"):
            session.evaluate("go", PROMPT, callbacks=Callbacks(on_print=failing))
        assert session.evaluate(1, PROMPT) == 1


def test_a_callback_cannot_evaluate():
    def rule(kernel):
        kernel.print("text")
        return kernel.until_aborted()

    with session_with(Kernel({"go": rule})) as session:
        with pytest.raises(EvaluationError, match="in the middle of an evaluation"):
            session.evaluate("go", PROMPT, callbacks=Callbacks(on_print=lambda _: session.evaluate(1)))
        assert session.evaluate(1, PROMPT) == 1


def test_threads_take_turns():
    with session_with(Kernel()) as session:
        workers = [Worker(lambda n=number: [session.evaluate(n, PROMPT) for _ in range(20)]) for number in range(4)]
        for number, worker in enumerate(workers):
            assert worker.finish() == [number] * 20


def test_a_thread_waits_for_its_turn_only_so_long():
    with session_with(Kernel({"endless": endless})) as session:
        worker = Worker(session.evaluate, "endless", PROMPT)
        while not session._turn.locked():
            threading.Event().wait(0.001)
        with takes(0.2), pytest.raises(EvaluationTimeout, match="another thread"):
            session.evaluate(1, 0.2)
        while not session.abort():
            threading.Event().wait(0.001)
        with pytest.raises(EvaluationAborted):
            worker.finish()


# The end of the kernel


def test_a_kernel_that_dies():
    """Told at once, after everything it had printed."""

    def rule(kernel):
        kernel.print("last words\n")
        return dies(kernel)

    recorder = Recorder()
    with session_with(Kernel({"go": rule}), recorder.callbacks) as session:
        with takes(0), pytest.raises(LinkClosed):
            session.evaluate("go", PROMPT)
        assert recorder.events == [("print", "last words\n")]
        with pytest.raises(LinkClosed):
            session.evaluate(1, PROMPT)


def test_a_kernel_that_dies_in_the_middle_of_its_answer():
    def rule(kernel):
        kernel.link.put_raw(encode(return_packet("a" * 100))[:-20])
        return dies(kernel)

    with session_with(Kernel({"go": rule})) as session, pytest.raises(LinkClosed, match="in the middle"):
        session.evaluate("go", PROMPT)


def test_the_servers_reason_comes_with_the_end_of_the_link():
    """And is not printed."""

    def rule(kernel):
        kernel.print("WSTPServer: no licence seat was free.\n")
        return dies(kernel)

    recorder = Recorder()
    with session_with(Kernel({"go": rule}), recorder.callbacks) as session:
        with pytest.raises(LinkClosed, match="; the server says: no licence seat was free$"):
            session.evaluate("go", PROMPT)
        with pytest.raises(LinkClosed, match="no licence seat was free"):
            session.command("GetKernelID")
    assert recorder.events == []


def test_output_that_only_looks_like_a_reason_is_printed():
    def rule(kernel):
        kernel.print("WSTPServer: said by a user\n")
        return 1

    recorder = Recorder()
    with session_with(Kernel({"go": rule}), recorder.callbacks) as session:
        assert session.evaluate("go", PROMPT) == 1
    assert recorder.events == [("print", "WSTPServer: said by a user\n")]


def test_what_the_server_says_between_evaluations_is_heard():
    """A notice that comes before the next line of input is printed with it, and is no reason for a later end."""
    notice = "WSTPServer: no kernel became available\n"

    def then_a_notice(kernel):
        kernel.link.put(return_packet(1))
        kernel.print(notice)
        kernel.message("f", "tag", "text")
        return NO_ANSWER

    rules = {"go": then_a_notice, "1+1": "2", "GetPoolName": json.dumps({"result": "A"}), "dies": dies}
    recorder = Recorder()
    heard = [("print", notice), ("message", "f", "tag", "text")]
    with session_with(Kernel(rules), recorder.callbacks) as session:
        assert session.evaluate("go", PROMPT) == 1
        assert session.evaluate_text("1+1", PROMPT).text == "2"
        assert recorder.events == heard
        assert session.evaluate("go", PROMPT) == 1
        assert session.command("GetPoolName") == "A"
        assert recorder.events == heard * 2
        with pytest.raises(LinkClosed, match="the other side closed the link$"):
            session.evaluate("dies", PROMPT)


@for_all("answers", [False, True])
def test_a_kernel_that_was_replaced(answers):
    """Whether or not the new one still answers the old evaluation, the next one gets its own answer."""

    def rule(kernel):
        kernel.print("WSTPServer: the kernel died; a new one takes its place\n")
        kernel.prompt()
        kernel.link.put(text_packet("from the new kernel"))
        return "old" if answers else NO_ANSWER

    kernel = Kernel({"go": rule, "next": "right"})
    with session_with(kernel) as session:
        with pytest.raises(KernelLost, match="^the kernel was replaced: .* a new one takes its place$"):
            session.evaluate("go", PROMPT)
        assert session.evaluate("next", PROMPT) == "right"
        assert session.evaluate("next", PROMPT) == "right"


# Commands to the server


def test_commands():
    rules = {
        "GetKernelID": json.dumps({"result": "a806-2645-9651"}),
        "GetServerInformation": json.dumps({"result": {"Pools": {}}}),
        "SetKeepAlive": SUCCESS,
        "CloseKernel": json.dumps({"status": "ExecutionError"}),
    }
    kernel = Kernel(rules)
    with session_with(kernel) as session:
        assert session.command("GetKernelID") == "a806-2645-9651"
        assert session.command("GetServerInformation") == {"Pools": {}}
        assert session.command("SetKeepAlive", True) is None
        with pytest.raises(CommandError, match="CloseKernel: the server answers ExecutionError") as caught:
            session.command("CloseKernel", "no such id")
        assert caught.value.reply == {"status": "ExecutionError"}
        assert session.evaluate(1, PROMPT) == 1
    assert kernel.commands[3:] == [
        Function(Symbol("SetKeepAlive"), (Symbol("True"),)),
        Function(Symbol("CloseKernel"), ("no such id",)),
    ], "and no more: the kernel was asked to be kept"


@for_all("answer", ["no JSON", 5, "[1]", Symbol("Null")])
def test_a_command_to_what_is_no_server(answer):
    with session_with(Kernel({"GetKernelID": answer})) as session:
        with pytest.raises(CommandError, match="not a WSTPServer"):
            session.command("GetKernelID")
        assert session.evaluate(1, PROMPT) == 1


def test_a_command_that_is_never_answered():
    with session_with(Kernel({"GetKernelID": None})) as session:
        with takes(0.2), pytest.raises(TimeoutError):
            session.command("GetKernelID", timeout=0.2)
        assert session.evaluate(1, PROMPT) == 1


@for_all("answer", [None, SUCCESS, "anything"])
def test_a_command_whose_answer_does_not_matter(answer):
    kernel = Kernel({"SetKeepAlive": answer})
    with session_with(kernel) as session:
        session.send_command("SetKeepAlive", Symbol("False"))
        assert session.evaluate(1, PROMPT) == 1
        assert set(kernel.commands) == {END_OF_KERNEL}


def test_a_pool_in_the_address():
    kernel = Kernel({"ConnectKernel": SUCCESS})
    with session_with(kernel, address="wstp://127.0.0.1:{}/Main%20Pool") as session:
        session.evaluate(1, PROMPT)
        connect, keep_alive = kernel.commands
        assert connect.args[0] == "Main Pool", "the first command: no kernel of another pool is taken for that"
        assert keep_alive == END_OF_KERNEL


def test_a_pool_that_gives_no_kernel_closes_the_link():
    kernel = Kernel({"ConnectKernel": json.dumps({"status": "ExecutionError"})})
    with pytest.raises(CommandError), session_with(kernel, address="wstp://127.0.0.1:{}/None"):
        pass


def test_a_pool_that_does_not_answer_in_time():
    """The timeout counts for connecting and for the pool together."""
    with peer(Kernel({"ConnectKernel": None})) as name:
        address = f"wstp://127.0.0.1:{name.partition('@')[0]}/Main"
        with takes(0.3), pytest.raises(TimeoutError):
            Session(address, timeout=0.3)


def test_synchronize_waits_for_a_kernel():
    """As at a server that must start one first."""
    start = threading.Event()

    def script(link):
        assert start.wait(PROMPT)
        Kernel()(link)

    with session_with(script) as session:
        with takes(0.2), pytest.raises(EvaluationTimeout):
            session.synchronize(0.2)
        start.set()
        session.synchronize(PROMPT)
        assert session.prompt == "In[1]:= "


# The end of the session


def test_a_session_ends_its_kernel():
    """Otherwise it would stay reserved, and the third session would find the pool full."""
    kernel = Kernel()
    with session_with(kernel) as session:
        session.evaluate(1, PROMPT)
        assert kernel.commands == [END_OF_KERNEL], "at the start: the kernel ends even if the program is killed"
    assert kernel.commands == [END_OF_KERNEL]


def test_a_session_can_leave_its_kernel():
    kernel = Kernel()
    with peer(kernel) as name, Session(name, PROMPT, keep_kernel=True) as session:
        session.evaluate(1, PROMPT)
    assert kernel.commands == []


@for_all(("specifier", "keeps"), [("a806-2645-9651", True), ("Main", False)])
def test_a_kernel_asked_for_by_its_id_is_left(specifier, keeps):
    kernel = Kernel({"ConnectKernel": SUCCESS})
    with session_with(kernel) as session:
        session.command("ConnectKernel", specifier)
    assert (kernel.commands[-1] == END_OF_KERNEL) is not keeps
    kernel = Kernel({"ConnectKernel": SUCCESS})
    with session_with(kernel, address="wstp://127.0.0.1:{}/" + specifier) as session:
        assert session.keep_kernel is keeps
    assert (kernel.commands[-1] == END_OF_KERNEL) is not keeps


def test_closing_while_another_thread_evaluates():
    release = threading.Event()
    with session_with(Kernel({"busy": lambda kernel: release.wait(PROMPT)})) as session:
        worker = Worker(session.evaluate, "busy")
        while not session._turn.locked():
            threading.Event().wait(0.001)
        with takes(0):
            session.close()
        with pytest.raises(LinkClosed):
            worker.finish()
        session.close()
        release.set()


def test_closing_after_the_kernel_has_died():
    with session_with(Kernel({"go": dies})) as session:
        with pytest.raises(LinkClosed):
            session.evaluate("go", PROMPT)
        with takes(0):
            session.close()
