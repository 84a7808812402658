"""A kernel that loads Mathics for itself: what runs where there is no warm parent."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from wstpserver.client.connecting import open_link
from wstpserver.client.errors import LinkError
from wstpserver.client.link import Link
from wstpserver.kernel.exits import EXIT_SOFTWARE, EXIT_UNAVAILABLE
from wstpserver.kernel.process import end_process
from wstpserver.wire.errors import WSTPError

#: Seconds until the link has to stand.
LINK_TIMEOUT = 60.0


def run_cold_kernel(link_options: Sequence[str]) -> NoReturn:
    """Open the link, load Mathics (4-5 s), serve; ends the process."""
    link = open_kernel_link(link_options)
    try:
        from wstpserver.kernel.engine import Engine

        engine = Engine()
    except Exception as error:
        print(f"wstpkernel: Mathics cannot be loaded: {type(error).__name__}: {error}", file=sys.stderr)
        link.close()
        end_process(EXIT_SOFTWARE)
    from wstpserver.kernel.session import serve

    end_process(serve(engine, link))


def open_kernel_link(link_options: Sequence[str]) -> Link:
    """The kernel's link; where there can be none, say so and end the process. With -linkmode listen, say where."""
    detach_input()
    try:
        return open_link(link_options, LINK_TIMEOUT, on_listening=lambda name: print(name, flush=True))
    except (LinkError, WSTPError) as error:
        print(f"wstpkernel: {error}", file=sys.stderr)
        end_process(EXIT_UNAVAILABLE)


def detach_input() -> None:
    """Nobody types to a kernel behind a link: descriptor 0 becomes empty, for programs that Run starts too."""
    null = os.open(os.devnull, os.O_RDONLY)
    if null != 0:
        os.dup2(null, 0)
        os.close(null)
