"""wstpscript - evaluates Wolfram Language code in a kernel of a WSTPServer.

Usage:
  wstpscript [options]                              An interactive session.
  wstpscript [options] -code CODE [ARGUMENT...]     Evaluate CODE and print the result.
  wstpscript [options] [-file] FILE [ARGUMENT...]   Evaluate a script file.
  wstpscript [options] < FILE                       The same from standard input.
  wstpscript [options] -function F [-args VALUE...] Apply F to the values and print the result.
  wstpscript [options] -linewise                    Evaluate each line of standard input and print the results.
  wstpscript [options] -map FUNCTION -over FILE     Apply FUNCTION to each element, by several kernels.
  wstpscript -help | -version

Options (one dash or two):
  -c, -code CODE           Code; of several expressions the result of the last one is printed.
  -f, -file FILE           A script file (- for standard input); only what it prints itself is shown.
  -script FILE             The same; all words that follow are arguments of the script.
  -function CODE           A function, such as 'StringReverse' or '#1^#2 &'. -fun is the same.
  -s, -signature TYPE...   The types of its arguments: String (without it, all), Integer, Real, Number, Boolean,
                           Expression, or another one of $InterpreterTypes.
  -a, -args VALUE...       The arguments of the function; all words that follow. -- is the same.
  -print [all]             Print the result of a script, too; with all, of each of its expressions.
  -format FORMAT           Print the result as Text, InputForm, OutputForm or another form, TeX, or a format of Export:
                           JSON, CSV, SVG, PNG, PDF ... For a script this implies -print.
  -o, -output FILE         Write the result to FILE instead of standard output. For a script this implies -print.
  -charset ENCODING        Write in this encoding, such as UTF-8 or ISOLatin1; None writes bytes as they are.
  -linewise                Evaluate the code, script or function once for each line of standard input. The line is
                           $ScriptInputString, for a function its last argument, and without any of them the code.
  -timeout SECONDS [V]     Give up after this time, in a session for each input; the evaluation is aborted. In place
                           of the result $TimedOut is printed, and it is an error; with V that is printed, and it is
                           none.
  -wstpserver [ADDRESS]    The server: PORT, PORT@HOST, or wstp://HOST:PORT/POOL (wstps:// with TLS). Without it the
                           environment variable WSTPSERVER, else 31415@localhost, or if nothing listens there the
                           first server that is advertised on the network.
  -kernelpool NAME         Take a kernel of this pool.
  -startprofile [FILE]     Take a kernel, keep it, and note it in the profile FILE or in the default profile.
  -continueprofile [FILE]  Go back to the kernel that the profile names; if it names none, take one and note it.
  -directory DIRECTORY     The kernel's current folder. [default: that of wstpscript, if the server is on this computer]
  -map FUNCTION            A function of one argument, such as Prime or '#^2 &'. -code or -file goes before it, in
                           each kernel; -timeout is for each element.
  -over FILE               A JSON array, or a JSON value on each line; - for standard input.
  -kernels N               Use N parallel kernels instead of all that are free.
  -progress                Show a progress bar on stderr.
  -v, -verbose             Say on stderr which server and kernel are used.
  -h, -help                Print this help.
  -version                 Print the version.

$ScriptCommandLine is the name of the script and its arguments. Words behind a script's name are the script's from the
first one on that is none of these options; behind a name without -file, all. A file that begins with a line such as
#!/usr/bin/env -S wstpscript -function -signature Integer is a program: its arguments are those of the function in it.

Printed output goes to stdout and messages to stderr while the evaluation runs. A Null result prints nothing. Ctrl-C
aborts the evaluation. Without a profile the kernel is closed at the end. An interactive session ends with Ctrl-D,
WSTPServer`DisconnectKernel[], or Quit[], which closes the kernel, too. The environment variable WSTPSERVER_TOKEN_FILE
names a file with the access token for the server, if it needs one.

Exit status: 0; 1 the evaluation failed ($Failed, $Aborted, a syntax error, a timeout, the kernel died), or the
kernel of a profile is gone; 64 wrong usage; 69 no server or no kernel; 74 the output cannot be written; 130 ended by
Ctrl-C; 141 nobody reads the output. Exit[n] in the code makes it n, and ends the kernel.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from wstpserver.cli.options import UsageError
from wstpserver.client import parse_address

DOCUMENT: Final = __doc__ or ""

#: Option names, the short ones too -> the name they are kept under.
NAMES: Final = {
    "code": "code", "c": "code", "file": "file", "f": "file", "script": "file", "function": "function",
    "fun": "function", "signature": "signature", "s": "signature", "args": "args", "a": "args", "print": "print",
    "format": "format", "output": "output", "o": "output", "charset": "charset", "linewise": "linewise",
    "wstpserver": "wstpserver", "kernelpool": "kernelpool", "startprofile": "startprofile",
    "continueprofile": "continueprofile", "timeout": "timeout", "directory": "directory", "map": "map", "over": "over",
    "kernels": "kernels", "progress": "progress", "verbose": "verbose", "v": "verbose",
    "help": "help", "h": "help", "version": "version",
}  # fmt: skip
_VALUE_NEEDED: Final = (
    "code", "file", "function", "format", "output", "charset", "kernelpool", "timeout", "directory", "map", "over",
    "kernels",
)  # fmt: skip
_VALUE_OPTIONAL: Final = ("wstpserver", "startprofile", "continueprofile")
_FLAGS: Final = ("linewise", "progress", "verbose", "help", "version")

_CLOUD: Final = "{} is for the cloud; wstpscript evaluates in kernels of a WSTPServer, leave it out"
_LICENCE: Final = "{} is for the licence of an engine; wstpscript needs none, its server's kernels have their own"
#: Options of wolframscript that mean nothing here -> why.
_REFUSED: Final = {
    "local": "{} starts a kernel; wstpscript takes one of a WSTPServer, leave it out or name the server: -wstpserver",
    "l": "{} starts a kernel; wstpscript takes one of a WSTPServer, leave it out or name the server: -wstpserver",
    "noinit": "{} is for a kernel that is started; the pool's InitializationCode is what runs here",
    "configure": "{} is not needed here: the environment variable WSTPSERVER names the server",
    "showkernels": "{} lists engines of this computer; `wstpserver-admin status` lists the kernels of a server",
    "kernelid": "{}: write the kernel into a profile (KERNELID=...), and go back to it with -continueprofile",
    **dict.fromkeys(
        ("cloud", "api", "username", "password", "auth", "authenticate", "disconnect", "permissionskey", "k"), _CLOUD
    ),
    **dict.fromkeys(("activate", "entitlement", "licenseinfo", "licenseid", "pwfile"), _LICENCE),
}


class ScriptArguments(NamedTuple):
    """What the command line says. At most one of `code`, `file` and `function` is given, and of the two profiles."""

    code: str | None = None
    file: str | None = None
    #: Text of a function, its arguments, and their types as far as they are given.
    function: str | None = None
    values: tuple[str, ...] = ()
    signature: tuple[str, ...] = ()
    #: The words behind the code or the name of the script.
    words: tuple[str, ...] = ()
    #: As for `wstpserver.client.parse_address`; "" where the command line names no server.
    address: str = ""
    kernel_pool: str | None = None
    #: A file name, "" for the default profile; None where the option is not given.
    start_profile: str | None = None
    continue_profile: str | None = None
    #: Whether the result of a script is printed, and whether that of each of its expressions is.
    print_result: bool = False
    print_all: bool = False
    #: A form or a format of Export; None for plain text.
    format: str | None = None
    #: The file for the result; None for standard output.
    output: str | None = None
    charset: str | None = None
    linewise: bool = False
    #: Seconds; None for no limit.
    timeout: float | None = None
    #: What is printed if they are over; None for an error.
    timeout_value: str | None = None
    #: The kernel's current folder; None for that of this program.
    directory: str | None = None
    #: A function, and the file of the data to apply it to; both or none.
    map: str | None = None
    over: str | None = None
    #: How many kernels do that; None for all that are free.
    kernels: int | None = None
    progress: bool = False
    verbose: bool = False
    help: bool = False
    version: bool = False


def unfold_script_call(words: Sequence[str]) -> list[str]:
    """The words that mean the same, if the system has called this program for the first line of a script.

    Then the words are the options in that line, the script, and the arguments that it was called with, which are its
    own, whatever they look like. Linux gives all options of the line in one word; `env -S` and other systems take it
    apart.

    Args:
        words: The words of the command line.

    Returns:
        The options, then `-file` with the script, or `-function` with the function in it, then its arguments. Words of
        another kind are returned as they are.
    """
    for place in range(1, len(words)):
        if not words[place - 1].strip() or words[place].startswith("-"):
            continue
        line = _interpreter_line(words[place])
        options = list(words[:place]) if place > 1 else _split(words[0])
        if options and line[-len(options) :] == options:
            return _script_call(options, words[place], words[place + 1 :])
    return list(words)


def _interpreter_line(path: str) -> list[str]:
    """The words of a script's first line, if that names its interpreter."""
    if not os.path.isfile(path):  # a pipe, say, which can be read only once
        return []
    try:
        with open(path, "rb") as file:
            line = file.readline(_LONGEST_LINE)
    except OSError:
        return []
    line = line.removeprefix(b"\xef\xbb\xbf")
    return _split(line[2:].decode("utf-8", "replace")) if line.startswith(b"#!") else []


def _split(line: str) -> list[str]:
    import shlex  # which takes a while, and is for scripts only

    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


#: Bytes of a first line that are looked at; systems take fewer.
_LONGEST_LINE: Final = 4096


def _script_call(options: list[str], script: str, arguments: Sequence[str]) -> list[str]:
    names = [NAMES.get(word.lstrip("-").lower()) if word.startswith("-") else None for word in options]
    if names[-1] == "file":
        del options[-1]
    if "function" not in names:
        return [*options, "-file", script, "--", *arguments]
    from wstpserver.cli.script.program import read_source

    options[names.index("function")] = f"-function={read_source(script)}"
    return [*options, "-args", *arguments]


def parse(words: Sequence[str]) -> ScriptArguments:
    """The meaning of the command line's words. Raises UsageError, LinkSyntaxError."""
    reader = _Reader(words)
    given = reader.read()
    arguments = ScriptArguments(
        code=given.get("code"),
        file=given.get("file"),
        function=given.get("function"),
        values=tuple(reader.values),
        signature=tuple(reader.signature),
        words=tuple(reader.arguments),
        address=given.get("wstpserver", ""),
        kernel_pool=given.get("kernelpool"),
        start_profile=given.get("startprofile"),
        continue_profile=given.get("continueprofile"),
        print_result=bool({"print", "format", "output"} & given.keys()),
        print_all=given.get("print") == "all",
        format=given.get("format"),
        output=given.get("output"),
        charset=given.get("charset"),
        linewise="linewise" in given,
        timeout=_seconds(given["timeout"]) if "timeout" in given else None,
        timeout_value=reader.timeout_value,
        directory=given.get("directory"),
        map=given.get("map"),
        over=given.get("over"),
        kernels=_count(given["kernels"]) if "kernels" in given else None,
        progress="progress" in given,
        verbose="verbose" in given,
        help="help" in given,
        version="version" in given,
    )
    if arguments.help or arguments.version:
        return arguments
    _check(arguments)
    return arguments


def _check(arguments: ScriptArguments) -> None:
    """Refuse what does not go together."""
    sources = {"code": arguments.code, "file": arguments.file, "function": arguments.function}
    given = [f"-{name}" for name, value in sources.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other")
    if arguments.function is None and (arguments.values or arguments.signature):
        raise UsageError(f"-{'args' if arguments.values else 'signature'} goes with -function CODE")
    if arguments.start_profile is not None and arguments.continue_profile is not None:
        raise UsageError("-startprofile and -continueprofile exclude each other")
    pool = parse_address(arguments.address).pool
    for name, value in {"format": arguments.format, "output": arguments.output, "charset": arguments.charset}.items():
        if value == "":
            raise UsageError(f"-{name} needs a value")
    if arguments.kernel_pool == "":
        raise UsageError("-kernelpool needs a name")
    if arguments.directory == "":
        raise UsageError("-directory needs a folder")
    if arguments.kernel_pool is not None and pool is not None and pool != arguments.kernel_pool:
        raise UsageError(f"-kernelpool {arguments.kernel_pool} is not the pool {pool} of the address")
    if arguments.continue_profile is not None and (arguments.kernel_pool or pool):
        raise UsageError("-continueprofile goes back to one kernel: a pool cannot be chosen")
    if arguments.linewise and arguments.file == "-":
        raise UsageError("with -linewise standard input holds the lines, and cannot be the script, too")
    if arguments.linewise and arguments.print_all:
        raise UsageError("-linewise prints a result for each line: -print all does not go with it")
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
    if arguments.print_all or (arguments.print_result and arguments.format is None and arguments.output is None):
        raise UsageError("-map prints its results anyway: -print does not go with it")
    others = {
        "format": arguments.format,
        "output": arguments.output,
        "charset": arguments.charset,
        "linewise": arguments.linewise or None,
        "function": arguments.function,
    }
    given = next((name for name, value in others.items() if value is not None), None)
    if given is not None:
        raise UsageError(f"-map prints lines of JSON: -{given} does not go with it")


class _Reader:
    """Reads the words of a command line."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = deque(words)
        self._given: dict[str, str] = {}
        self.arguments: list[str] = []
        self.values: list[str] = []
        self.signature: list[str] = []
        self.timeout_value: str | None = None

    def read(self) -> dict[str, str]:
        """The options by name, with their values, "" where there is none."""
        while self._words:
            word = self._words.popleft()
            name, equals, value = word.lstrip("-").partition("=")
            if word == "--":
                self._rest()
            elif not word.startswith("-") or not name:
                self._argument(word)
            elif "file" in self._given and not equals and name.lower() not in NAMES and name.lower() not in _REFUSED:
                self.arguments += (word, *self._words)  # the script's own options
                self._words.clear()
            else:
                self._option(_known(name, word), value if equals else None)
                if name.lower() == "script" and self._words and self._words[0] != "--":
                    self._words.appendleft("--")  # as for kernels, whose option this is
        return self._given

    def _argument(self, word: str) -> None:
        """A word that is no option: the script, or an argument of it."""
        if self._given.keys() & {"code", "function", "map"}:
            if "code" not in self._given:
                raise UsageError(f"unexpected argument {word!r}")
            self.arguments.append(word)
            return
        if "file" in self._given:
            self.arguments.append(word)
        else:
            self._given["file"] = word
        if self._words and self._words[0] == "--":
            self._words.popleft()
        self.arguments += self._words
        self._words.clear()

    def _rest(self) -> None:
        """All that follows is for the function or the script."""
        target = self.values if "function" in self._given else self.arguments
        target += self._words
        self._words.clear()

    def _option(self, name: str, value: str | None) -> None:
        if name in self._given:
            raise UsageError(f"-{name} is given twice")
        if name in _FLAGS and value is not None:
            raise UsageError(f"-{name} takes no value")
        if name in _VALUE_NEEDED and value is None:
            # Code may begin with a dash: the next word is the value, whatever it is.
            if not self._words:
                raise UsageError(f"-{name} needs a value" + (_NO_CLOUD if name == "output" else ""))
            value = self._words.popleft()
        elif name in _VALUE_OPTIONAL and value is None and self._words and not self._words[0].startswith("-"):
            value = self._words.popleft()
        self._given[name] = value or ""
        if name == "print":
            self._given[name] = self._print(value)
        elif name == "args":
            self.values += [] if value is None else [value]
            self.values += self._words
            self._words.clear()
        elif name == "signature":
            self.signature += [] if value is None else [value]
            while self._words and not self._words[0].startswith("-"):
                self.signature.append(self._words.popleft())
            if not self.signature:
                raise UsageError("-signature needs types, such as Integer or String")
        elif name == "timeout" and self._words and self._is_timeout_value(self._words[0]):
            self.timeout_value = self._words.popleft()
        elif name == "output" and re.match(r"https?://", self._given[name]):
            raise UsageError(_CLOUD.format(f"-o {value}"))

    def _print(self, value: str | None) -> str:
        if value is None and self._words and self._words[0].lower() == "all":
            value = self._words.popleft()
        if value is not None and value.lower() != "all":
            raise UsageError(f"-print takes no value but all, not {value!r}")
        return "all" if value is not None else ""

    def _is_timeout_value(self, word: str) -> bool:
        """Whether the word behind the seconds is the value, and not the script."""
        if word.startswith("-"):
            return False
        return bool(self._given.keys() & {"code", "file", "function"}) or not (
            os.path.isfile(word) or word.lower().endswith((".wl", ".wls", ".m"))
        )


_NO_CLOUD: Final = " (a file; there is no cloud here)"


def _known(name: str, word: str) -> str:
    known = NAMES.get(name.lower())
    if known is not None:
        return known
    if name.lower() in _REFUSED:
        raise UsageError(_REFUSED[name.lower()].format(word))
    import difflib  # which takes a while, and is for mistakes only

    nearest = difflib.get_close_matches(name.lower(), [long for long in NAMES if len(long) > 1], n=1)
    raise UsageError(f"unknown option {word}" + (f"; did you mean -{nearest[0]}?" if nearest else ""))


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < 1:
        raise UsageError(f"-kernels needs a number of kernels, 1 or more, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d+\.?\d*|\.\d+", text):
        raise UsageError(f"-timeout needs a number of seconds, not {text!r}")
    return float(text)
