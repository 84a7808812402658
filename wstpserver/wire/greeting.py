"""The handshake that opens a link, for both roles: see `listen_handshake`, `connect_handshake`,
`greeting_lines`.
"""
from __future__ import annotations

from .connect_handshake import ConnectHandshake
from .greeting_lines import GREETING_V4, PeerGreeting
from .handshake import Event, GreetingComplete, LinkIdentified, MessagePort
from .listen_handshake import ListenHandshake

__all__ = [
    "GREETING_V4",
    "ConnectHandshake",
    "Event",
    "GreetingComplete",
    "LinkIdentified",
    "ListenHandshake",
    "MessagePort",
    "PeerGreeting",
]
