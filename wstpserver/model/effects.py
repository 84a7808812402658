"""What the registry decided and the server has to carry out, in order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from wstpserver.model.states import Client, Kernel


class Reason(Enum):
    """Why a bridge ended, in words for the log."""

    DISCONNECTED = "the client disconnected from it"
    CLIENT_GONE = "the client's link ended"
    STOLEN = "another client took it over by its ID"
    SWITCHED = "the client connected to another kernel"
    KERNEL_DIED = "the kernel died"
    KERNEL_ENDED = "the kernel ended in good order"
    KERNEL_CLOSED = "the kernel was closed by the server"


@dataclass(frozen=True, slots=True)
class Start:
    """Launch a process for *kernel*."""

    kernel: Kernel


@dataclass(frozen=True, slots=True)
class Close:
    """End the process of *kernel*; *why* is for the log."""

    kernel: Kernel
    why: str


@dataclass(frozen=True, slots=True)
class Reset:
    """Run the ResetCode of its pool in *kernel*."""

    kernel: Kernel


@dataclass(frozen=True, slots=True)
class Bridged:
    """Join *client* and *kernel*."""

    client: Client
    kernel: Kernel


@dataclass(frozen=True, slots=True)
class Unbridged:
    """Part *client* and *kernel*; with *replacing* the client waits for a kernel in the dead one's place.

    *told* is what the client is to be told of the reason beyond what every client is, "" for nothing.
    """

    client: Client
    kernel: Kernel
    reason: Reason
    replacing: bool = False
    told: str = ""


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """The kernel that *client* waited for will not come."""

    client: Client
    why: str


Effect = Start | Close | Reset | Bridged | Unbridged | RequestFailed
