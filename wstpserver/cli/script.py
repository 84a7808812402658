"""wstpscript - evaluates Wolfram Language code in a kernel of a WSTPServer.

Usage:
  wstpscript [options]                              An interactive session.
  wstpscript [options] -code CODE                   Evaluate CODE and print the result.
  wstpscript [options] -file FILE [-print]          Evaluate a script file.
  wstpscript [options] [-print] < FILE              The same from standard input.
  wstpscript [options] -map FUNCTION -over FILE     Apply FUNCTION to each element, by several kernels.
  wstpscript -help | -version

Options (one dash or two):
  -c, -code CODE           Code; of several expressions the result of the last one is printed.
  -f, -file FILE           A script file (- for standard input); only what it prints itself is shown.
  -print                   Print the result of a script, too.
  -wstpserver [ADDRESS]    The server: PORT, PORT@HOST, or wstp://HOST:PORT/POOL. [default: 31415@localhost, or
                           where nothing listens there the first server that is advertised on the network]
  -kernelpool NAME         Take a kernel of this pool.
  -startprofile [FILE]     Take a kernel, keep it, and note it in the profile FILE or in the default profile.
  -continueprofile [FILE]  Go back to the kernel that the profile names.
  -timeout SECONDS         Give up after this time, in a session for each input; the evaluation is aborted.
  -map FUNCTION            A function of one argument, such as Prime or '#^2 &'. -code or -file goes before it, in
                           each kernel; -timeout is for each element.
  -over FILE               A JSON array, or a JSON value on each line; - for standard input.
  -kernels N               So many parallel kernels instead of all that are free.
  -progress                Show a progress bar on stderr.
  -h, -help                Print this help.
  -version                 Print the version.

Printed output goes to stdout and messages to stderr while the evaluation runs. A Null result prints nothing. Ctrl-C
aborts the evaluation. Without a profile the kernel is closed at the end. An interactive session ends with Ctrl-D,
WSTPServer`DisconnectKernel[], or Quit[], which ends the kernel, too.

Exit status: 0; 1 the evaluation failed ($Failed, $Aborted, a syntax error, time over, the kernel died), or the
kernel of a profile is gone; 2 wrong usage; 69 no server or no kernel; 130 ended by Ctrl-C; 141 nobody reads the output.
Exit[n] in the code makes it n.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from wstpserver.cli.options import UsageError
from wstpserver.cli.script_arguments import ScriptArguments, parse
from wstpserver.cli.script_errors import (
    EXIT_CLOSED_PIPE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    ScriptError,
)
from wstpserver.cli.script_interactive import interact
from wstpserver.cli.script_kernel import open_conversation
from wstpserver.cli.script_program import Outcome, program, read_outcome
from wstpserver.cli.script_source import read_source
from wstpserver.cli.script_terminal import Terminal
from wstpserver.client import Callbacks, LinkSyntaxError, Session
from wstpserver.client.deadline import Deadline
from wstpserver.version import VERSION
from wstpserver.wire.errors import WSTPError

#: Seconds for the kernel to obey an abort before the link is closed.
_ABORT_GRACE: Final = 1.0

DOCUMENT: Final = __doc__ or ""


def main(words: Sequence[str] | None = None) -> int:
    """The program ``wstpscript``; returns its exit status."""
    terminal = Terminal()
    try:
        return _main(sys.argv[1:] if words is None else words, terminal)
    except ScriptError as error:
        terminal.error(f"wstpscript: {error}")
        return error.status
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        terminal.abandon()
        return EXIT_CLOSED_PIPE


def _main(words: Sequence[str], terminal: Terminal) -> int:
    try:
        arguments = parse(words)
        if arguments.help:
            terminal.write(DOCUMENT)
            return EXIT_OK
        if arguments.version:
            terminal.write(f"wstpscript {VERSION}\n")
            return EXIT_OK
        if arguments.map is not None:
            from wstpserver.cli.script_map import run_map  # which others need not wait for

            return run_map(arguments, terminal)
        code = _code(arguments)
    except (UsageError, LinkSyntaxError) as error:
        terminal.error(f"wstpscript: {error}")
        terminal.error("Try wstpscript -help.")
        return EXIT_USAGE
    return _interact(arguments, terminal) if code is None else _evaluate(code, arguments, terminal)


def _code(arguments: ScriptArguments) -> str | None:
    """What is to be evaluated; None for an interactive session. UsageError."""
    if arguments.code is not None:
        return arguments.code
    if arguments.file is not None:
        return read_source(arguments.file)
    return None if sys.stdin is not None and sys.stdin.isatty() else read_source("-")


def _callbacks(terminal: Terminal) -> Callbacks:
    """For what is not entered at the prompt. A result is then one of an evaluation that was begun before."""
    return Callbacks(
        on_print=terminal.write,
        on_message=terminal.message,
        on_result=terminal.value,
        on_input=terminal.ask,
        on_menu=terminal.choose,
    )


def _interact(arguments: ScriptArguments, terminal: Terminal) -> int:
    conversation = open_conversation(arguments, Deadline(arguments.timeout), _callbacks(terminal), terminal)
    with conversation.session:
        return interact(conversation, terminal, arguments.timeout)


def _evaluate(code: str, arguments: ScriptArguments, terminal: Terminal) -> int:
    deadline = Deadline(arguments.timeout)
    conversation = open_conversation(arguments, deadline, _callbacks(terminal), terminal)
    try:
        with conversation.session as session:
            outcome = _run(session, code, deadline)
    except WSTPError as error:
        raise ScriptError(str(error), EXIT_FAILED) from None
    if outcome.text is not None and (arguments.code is not None or arguments.print_result):
        terminal.write(outcome.text + "\n")
    return outcome.status


def _run(session: Session, code: str, deadline: Deadline) -> Outcome:
    if not code.strip():
        return Outcome(None, EXIT_OK)
    try:
        return read_outcome(session.evaluate(program(code), deadline.remaining()))
    except (KeyboardInterrupt, BrokenPipeError):
        # The kernel has been told; let it come to rest, so that the server finds it idle.
        try:
            session.synchronize(_ABORT_GRACE)
        except WSTPError:
            pass
        raise


if __name__ == "__main__":
    sys.exit(main())
