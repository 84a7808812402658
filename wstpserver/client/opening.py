"""Opening a link from link options, as a program that a kernel's parent starts does."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wstpserver.client.connecting import CONNECT_TIMEOUT, connect
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import LinkSyntaxError
from wstpserver.client.link import Link
from wstpserver.client.listener import listen
from wstpserver.client.options import LinkOptions, parse_link_options
from wstpserver.wire.tokens import DecoderLimits


def open_link(
    options: str | Iterable[str] | LinkOptions,
    timeout: float | None = CONNECT_TIMEOUT,
    *,
    on_listening: Callable[[str], object] | None = None,
    limits: DecoderLimits | None = None,
) -> Link:
    """Open and greet a link as `options` say: one string, or a program's arguments (``sys.argv[1:]``).

    See `parse_link_options` for what is understood. With ``-linkmode listen`` this waits for the other side;
    `on_listening` is called first with the link name (``PORT@HOST`` with ``-linkoptions 4``, else with both ports).
    `timeout`: seconds until the link stands.

    Raises LinkSyntaxError, ConnectError, ListenError, LinkTimeout.

    >>> link = open_link("-linkmode connect -linkprotocol TCPIP -linkname 31415@host -linkoptions 4")  # doctest: +SKIP
    """
    parsed = options if isinstance(options, LinkOptions) else parse_link_options(options)
    deadline = Deadline(timeout)
    if parsed.mode == "connect":
        return connect(parsed.address, deadline.remaining(), classic=not parsed.uuid, limits=limits)
    if parsed.mode == "listen":
        with listen(parsed.address, classic=not parsed.uuid, limits=limits) as listener:
            if on_listening is not None:
                on_listening(listener.link_name)
            return listener.accept_until(deadline)
    raise LinkSyntaxError("-linklaunch is not supported", None, "Start the program and use -linkmode connect or listen")
