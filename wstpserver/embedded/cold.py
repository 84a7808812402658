"""A kernel that loads Mathics in its own process: used where there is no warm parent."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from wstpserver.client.connecting import open_link
from wstpserver.client.errors import LinkError
from wstpserver.client.link import Link
from wstpserver.embedded.process import EXIT_SOFTWARE, EXIT_UNAVAILABLE, detach_input, end_process
from wstpserver.wire.errors import WSTPError

#: Seconds within which the link must be established.
LINK_TIMEOUT = 60.0


def run_cold_kernel(link_options: Sequence[str]) -> NoReturn:
    """Open the link, load Mathics (4-8 s), serve the link, and end the process.

    The link comes first, so that the peer sees at once that the program started, and an error of the link does not
    wait for Mathics.
    """
    link = open_kernel_link(link_options)
    try:
        from wstpserver.embedded.engine import Engine

        engine = Engine()
    except Exception as error:
        print(f"wstpkernel: Mathics cannot be loaded: {type(error).__name__}: {error}", file=sys.stderr)
        link.close()
        end_process(EXIT_SOFTWARE)
    from wstpserver.embedded.session import serve

    end_process(serve(engine, link))


def open_kernel_link(link_options: Sequence[str]) -> Link:
    """Open the link a command line names; on failure, report the reason on stderr and end the process.

    With -linkmode listen, the link's name is printed on stdout.

    Args:
        link_options: The words of the command line, link options and others.

    Returns:
        The link, connected and greeted.
    """
    detach_input()
    try:
        return open_link(link_options, LINK_TIMEOUT, on_listening=lambda name: print(name, flush=True))
    except (LinkError, WSTPError) as error:
        print(f"wstpkernel: {error}", file=sys.stderr)
        end_process(EXIT_UNAVAILABLE)
