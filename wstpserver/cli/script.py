"""wstpscript - evaluates Wolfram Language code in a kernel of a WSTPServer.

Usage:
  wstpscript [-wstpserver [ADDRESS]] -code CODE [-timeout SECONDS]
  wstpscript [-wstpserver [ADDRESS]] -file FILE [-print] [-timeout SECONDS]
  wstpscript -help | -version

Options (one dash or two):
  -c, -code CODE           Evaluate CODE and print the result; of several expressions that of the last one.
  -f, -file FILE           Evaluate a script file (- for standard input); only what it prints itself is shown.
  -print                   Print the result of a script file too.
  -wstpserver [ADDRESS]    The server: PORT@HOST, PORT, or wstp://HOST:PORT/POOL. [default: 31415@localhost]
  -timeout SECONDS         Give up after this time; the evaluation is aborted.
  -h, -help                Print this help.
  -version                 Print the version.

Printed output goes to stdout and messages to stderr while the evaluation runs. A Null result prints nothing. Ctrl-C
aborts the evaluation.

Exit status: 0; 1 the evaluation failed ($Failed, $Aborted, a syntax error, time over, the kernel died); 2 wrong usage;
69 no server or no kernel; 130 ended by Ctrl-C; 141 nobody reads the output. Exit[n] in the code makes it n.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wstpserver.cli.arguments import UsageError
from wstpserver.cli.script_arguments import ScriptArguments, parse
from wstpserver.cli.script_program import Outcome, program, read_outcome
from wstpserver.cli.script_terminal import Terminal
from wstpserver.client import Callbacks, EvaluationError, LinkError, LinkSyntaxError, Session
from wstpserver.client.connecting import CONNECT_TIMEOUT
from wstpserver.client.deadline import Deadline
from wstpserver.version import VERSION
from wstpserver.wire.errors import WSTPError

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNAVAILABLE: Final = 69
EXIT_INTERRUPTED: Final = 130
EXIT_CLOSED_PIPE: Final = 141

#: Seconds for the kernel to obey an abort before the link is closed.
_ABORT_GRACE: Final = 1.0

DOCUMENT: Final = __doc__ or ""


def main(words: Sequence[str] | None = None) -> int:
    """The program ``wstpscript``; returns its exit status."""
    terminal = Terminal()
    try:
        return _main(sys.argv[1:] if words is None else words, terminal)
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
        code = arguments.code if arguments.code is not None else _read_file(arguments.file)
    except (UsageError, LinkSyntaxError) as error:
        terminal.error(f"wstpscript: {error}")
        terminal.error("Try wstpscript -help.")
        return EXIT_USAGE
    return _evaluate(code, arguments, terminal)


def _read_file(path: str | None) -> str:
    """The script's text, without a byte order mark and a first line that names the interpreter. UsageError."""
    assert path is not None, "without -code there is -file"
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read {path}: it is not UTF-8 ({error.reason} at byte {error.start})") from None
    # The line stays as an empty one, so that line numbers in messages are right.
    return "" if text.startswith("#!") and "\n" not in text else text[text.index("\n") :] if text[:2] == "#!" else text


def _evaluate(code: str, arguments: ScriptArguments, terminal: Terminal) -> int:
    deadline = Deadline(arguments.timeout)
    callbacks = Callbacks(on_print=terminal.write, on_message=terminal.message, on_input=terminal.ask)
    try:
        session = _open(arguments, deadline, callbacks)
    except (LinkError, EvaluationError) as error:
        terminal.error(f"wstpscript: {error}")
        return EXIT_UNAVAILABLE
    try:
        with session:
            outcome = _run(session, code, deadline)
    except WSTPError as error:
        terminal.error(f"wstpscript: {error}")
        return EXIT_FAILED
    if outcome.text is not None and (arguments.code is not None or arguments.print_result):
        terminal.write(outcome.text + "\n")
    return outcome.status


def _open(arguments: ScriptArguments, deadline: Deadline, callbacks: Callbacks) -> Session:
    """A session that has a kernel."""
    remaining = deadline.remaining()
    limit = CONNECT_TIMEOUT if remaining is None else min(CONNECT_TIMEOUT, remaining)
    session = Session(arguments.address, limit, callbacks=callbacks)
    try:
        session.synchronize(deadline.remaining())
        # Nobody comes back to this kernel, so it must not stay reserved, even if this program is killed. A kernel
        # without a server may refuse that.
        if not session.keep_kernel:
            session.send_command("SetKeepAlive", False)
    except BaseException:
        session.close()
        raise
    return session


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
