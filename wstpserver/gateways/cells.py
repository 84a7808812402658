"""Inputs of a notebook: what a kernel shows of each result, as text, formulas and pictures.

The kernel keeps each result that it prints (``$PrePrint``) until it is asked for it here, unevaluated: so a result is
drawn as it was, even if the same input has changed it since. If the user sets ``$PrePrint``, results are text.

In the kernel there are two functions more: ``Jupyter`Display[expr]`` shows an expression in the middle of an
evaluation, ``Jupyter`ClearOutput[]`` removes what the input has shown so far.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from wstpserver.client import (
    Address,
    Callbacks,
    CommandError,
    EvaluationAborted,
    EvaluationError,
    EvaluationTimeout,
    KernelMessage,
    LinkTimeout,
    Session,
    connect,
)
from wstpserver.client.interactive import DRAW_TIMEOUT, PICTURES, png_of
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.text import without_surrogates
from wstpserver.wire.values import Expression, Function, Symbol

TEXT: Final = "text/plain"
LATEX: Final = "text/latex"
SVG: Final = "image/svg+xml"
PNG: Final = "image/png"

#: Seconds for definitions and small questions.
_TIMEOUT: Final = 20.0
#: Seconds between attempts to have a kernel closed that nobody needs any more.
_RELEASE_PAUSES: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 0.0)
_LINE: Final = re.compile(r"Out\[(\d+)\]")
_PROMPT: Final = re.compile(r"In\[(\d+)\]")
#: What a kernel writes into an SVG that it cannot draw.
_NOT_DRAWN: Final = re.compile(r">\s*-\w+-\s*<")
#: Functions that TeX has names for.
_FUNCTION: Final = re.compile(r"\\text\{(Sin|Cos|Tan|Cot|Sec|Csc|Sinh|Cosh|Tanh|Log|Exp|Max|Min|Det)\}")
#: Parts that a formula may have; larger results are text.
_LARGEST_FORMULA: Final = 400

_DEFINITIONS: Final = r"""
SetAttributes[{WSTPServer`Cells`keep, WSTPServer`Cells`shown}, HoldAllComplete];
WSTPServer`Cells`keep[value___] := (WSTPServer`Cells`kept[$Line] = HoldComplete[value]; value);
WSTPServer`Cells`formula[held_] := LeafCount[held] < @LARGEST@ &&
  FreeQ[held, _String | _Association | _Function | _Pattern | _Blank | _Hold | _RuleDelayed | _Failure | _ByteArray |
    _Image | _Graphics | _Graphics3D] && ! MatchQ[held, HoldComplete[_Symbol]] &&
  ! FreeQ[held, _Rational | _Complex | Except[HoldComplete | List | True | False | Null | None, _Symbol]];
WSTPServer`Cells`shown[HoldComplete[v_]] := Quiet[Which[
  Head[Unevaluated[v]] === Image, {"image", ExportString[ImageData[v, "Byte"], "RawJSON"]},
  MemberQ[{@PICTURES@}, Head[Unevaluated[v]]], {"drawing", ExportString[v, "SVG"]},
  TrueQ[WSTPServer`Cells`formula[HoldComplete[v]]], {"formula", ToString[TeXForm[HoldForm[v]]]},
  True, {"text", ""}]];
WSTPServer`Cells`take[line_] := Replace[WSTPServer`Cells`kept[line], {
  held_HoldComplete :> (Unset[WSTPServer`Cells`kept[line]]; Replace[held,
    {HoldComplete[v_] :> If[StringQ[Unevaluated[v]], {"text", ""}, WSTPServer`Cells`shown[HoldComplete[v]]],
     _ :> {"text", ""}}]),
  _ :> {"text", ""}}];
WSTPServer`Cells`raster[held_] := Quiet[Replace[held, HoldComplete[v_] :> ExportString[v, {"Base64", "PNG"}]]];
Jupyter`Display[e_] := With[{value = e}, Print["@MARK@", ExportString[
  Append[WSTPServer`Cells`shown[HoldComplete[value]], ToString[value]], "RawJSON"]];];
Jupyter`ClearOutput[wait_: False] := Print["@MARK@", "clear ", TrueQ[wait]];
Jupyter`Display::usage = "Jupyter`Display[expr] shows an expression in the middle of an evaluation.";
Jupyter`ClearOutput::usage = "Jupyter`ClearOutput[] removes what this input has shown so far.";
$PrePrint = WSTPServer`Cells`keep;
"""


@dataclass(frozen=True)
class Shown:
    """A result, or what ``Jupyter`Display`` shows.

    Attributes:
        data: What it looks like: MIME type to text, or to bytes for PNG; "text/plain" is always there.
        label: The kernel's label, "Out[3]= "; "" where there is none.
    """

    data: dict[str, str | bytes]
    label: str = ""

    @property
    def line(self) -> int | None:
        """The number in the label."""
        found = _LINE.search(self.label)
        return int(found[1]) if found else None


@dataclass
class Outcome:
    """How an input ended.

    Attributes:
        results: The results, in order.
        messages: The messages, as far as they were not about the syntax.
        error: Name and text of what ended it before its end: a syntax error, an abort; None if it came to its end.
        next_line: The number of the kernel's next prompt; None if it is not known.
    """

    results: list[Shown] = field(default_factory=list)
    messages: list[KernelMessage] = field(default_factory=list)
    error: tuple[str, str] | None = None
    next_line: int | None = None


class Cells:
    """Inputs of one session.

    Args:
        session: The session.
        on_display: Called with what ``Jupyter`Display`` shows; by default it is one of the results.
        on_clear: Called with whether to wait for the next output, for ``Jupyter`ClearOutput``.
    """

    def __init__(
        self,
        session: Session,
        *,
        on_display: Callable[[Shown], object] | None = None,
        on_clear: Callable[[bool], object] | None = None,
    ) -> None:
        self.session = session
        self._on_display = on_display
        self._on_clear = on_clear
        self._mark = f"cell-{secrets.token_hex(8)} "
        self._ready = False
        self._guard: KernelGuard | None = None

    @classmethod
    def connect(
        cls,
        address: Address | str,
        timeout: float | None,
        *,
        callbacks: Callbacks | None = None,
        on_display: Callable[[Shown], object] | None = None,
        on_clear: Callable[[bool], object] | None = None,
    ) -> Cells:
        """Open a session that takes its kernel back by its ID when the connection breaks or the server restarts.

        For that the server keeps the kernel. It is closed at the end nevertheless: by `close`, or by a small process
        (`KernelGuard`) if this one is killed, or does not reach the server then.

        Args:
            address: The server, and its pool.
            timeout: Seconds to connect and to get a kernel; None for no limit.
            callbacks: Those of the session.
            on_display: As for `Cells`.
            on_clear: As for `Cells`.

        Returns:
            The cells, to be closed.

        Raises:
            WSTPError: As `Session`.
        """
        session = Session(address, timeout, callbacks=callbacks, reconnect=True)
        cells = cls(session, on_display=on_display, on_clear=on_clear)
        if session.address is not None and session.kernel_id is not None:
            cells._guard = KernelGuard(str(session.address), session.kernel_id)
        return cells

    def close(self) -> None:
        """End the session, and its kernel. Any thread may call it, more than once."""
        link = self.session.link
        try:
            link.ready(0)  # looks whether the connection has broken
        except LinkTimeout:
            pass  # another thread receives, and knows
        is_reached = not link.ended
        self.session.close()
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.end(closed=is_reached)

    def prepare(self) -> None:
        """Define what this needs in the kernel. Raises as `Session.evaluate`."""
        text = _DEFINITIONS.replace("@MARK@", self._mark).replace("@LARGEST@", str(_LARGEST_FORMULA))
        self.session.evaluate(text.replace("@PICTURES@", ", ".join(sorted(PICTURES - {"Image"}))), _TIMEOUT, check=True)
        self._ready = True

    def run(self, code: str, timeout: float | None = None, *, callbacks: Callbacks | None = None) -> Outcome:
        """Evaluate an input as at a prompt.

        Args:
            code: Wolfram Language text, of one or more expressions.
            timeout: Seconds; None for no limit.
            callbacks: Called with what is printed, messages and questions while it happens. Messages about the syntax
                become the outcome's `error` instead.

        Returns:
            What came of it.

        Raises:
            EvaluationTimeout: The time-out expired.
            KernelLost: The kernel is gone.
            LinkClosed: The link has ended.
        """
        if not self._ready:
            self.prepare()
        outcome = Outcome()
        texts: list[tuple[str, str]] = []
        syntax: list[str] = []
        given = callbacks or Callbacks()

        def on_message(message: KernelMessage) -> None:
            if message.symbol == "Syntax":
                syntax.append(message_text(message))
                return
            outcome.messages.append(message)
            if given.on_message is not None:
                given.on_message(message)

        def on_print(text: str) -> None:
            if text.startswith(self._mark):
                self._marked(text.removeprefix(self._mark), outcome)
            elif given.on_print is not None:
                given.on_print(text)

        heard = Callbacks(
            on_print=on_print, on_message=on_message,
            on_result=lambda label, value: texts.append((label, value if isinstance(value, str) else str(value))),
        ).over(given)  # fmt: skip
        try:
            output = self.session.evaluate_text(code, timeout, callbacks=heard, check=False)
        except EvaluationTimeout:
            raise
        except EvaluationAborted as error:
            outcome.error = ("$Aborted", str(error))
            return outcome
        if syntax or output.syntax_error is not None:
            outcome.error = ("Syntax", "\n".join(syntax) or f"syntax error at character {output.syntax_error}")
        prompt = _PROMPT.search(output.prompt)
        outcome.next_line = int(prompt[1]) if prompt else None
        outcome.results += [self._shown(label, text) for label, text in texts]
        return outcome

    def _marked(self, line: str, outcome: Outcome) -> None:
        """What the kernel has written for this class."""
        if line.startswith("clear "):
            if self._on_clear is not None:
                self._on_clear(line.split()[1] == "True")
            return
        kind, payload, text = json.loads(line)
        shown = Shown({TEXT: text, **_rich(kind, payload)})
        if self._on_display is not None:
            self._on_display(shown)
        else:
            outcome.results.append(shown)

    def _shown(self, label: str, text: str) -> Shown:
        """A result with all that can be shown of it."""
        line = _LINE.search(label)
        data: dict[str, str | bytes] = {TEXT: text}
        if line is not None:
            question = Function(Symbol("WSTPServer`Cells`take"), (int(line[1]),))
            match self._ask(question):
                case [str(kind), str(payload)]:
                    data |= _rich(kind, payload)
                    if kind == "drawing" and SVG not in data:
                        data |= self._raster(int(line[1]))
        return Shown(data, label)

    def _raster(self, line: int) -> dict[str, str | bytes]:
        """A picture that the kernel cannot draw as SVG, as PNG if it can do that."""
        value = self._ask(Function(Symbol("WSTPServer`Cells`raster"), (
            Function(Symbol("HoldComplete"), (Function(Symbol("Out"), (line,)),)),)))  # fmt: skip
        return _rich("png", value) if isinstance(value, str) else {}

    def _ask(self, question: Expression) -> Any:
        """A value, without a word to the user; None if there is none, since results are shown as text then."""
        try:
            return self.session.evaluate(question, DRAW_TIMEOUT, callbacks=Callbacks.quiet(), results="python")
        except EvaluationError:
            return None

    def description(self, name: str) -> str | None:
        """Return what the kernel says of a symbol: ``?name``; None if it knows none of this name."""
        if not re.fullmatch(r"[$\w`*]+", name):
            return None
        texts: list[str] = []
        heard = Callbacks(
            on_print=texts.append, on_message=lambda message: None, on_notice=lambda text: None,
            on_result=lambda label, value: texts.append(str(value)),
        )  # fmt: skip
        known = self.session.evaluate(Function(Symbol("Names"), (name,)), _TIMEOUT, callbacks=heard, results="python")
        if not known:
            return None
        self.session.evaluate_text(f"?{name}", _TIMEOUT, callbacks=heard, check=False)
        text = "\n".join(texts).strip("\n")
        return text if text and text != "Null" else f"{name}: a symbol without a description"


class KernelGuard:
    """Has a kernel closed when this process ends without having closed it itself.

    A process of its own waits for that, a shell that takes a megabyte: the server keeps the kernel of a session that
    reconnects, and nobody would ask for it any more.

    Args:
        server: The server's address.
        kernel: The kernel's ID.
    """

    def __init__(self, server: str, kernel: str) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        code = "import sys; from wstpserver.gateways.cells import release_kernel; release_kernel(*sys.argv[1:])"
        if sys.platform != "win32":
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", 'read line; test "$line" = closed || exec "$@"', "sh",
                 sys.executable, "-c", code, server, kernel],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def end(self, *, closed: bool) -> None:
        """The session has ended. Unless the kernel is `closed`, it is closed now, by the other process."""
        if self._process is None:
            return
        if closed:
            self._process.communicate(b"closed\n")
        elif self._process.stdin is not None:
            self._process.stdin.close()
            threading.Thread(target=self._process.wait, daemon=True).start()


def release_kernel(server: str, kernel: str) -> None:
    """Close a kernel by its ID, when the server is there again if it is not. One that is gone already is fine.

    Args:
        server: The server's address.
        kernel: The kernel's ID.
    """
    for pause in _RELEASE_PAUSES:
        try:
            with Session(connect(server, _TIMEOUT, without_kernel=True)) as session:
                session.command("CloseKernel", kernel, timeout=_TIMEOUT)
            return
        except CommandError:
            return
        except WSTPError:
            time.sleep(pause)


def sendable(value: Any) -> Any:
    """Return a value of JSON as it can be sent: a kernel's strings may have half a surrogate pair, UTF-8 may not.

    Args:
        value: Texts, and lists and dictionaries of them. What else there is stays as it is.

    Returns:
        The same, with U+FFFD for each half.
    """
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, dict):
        return {sendable(key): sendable(item) for key, item in value.items()}
    return [sendable(item) for item in value] if isinstance(value, list) else value


def message_text(message: KernelMessage) -> str:
    """Return a message as a user sees it, with its name."""
    text = message.text.strip()
    name = f"{message.symbol}::{message.tag}"
    return text if text.startswith(name) else f"{name}: {text}" if text else name


def _rich(kind: str, payload: str) -> dict[str, str | bytes]:
    """The MIME types of what the kernel made; none of what it could not make."""
    if kind == "formula":
        if not payload or "TeXForm" in payload or "\\text{HoldForm}" in payload:
            return {}
        formula = _FUNCTION.sub(lambda name: f"\\{name[1].lower()}", payload.replace("->", "\\to "))
        return {LATEX: f"$\\displaystyle {formula}$"}
    if kind == "drawing" and "<svg" in payload and not _NOT_DRAWN.search(payload):
        return {SVG: payload.strip()}
    try:
        if kind == "image":
            return {PNG: png_of(json.loads(payload))}
        if kind == "png":
            data = base64.b64decode(payload)
            return {PNG: data} if data.startswith(b"\x89PNG") else {}
    except (TypeError, ValueError):
        pass
    return {}
