"""wstpserver-kernel - a kernel of a WSTPServer's pool, in the shape of a kernel's program.

Usage:
  wstpserver-kernel [options]                              A session on a terminal or a pipe: In[1]:=
  wstpserver-kernel [options] -script FILE [ARGUMENT...]   Evaluate a file.
  wstpserver-kernel [options] -wstp LINK OPTIONS           A kernel for the program that launches this one.
  wstpserver-kernel -help | -version

For programs that launch a kernel: give them this one by its path. It takes a kernel of a pool, which is ready at once,
and closes it at the end.

Options (one dash or two, in any case):
  -pool NAME               Take a kernel of this pool. [default: WSTPSERVER_POOL, else the server's default pool]
  -server ADDRESS          The server: PORT, PORT@HOST, or wstp://HOST:PORT/POOL. [default: WSTPSERVER, else 31415]
  -keep                    Leave the kernel to the settings of its pool at the end (KeepAlive).
  -noprompt                Without the first line, In[n]:= and Out[n]=: results only.
  -run CODE                Evaluate this first. The code of a wolframclient makes this a kernel for it.
  -initfile FILE           Evaluate this file first.
  -script FILE             Evaluate this file instead of asking for inputs.
  -rawterm                 Read lines as they are, without editing.
  -wstp                    Be a kernel on the link that the link options name; -mathlink is the same. TCPIP only.
  -linkconnect, -linkcreate, -linkmode MODE, -linkname NAME, -linkprotocol TCPIP, -linkhost HOST, -linkoptions N
                           The link, as programs write it that launch kernels.
  -help                    Print this help.
  -version                 Print the version.

Other options of kernels (-noinit, -noicon, -pwfile FILE ...) are accepted and ignored.

Exit status: 0, or that of Exit[n]; 1 the kernel died; 64 wrong usage; 69 no link, no server or no kernel.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from wstpserver.client.address import Address, LinkOptions, parse_address, parse_link_options
from wstpserver.client.errors import LinkError, LinkSyntaxError
from wstpserver.version import VERSION

PROGRAM: Final = "wstpserver-kernel"
DOCUMENT: Final = __doc__ or ""
#: The environment variable with the pool that is meant where none is named.
POOL_VARIABLE: Final = "WSTPSERVER_POOL"

_OK: Final = 0
_FAILED: Final = 1
_USAGE: Final = 64
_UNAVAILABLE: Final = 69

_VALUED: Final = ("pool", "server", "run", "initfile", "script")
#: Options of kernels with a value that mean nothing here.
_IGNORED_VALUES: Final = ("pwfile", "password", "pwpath", "threadpriority", "mathlinkpath", "pacletsite")
_LINK_VALUES: Final = ("linkname", "linkmode", "linkprotocol", "linkhost", "linkoptions")
_LINK_FLAGS: Final = ("wstp", "mathlink", "linkconnect", "linkcreate", "linklaunch")
#: What asks for wolframclient's kernel, which `gateways.wolframclient_kernel` reads.
_CLIENT_START: Final = "KernelPrivateStart"

_PROTOCOL: Final = (
    "a kernel of a pool has no link protocol {}. Launch it with -linkprotocol TCPIP, for example: "
    "-linkmode launch -linkprotocol TCPIP -linkname 'wstpserver-kernel -wstp'"
)


class ProgramArguments(NamedTuple):
    """What the command line says.

    Attributes:
        link: The link options; none for a session or a script.
        run: The code to evaluate first.
        initfiles: The files to evaluate before that.
        script: The file to evaluate, and its arguments; none for a session.
        address: The server, as for `wstpserver.client.parse_address`; "" where none is named.
        pool: The pool; None where none is named.
        keep: Whether the pool's settings say what becomes of the kernel at the end.
        prompts: Whether a session shows prompts.
        edits: Whether lines may be edited on a terminal.
        action: "help", "version", or "" for a kernel.
    """

    link: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    initfiles: tuple[str, ...] = ()
    script: tuple[str, ...] = ()
    address: str = ""
    pool: str | None = None
    keep: bool = False
    prompts: bool = True
    edits: bool = True
    action: str = ""


class KernelUsageError(Exception):
    """The command line is wrong; the text says how."""


def parse(words: Sequence[str]) -> ProgramArguments:
    """The meaning of the command line's words. KernelUsageError."""
    left = deque(words)
    given: dict[str, list[str]] = {}
    link: list[str] = []
    flags: set[str] = set()
    while left:
        word = left.popleft()
        option, equals, value = word.partition("=")
        name = option.lstrip("-").lower() if word.startswith("-") else ""
        if name in _LINK_FLAGS:
            link.append(word)
        elif name in _LINK_VALUES:
            link.append(word)
            if left:
                link.append(left.popleft())
        elif name in _VALUED:
            if not equals and not left:
                raise KernelUsageError(f"-{name} needs a value")
            given.setdefault(name, []).append(value if equals else left.popleft())
            if name == "script":
                given["arguments"] = list(left)
                left.clear()
        elif name in _IGNORED_VALUES:
            if left and not equals:
                left.popleft()
        elif name in ("h", "help"):
            flags.add("help")
        else:
            flags.add(name)  # other options of kernels, and what belongs to them
    for name in ("pool", "server"):
        if len(given.get(name, ())) > 1:
            raise KernelUsageError(f"-{name} is given twice")
    return ProgramArguments(
        link=tuple(link),
        run=tuple(given.get("run", ())),
        initfiles=tuple(given.get("initfile", ())),
        script=(given["script"][0], *given["arguments"]) if "script" in given else (),
        address=given.get("server", [""])[0],
        pool=given.get("pool", [""])[0] or None,
        keep="keep" in flags,
        prompts="noprompt" not in flags,
        edits="rawterm" not in flags,
        action=next((name for name in ("help", "version") if name in flags), ""),
    )


def main(words: Sequence[str] | None = None) -> int:
    """The program ``wstpserver-kernel``; returns its exit status."""
    try:
        arguments = parse(sys.argv[1:] if words is None else words)
        if arguments.action == "help":
            print(DOCUMENT, end="")
            return _OK
        if arguments.action == "version":
            print(f"{PROGRAM} {VERSION}")
            return _OK
        return _run(arguments)
    except (KernelUsageError, LinkSyntaxError) as error:
        _tell(f"{error}\nTry {PROGRAM} -help.")
        return _USAGE
    except BrokenPipeError:
        return _FAILED


def _run(arguments: ProgramArguments) -> int:
    if arguments.link:
        return _on_link(arguments)
    for code in arguments.run:
        if _CLIENT_START in code:
            return _for_wolframclient(code, arguments)
    from wstpserver.cli.script.kernel_session import SessionRequest, run_session  # which links need not wait for

    request = SessionRequest(
        _address(arguments),
        arguments.keep,
        arguments.initfiles,
        arguments.run,
        arguments.script,
        arguments.prompts,
        arguments.edits,
    )
    return run_session(PROGRAM, request)


def _tell(text: str) -> None:
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"{PROGRAM}: {text}\n")
            sys.stderr.flush()
    except OSError:
        pass  # an error that cannot be told is not told


def _on_link(arguments: ProgramArguments) -> int:
    """Be a kernel on the parent's link."""
    options = _link_options(arguments.link)
    if options is None:
        return _UNAVAILABLE
    from wstpserver.gateways.kernel import NoKernel, ParentGone, PoolKernel, serve_link

    address = _address(arguments)
    _ignore_interrupts()
    try:
        serve_link(options, PoolKernel(address, arguments.keep), _tell)
    except NoKernel as error:
        _tell(f"no kernel: {error}")
        return _UNAVAILABLE
    except ParentGone as error:
        _tell(str(error))
        return _OK
    except LinkError as error:
        _tell(f"no link with the program that wants a kernel: {error}")
        return _UNAVAILABLE
    return _OK


def _link_options(words: Sequence[str]) -> LinkOptions | None:
    """The parent's link; None, and the reason is told, if it is one that this program cannot open.

    Raises:
        KernelUsageError: The command line names no link.
        LinkSyntaxError: What it names is none.
    """
    lowered = [word.lower().lstrip("-") for word in words]
    places = [place for place, word in enumerate(lowered[:-1]) if word == "linkprotocol"]
    protocol = words[places[-1] + 1] if places else ""
    if protocol and protocol.lower() not in ("tcp", "tcpip"):
        from wstpserver.client.connecting import refuse_launch

        _tell(_PROTOCOL.format(protocol))
        refuse_launch(["-" + word.lstrip("-") if word.startswith("--") else word for word in words])
        return None
    if not {"linkname", "linkcreate", "linkmode"}.intersection(lowered):
        raise KernelUsageError("the command line names only half of a link: -linkname is missing")
    if not {"linkconnect", "linkcreate", "linkmode", "linklaunch"}.intersection(lowered):
        words = [*words, "-linkconnect"]
    return parse_link_options(["-" + word.lstrip("-") if word.startswith("--") else word for word in words])


def _address(arguments: ProgramArguments) -> Address:
    """The server, and the pool that is named on the command line, in its address or in the environment.

    Raises:
        LinkSyntaxError: The address is none.
    """
    address = parse_address(arguments.address)
    pool = arguments.pool or address.pool or os.environ.get(POOL_VARIABLE, "").strip() or None
    return address._replace(pool=pool)


def _for_wolframclient(code: str, arguments: ProgramArguments) -> int:
    """Be a kernel for the vendor's Python client."""
    from wstpserver.gateways.wolframclient_kernel import MissingPackage, parse_start, serve

    start = parse_start(code)
    if start is None:
        raise KernelUsageError(f"-run {code}: this is not how wolframclient starts a kernel")
    try:
        return serve(start, arguments.initfiles, _address(arguments))
    except MissingPackage as error:
        _tell(str(error))
        return _UNAVAILABLE


def _ignore_interrupts() -> None:
    """Ctrl-C at the terminal that both have in common is the parent's matter: it aborts over the link."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
