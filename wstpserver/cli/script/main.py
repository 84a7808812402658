"""The program `wstpscript`: what its command line asks for, done with one kernel, or with several by `map`."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from wstpserver.cli.script.arguments import DOCUMENT, ScriptArguments, parse, unfold_script_call
from wstpserver.cli.script.connect import (
    KernelChoice,
    ScriptSession,
    explain_end,
    is_on_this_machine,
    open_kernel,
    server_name,
    show_missed_output,
    survive,
)
from wstpserver.cli.script.formats import Format, Result, ResultWriter, encoding_of, format_of, read_result
from wstpserver.cli.script.program import (
    ScriptOutcome,
    ScriptVariables,
    change_folder,
    function_call,
    is_blank,
    program,
    read_outcome,
    read_source,
    shown_values,
)
from wstpserver.cli.terminal import ExitCode, ProgramError, Terminal, run_program
from wstpserver.client import Callbacks, CommandError, EvaluationTimeout, KernelMessage, Session
from wstpserver.client.deadline import Deadline
from wstpserver.version import VERSION
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Expression, Symbol

#: Seconds for the kernel to obey an abort before the link is closed.
_ABORT_GRACE: Final = 1.0
#: The name of the vendor's program, which this one may be called by.
_OTHER_NAME: Final = "wolframscript"
#: What is printed in place of a result that took too long.
_TIMED_OUT: Final = "$TimedOut"
#: The variable that holds standard input. Nobody waits for standard input who does not use it.
_INPUT: Final = "$ScriptInputString"


def main(words: Sequence[str] | None = None) -> int:
    """The program ``wstpscript``; returns its exit status."""
    given = sys.argv[1:] if words is None else words
    return run_program(_own_name(), "-help", lambda terminal: _main(given, terminal))


def _own_name() -> str:
    """The name of the vendor's program if that is what the user has called."""
    name = os.path.splitext(os.path.basename(sys.argv[0]))[0].lower() if sys.argv else ""
    return name if name == _OTHER_NAME else "wstpscript"


def _main(words: Sequence[str], terminal: Terminal) -> int:
    arguments = parse(unfold_script_call(words))
    if arguments.help:
        terminal.write(DOCUMENT)
        return ExitCode.OK
    if arguments.version:
        terminal.write(f"{terminal.program} {VERSION}\n")
        return ExitCode.OK
    if arguments.map is not None:
        return _map(arguments, terminal)
    script = _script(arguments, words)
    return _interact(arguments, terminal) if script is None else evaluate(script, arguments, terminal)


def _map(arguments: ScriptArguments, terminal: Terminal) -> int:
    from wstpserver.cli.script.map import MapTask, run_map  # which others need not wait for

    assert arguments.map is not None and arguments.over is not None, "checked with the command line"
    task = MapTask(
        arguments.map,
        arguments.over,
        read_source(arguments.file) if arguments.file is not None else arguments.code,
        server_name(arguments.address),
        arguments.kernel_pool,
        arguments.kernels,
        arguments.timeout,
        arguments.progress,
    )
    return run_map(task, terminal)


class Script:
    """What is evaluated: one expression or several, once or for each line of standard input.

    Args:
        code: Text of the language, or an expression; None where each line of standard input is the code.
        name: File name of the script, which messages are to name; None for code of another kind.
        command_line: The value of ``$ScriptCommandLine``.
        function: The function that is applied to the values, if it is one.
    """

    def __init__(
        self,
        code: str | None,
        name: str | None = None,
        command_line: Sequence[str] = (),
        function: Sequence[str] | None = None,
        signature: Sequence[str] = (),
    ) -> None:
        self.code = code
        self.name = name
        self._command_line = tuple(command_line)
        self._values = None if function is None else tuple(function)
        self._signature = tuple(signature)

    def inputs(self, *, linewise: bool, parts: bool) -> Iterator[tuple[str | Expression, ScriptVariables]]:
        """What is evaluated, one after the other, and what it finds in the variables.

        Args:
            linewise: Whether it is evaluated for each line of standard input.
            parts: Whether each expression of the script is evaluated by itself.
        """
        path = "" if self.name is None else os.path.abspath(self.name)
        variables = ScriptVariables(path, self._command_line)
        if linewise:
            for line in _input_lines():
                yield self._content(line), variables._replace(input=line)
            return
        if self.code is not None and self._values is None:
            if _INPUT in self.code and self.name != "-":
                variables = variables._replace(input=read_source("-", is_script=False))
            if parts:
                yield from ((part, variables) for part in _expressions(self.code))
                return
        yield self._content(None), variables

    def _content(self, line: str | None) -> str | Expression:
        """The code, for one line of standard input or for none."""
        if self._values is not None:
            values = self._values if line is None else (*self._values, line)
            return function_call(self.code or "", values, self._signature)
        return line or "" if self.code is None else self.code


def _input_lines() -> Iterator[str]:
    """The lines of standard input, as they come. UsageError."""
    if sys.stdin is None:
        return
    for line in sys.stdin:
        yield line.rstrip("\r\n")


def _expressions(code: str) -> Iterator[str]:
    """The expressions of a script, as its lines make them, each behind as many line ends as to be at its own place."""
    from wstpserver.client.interactive import is_incomplete  # which few scripts need

    begun: list[str] = []
    first = 0
    for number, line in enumerate(code.splitlines()):
        begun.append(line)
        text = "\n".join(begun)
        if is_incomplete(text):
            continue
        if not is_blank(text):
            yield "\n" * first + text
        begun, first = [], number + 1
    if begun and not is_blank("\n".join(begun)):
        yield "\n" * first + "\n".join(begun)


def _script(arguments: ScriptArguments, words: Sequence[str]) -> Script | None:
    """What is to be evaluated; None for an interactive session. UsageError."""
    if arguments.code is not None:
        return Script(arguments.code, None, (_own_name(), *words))
    if arguments.function is not None:
        return Script(arguments.function, None, (_own_name(), *words), arguments.values, arguments.signature)
    if arguments.file is not None:
        return Script(read_source(arguments.file), arguments.file, (arguments.file, *arguments.words))
    if arguments.linewise:
        return Script(None)
    return None if sys.stdin is not None and sys.stdin.isatty() else Script(read_source("-"), "-")


def _choice(arguments: ScriptArguments) -> KernelChoice:
    return KernelChoice(
        arguments.address, arguments.kernel_pool, arguments.start_profile, arguments.continue_profile
    )


def _callbacks(terminal: Terminal, script: str | None = None, *, prints_aside: bool = False) -> Callbacks:
    """For what is not entered at the prompt. A result is then one of an evaluation that was begun before.

    Args:
        terminal: Where it goes.
        script: File name of the script, which syntax errors are to name.
        prints_aside: Whether printed output goes to stderr, as stdout is for the bytes of the result.
    """

    def show_message(message: KernelMessage) -> None:
        terminal.message(message if script is None else name_script(message, script))

    def print_aside(text: str) -> None:
        terminal.error(text.removesuffix("\n"))

    return Callbacks(
        on_print=print_aside if prints_aside else terminal.write,
        on_message=show_message,
        on_result=terminal.value,
        on_input=terminal.ask,
        on_menu=terminal.choose,
        on_notice=terminal.notice,
    )


def name_script(message: KernelMessage, script: str) -> KernelMessage:
    """A syntax error, its place being one in the script. One that names no place names the script."""
    if message.symbol.removeprefix("System`") not in ("Syntax", "ToExpression"):
        return message
    text, number = _PLACE.subn(lambda match: f'(line {match[1]} of "{script}")', message.text)
    if not number and text.strip():
        body = text.rstrip("\r\n")
        text = f'{body.removesuffix(".")} (in "{script}").{text[len(body):]}'
    return message._replace(text=text)


#: A place in the text of an evaluation, as kernels name it.
_PLACE: Final = re.compile(r'\(line (\d+) of "(?:ToExpression(?:\[.*?\])?|)"\)', re.DOTALL)


def _interact(arguments: ScriptArguments, terminal: Terminal) -> int:
    from wstpserver.cli.script.repl import interact  # which scripts need not wait for

    deadline = Deadline(arguments.timeout)
    opened = open_kernel(_choice(arguments), deadline, _callbacks(terminal), terminal)
    with opened.session:
        if arguments.continue_profile is None or arguments.directory is not None:
            enter_folder(opened, arguments.directory, deadline)
        return interact(opened, terminal, arguments.timeout, missed=arguments.continue_profile is not None)


def evaluate(script: Script, arguments: ScriptArguments, terminal: Terminal) -> int:
    """Evaluate a script and print what is to be printed of it; returns the exit status.

    Raises:
        ProgramError: There is no kernel, it has ended, or something cannot be written.
    """
    form = format_of(arguments.format)
    writer = ResultWriter(terminal, arguments.output, encoding_of(arguments.charset))
    deadline = Deadline(arguments.timeout)
    named = None if script.name == "-" else script.name
    prints_aside = form.binary and arguments.output is None
    callbacks = _callbacks(terminal, named, prints_aside=prints_aside)
    opened = open_kernel(_choice(arguments), deadline, callbacks, terminal)
    if opened.profile is not None:
        survive(opened.session, opened.profile, opened.address)
    try:
        with opened.session as session:
            if arguments.verbose:
                terminal.complain(_where(opened))
            if arguments.continue_profile is not None:
                show_missed_output(session, terminal)
            enter_folder(opened, arguments.directory, deadline)
            return _run(session, script, arguments, deadline, form, writer, terminal)
    except ProgramError:
        raise
    except WSTPError as error:
        raise ProgramError(explain_end(error, opened.address)) from None


def _where(opened: ScriptSession) -> str:
    try:
        return f"{opened.address}, kernel {opened.session.command('GetKernelID')}"
    except CommandError:
        return str(opened.address)


def enter_folder(opened: ScriptSession, directory: str | None, deadline: Deadline) -> None:
    """Relative file names in the code are those of the user's current folder, or of the directory that is named."""
    folder = directory
    if is_on_this_machine(opened.address):
        try:
            folder = os.path.abspath(folder or "")
        except OSError:  # this program's own folder has been deleted
            pass
    if folder is None:
        return
    entered = opened.session.evaluate(change_folder(folder), deadline.remaining())
    if directory is not None and entered not in (True, Symbol("True"), Symbol("System`True")):
        raise ProgramError(f"-directory {folder}: the kernel has no such folder")


def _run(
    session: Session,
    script: Script,
    arguments: ScriptArguments,
    deadline: Deadline,
    form: Format,
    writer: ResultWriter,
    terminal: Terminal,
) -> int:
    """Evaluate and print all of it, until something ends it; the exit status."""
    prints = script.name is None or arguments.print_result
    status = int(ExitCode.OK)
    for code, variables in script.inputs(linewise=arguments.linewise, parts=arguments.print_all):
        if isinstance(code, str) and is_blank(code):
            continue
        try:
            limit = arguments.timeout if arguments.linewise else deadline.remaining()
            answer = _answer(session, program(code, variables, form.show if prints else ""), limit)
        except EvaluationTimeout:
            if arguments.timeout_value is None:
                if prints:
                    writer.write(Result(_TIMED_OUT))
                raise
            writer.write(Result(arguments.timeout_value))
            continue
        outcome = read_outcome(answer)
        if outcome.exits:
            # As with a kernel of one's own: the program that kept it by a profile has ended it.
            session.send_command("SetKeepAlive", Symbol("False"))
            return outcome.status
        status = status or outcome.status
        if prints:
            _write(outcome, answer, form, writer, terminal)
    return status


def _write(outcome: ScriptOutcome, answer: Expression, form: Format, writer: ResultWriter, terminal: Terminal) -> None:
    if outcome.text is None:
        return
    if not form.show or not shown_values(answer):
        writer.write(Result(outcome.text))
    elif outcome.status != ExitCode.OK and form.export:
        terminal.complain(f"the result, or what the kernel makes of it as {form.name}, is {outcome.text}")
    elif outcome.status != ExitCode.OK:
        writer.write(Result(outcome.text))
    else:
        for value in shown_values(answer):
            writer.write(read_result(value, form))


def _answer(session: Session, expression: Expression, timeout: float | None) -> Expression:
    try:
        answer: Expression = session.evaluate(expression, timeout)
        return answer
    except (KeyboardInterrupt, BrokenPipeError, ProgramError, EvaluationTimeout):
        # The kernel has been told to abort; let it come to rest, so that the server finds it idle.
        with contextlib.suppress(WSTPError):
            session.synchronize(_ABORT_GRACE)
        raise


if __name__ == "__main__":
    sys.exit(main())
