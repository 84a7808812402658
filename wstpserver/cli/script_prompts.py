"""Prompts and labels: In[3]:= and what belongs to it."""

from __future__ import annotations

import re
from typing import Final

from wstpserver.client import Session
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Symbol

DEFAULT_PROMPT: Final = "In[1]:= "

_PROMPT = re.compile(r"In\[(\d+)\]:=")
#: Seconds that an idle kernel has to say which line it waits for.
_TIMEOUT: Final = 5.0


def output_label(prompt: str, before: int = 0) -> str:
    """The label of the result of the input at `prompt`, or of one so many lines `before` it."""
    return _PROMPT.sub(lambda match: f"Out[{int(match[1]) - before}]=", prompt)


def prompt_of_new_kernel(session: Session) -> str:
    """The prompt of a kernel that the session has just been bridged to, and that is idle.

    A server that sends no InputNamePacket then (SendInputNamePacketUponKernelConnection false) leaves the session with
    none, or with that of the kernel before: $Line tells. The kernel's own words are preferred, which say of a dialog.
    """
    known = session.prompt
    try:
        line = session.evaluate(Symbol("$Line"), _TIMEOUT)
    except WSTPError:
        return known or DEFAULT_PROMPT
    number = _PROMPT.search(known or "")
    if not isinstance(line, int) or (number is not None and int(number[1]) == line):
        return known or DEFAULT_PROMPT
    return f"In[{int(line)}]:= "
