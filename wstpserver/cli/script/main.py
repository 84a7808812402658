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
  -wstpserver [ADDRESS]    The server: PORT, PORT@HOST, or wstp://HOST:PORT/POOL (wstps:// with TLS). Without it the
                           environment variable WSTPSERVER, else 31415@localhost, or if nothing listens there the
                           first server that is advertised on the network.
  -kernelpool NAME         Take a kernel of this pool.
  -startprofile [FILE]     Take a kernel, keep it, and note it in the profile FILE or in the default profile.
  -continueprofile [FILE]  Go back to the kernel that the profile names.
  -timeout SECONDS         Give up after this time, in a session for each input; the evaluation is aborted.
  -directory DIRECTORY     The kernel's current folder. [default: that of wstpscript, if the server is on this computer]
  -map FUNCTION            A function of one argument, such as Prime or '#^2 &'. -code or -file goes before it, in
                           each kernel; -timeout is for each element.
  -over FILE               A JSON array, or a JSON value on each line; - for standard input.
  -kernels N               Use N parallel kernels instead of all that are free.
  -progress                Show a progress bar on stderr.
  -h, -help                Print this help.
  -version                 Print the version.

Printed output goes to stdout and messages to stderr while the evaluation runs. A Null result prints nothing. Ctrl-C
aborts the evaluation. Without a profile the kernel is closed at the end. An interactive session ends with Ctrl-D,
WSTPServer`DisconnectKernel[], or Quit[], which closes the kernel, too. The environment variable WSTPSERVER_TOKEN_FILE
names a file with the access token for the server, if it needs one.

Exit status: 0; 1 the evaluation failed ($Failed, $Aborted, a syntax error, a timeout, the kernel died), or the
kernel of a profile is gone; 64 wrong usage; 69 no server or no kernel; 74 the output cannot be written; 130 ended by
Ctrl-C; 141 nobody reads the output. Exit[n] in the code makes it n.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wstpserver.cli.options import UsageError
from wstpserver.cli.script.connect import (
    KernelChoice,
    ScriptSession,
    explain_end,
    is_on_this_machine,
    open_kernel,
    server_name,
    show_missed_output,
)
from wstpserver.cli.script.program import (
    ScriptOutcome,
    change_folder,
    is_blank,
    program,
    read_outcome,
    read_source,
)
from wstpserver.cli.terminal import ExitCode, ProgramError, Terminal, run_program
from wstpserver.client import Callbacks, EvaluationTimeout, KernelMessage, Session, parse_address
from wstpserver.client.deadline import Deadline
from wstpserver.version import VERSION
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Symbol

DOCUMENT: Final = __doc__ or ""

#: Seconds for the kernel to obey an abort before the link is closed.
_ABORT_GRACE: Final = 1.0


def main(words: Sequence[str] | None = None) -> int:
    """The program ``wstpscript``; returns its exit status."""
    given = sys.argv[1:] if words is None else words
    return run_program("wstpscript", "-help", lambda terminal: _main(given, terminal))


def _main(words: Sequence[str], terminal: Terminal) -> int:
    arguments = parse(words)
    if arguments.help:
        terminal.write(DOCUMENT)
        return ExitCode.OK
    if arguments.version:
        terminal.write(f"wstpscript {VERSION}\n")
        return ExitCode.OK
    if arguments.map is not None:
        return _map(arguments, terminal)
    code = _code(arguments)
    return _interact(arguments, terminal) if code is None else _evaluate(code, arguments, terminal)


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


def _code(arguments: ScriptArguments) -> str | None:
    """What is to be evaluated; None for an interactive session. UsageError."""
    if arguments.code is not None:
        return arguments.code
    if arguments.file is not None:
        return read_source(arguments.file)
    return None if sys.stdin is not None and sys.stdin.isatty() else read_source("-")


def _choice(arguments: ScriptArguments) -> KernelChoice:
    return KernelChoice(
        arguments.address, arguments.kernel_pool, arguments.start_profile, arguments.continue_profile
    )


def _callbacks(terminal: Terminal, script: str | None = None) -> Callbacks:
    """For what is not entered at the prompt. A result is then one of an evaluation that was begun before.

    Args:
        terminal: Where it goes.
        script: File name of the script, which syntax errors are to name.
    """

    def show_message(message: KernelMessage) -> None:
        terminal.message(message if script is None else name_script(message, script))

    return Callbacks(
        on_print=terminal.write,
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
            _enter_folder(opened, arguments, deadline)
        return interact(opened, terminal, arguments.timeout, missed=arguments.continue_profile is not None)


def _evaluate(code: str, arguments: ScriptArguments, terminal: Terminal) -> int:
    deadline = Deadline(arguments.timeout)
    script = None if arguments.file in (None, "-") else arguments.file
    opened = open_kernel(_choice(arguments), deadline, _callbacks(terminal, script), terminal)
    try:
        with opened.session as session:
            if arguments.continue_profile is not None:
                show_missed_output(session, terminal)
            _enter_folder(opened, arguments, deadline)
            outcome = _run(session, code, script, deadline)
    except ProgramError:
        raise
    except WSTPError as error:
        raise ProgramError(explain_end(error, opened.address)) from None
    if outcome.text is not None and (arguments.code is not None or arguments.print_result):
        terminal.write(outcome.text + "\n")
    return outcome.status


def _enter_folder(opened: ScriptSession, arguments: ScriptArguments, deadline: Deadline) -> None:
    """Relative file names in the code are those of the user's current folder, or of the one that is named."""
    folder = arguments.directory
    if is_on_this_machine(opened.address):
        try:
            folder = os.path.abspath(folder or "")
        except OSError:  # this program's own folder has been deleted
            pass
    if folder is None:
        return
    entered = opened.session.evaluate(change_folder(folder), deadline.remaining())
    if arguments.directory is not None and entered not in (True, Symbol("True"), Symbol("System`True")):
        raise ProgramError(f"-directory {folder}: the kernel has no such folder")


def _run(session: Session, code: str, script: str | None, deadline: Deadline) -> ScriptOutcome:
    if is_blank(code):
        return ScriptOutcome(None, ExitCode.OK)
    path = "" if script is None else os.path.abspath(script)
    try:
        return read_outcome(session.evaluate(program(code, path), deadline.remaining()))
    except (KeyboardInterrupt, BrokenPipeError, ProgramError, EvaluationTimeout):
        # The kernel has been told to abort; let it come to rest, so that the server finds it idle.
        with contextlib.suppress(WSTPError):
            session.synchronize(_ABORT_GRACE)
        raise


# The command line: long options with one dash, as wolframscript has them, or with two.


#: Option names, the short ones too -> the name they are kept under.
_NAMES: Final = {
    "code": "code", "c": "code", "file": "file", "f": "file", "print": "print", "wstpserver": "wstpserver",
    "kernelpool": "kernelpool", "startprofile": "startprofile", "continueprofile": "continueprofile",
    "timeout": "timeout", "directory": "directory", "map": "map", "over": "over", "kernels": "kernels",
    "progress": "progress",
    "help": "help", "h": "help", "version": "version",
}  # fmt: skip
_VALUE_NEEDED: Final = ("code", "file", "kernelpool", "timeout", "directory", "map", "over", "kernels")
_VALUE_OPTIONAL: Final = ("wstpserver", "startprofile", "continueprofile")


@dataclass(frozen=True)
class ScriptArguments:
    """What the command line says. At most one of `code` and `file` is given, and of the two profiles."""

    code: str | None = None
    file: str | None = None
    #: As for `wstpserver.client.parse_address`; "" where the command line names no server.
    address: str = ""
    kernel_pool: str | None = None
    #: A file name, "" for the default profile; None where the option is not given.
    start_profile: str | None = None
    continue_profile: str | None = None
    print_result: bool = False
    #: Seconds; None for no limit.
    timeout: float | None = None
    #: The kernel's current folder; None for that of this program.
    directory: str | None = None
    #: A function, and the file of the data to apply it to; both or none.
    map: str | None = None
    over: str | None = None
    #: How many kernels do that; None for all that are free.
    kernels: int | None = None
    progress: bool = False
    help: bool = False
    version: bool = False


def parse(words: Sequence[str]) -> ScriptArguments:
    """The meaning of the command line's words. Raises UsageError, LinkSyntaxError."""
    given = _options(deque(words))
    arguments = ScriptArguments(
        code=given.get("code"),
        file=given.get("file"),
        address=given.get("wstpserver", ""),
        kernel_pool=given.get("kernelpool"),
        start_profile=given.get("startprofile"),
        continue_profile=given.get("continueprofile"),
        print_result="print" in given,
        timeout=_seconds(given["timeout"]) if "timeout" in given else None,
        directory=given.get("directory"),
        map=given.get("map"),
        over=given.get("over"),
        kernels=_count(given["kernels"]) if "kernels" in given else None,
        progress="progress" in given,
        help="help" in given,
        version="version" in given,
    )
    if arguments.help or arguments.version:
        return arguments
    _check(arguments)
    return arguments


def _check(arguments: ScriptArguments) -> None:
    """Refuse what does not go together."""
    if arguments.code is not None and arguments.file is not None:
        raise UsageError("-code and -file exclude each other")
    if arguments.start_profile is not None and arguments.continue_profile is not None:
        raise UsageError("-startprofile and -continueprofile exclude each other")
    pool = parse_address(arguments.address).pool
    if arguments.kernel_pool == "":
        raise UsageError("-kernelpool needs a name")
    if arguments.directory == "":
        raise UsageError("-directory needs a folder")
    if arguments.kernel_pool is not None and pool is not None and pool != arguments.kernel_pool:
        raise UsageError(f"-kernelpool {arguments.kernel_pool} is not the pool {pool} of the address")
    if arguments.continue_profile is not None and (arguments.kernel_pool or pool):
        raise UsageError("-continueprofile goes back to one kernel: a pool cannot be chosen")
    _check_map(arguments)


def _check_map(arguments: ScriptArguments) -> None:
    if arguments.map is None:
        others = {"over": arguments.over, "kernels": arguments.kernels, "progress": arguments.progress or None}
        given = next((name for name, value in others.items() if value is not None), None)
        if given is not None:
            raise UsageError(f"-{given} goes with -map FUNCTION")
        return
    if arguments.over is None:
        raise UsageError("-map needs -over FILE: a JSON array, or a JSON value on each line (- for standard input)")
    if not arguments.map.strip():
        raise UsageError("-map needs a function, such as Prime or '#^2 &'")
    if arguments.over == arguments.file == "-":
        raise UsageError("-file and -over cannot both be standard input")
    profile = arguments.start_profile if arguments.continue_profile is None else arguments.continue_profile
    if profile is not None:
        raise UsageError("-map works with several kernels: a profile cannot be given")
    if arguments.print_result:
        raise UsageError("-map prints its results anyway: -print does not go with it")


def _options(words: deque[str]) -> dict[str, str]:
    """The options by name, with their values, "" where there is none."""
    given: dict[str, str] = {}
    while words:
        word = words.popleft()
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or not name:
            raise UsageError(f"unexpected argument {word!r}")
        name = _known(name, word)
        if name in given:
            raise UsageError(f"-{name} is given twice")
        if name in _VALUE_NEEDED and not equals:
            # Code may begin with a dash: the next word is the value, whatever it is.
            if not words:
                raise UsageError(f"-{name} needs a value")
            value = words.popleft()
        elif name in _VALUE_OPTIONAL and not equals and words and not words[0].startswith("-"):
            value = words.popleft()
        elif equals and name in ("print", "progress", "help", "version"):
            raise UsageError(f"-{name} takes no value")
        given[name] = value
    return given


def _known(name: str, word: str) -> str:
    known = _NAMES.get(name.lower())
    if known is not None:
        return known
    nearest = difflib.get_close_matches(name.lower(), [long for long in _NAMES if len(long) > 1], n=1)
    raise UsageError(f"unknown option {word}" + (f"; did you mean -{nearest[0]}?" if nearest else ""))


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < 1:
        raise UsageError(f"-kernels needs a number of kernels, 1 or more, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d+\.?\d*|\.\d+", text):
        raise UsageError(f"-timeout needs a number of seconds, not {text!r}")
    return float(text)


if __name__ == "__main__":
    sys.exit(main())
