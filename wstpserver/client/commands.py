"""The server's commands: what they mean for a session's kernel, what the server answers, and what it says of itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from wstpserver.client.address import TOKEN_FILE_VARIABLE
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import AccessDenied, CommandError
from wstpserver.client.link import Link, Packet, packet_of
from wstpserver.wire.packets import command_packet
from wstpserver.wire.values import Expression, Function, Symbol

T = TypeVar("T")

_KERNEL_ID: Final = re.compile(r"[0-9a-f]{4}(-[0-9a-f]{4}){2}")
_TRUE: Final = (True, Symbol("True"))
#: Commands that concern the kernel of the link that they come on, if they have no argument that names another one.
_ABOUT_THE_KERNEL: Final = frozenset(
    {
        "DisconnectKernel", "GetKernelBusyStatus", "GetKernelID", "GetMissedOutput", "GetPoolName",
        "SetAllowSilentKernelReplacement", "SetKeepAlive", "SetReserveKernel",
    }
)  # fmt: skip


def is_kernel_id(text: object) -> bool:
    """Whether this is written as the ID of a kernel."""
    return isinstance(text, str) and _KERNEL_ID.fullmatch(text) is not None


def needs_kernel(name: str, arguments: tuple[Expression, ...]) -> bool:
    """Whether the server can carry out this command only for a link that has a kernel."""
    return name in _ABOUT_THE_KERNEL and not (name == "GetKernelBusyStatus" and arguments)


def keep_alive_set(name: str, arguments: tuple[Expression, ...]) -> bool | None:
    """The setting of a `SetKeepAlive` command; None for other commands."""
    if name != "SetKeepAlive" or len(arguments) != 1:
        return None
    return arguments[0] in _TRUE


def asks_to_keep(name: str, arguments: tuple[Expression, ...]) -> bool:
    """Whether this command shows that the kernel is meant to outlive the session."""
    if name == "ConnectKernel":
        return bool(arguments) and is_kernel_id(arguments[0])
    return keep_alive_set(name, arguments) is True


def kernel_named(name: str, arguments: tuple[Expression, ...], result: object, before: str | None) -> str | None:
    """Return the ID of the session's kernel after a command.

    Args:
        name: The command.
        arguments: Its arguments.
        result: What it gave.
        before: The ID before; None if it was not known.

    Returns:
        The ID as far as the command tells; None if it is not known.
    """
    if name == "GetKernelID":
        return str(result)
    if name in ("ConnectKernel", "ConnectParallelKernel", "DisconnectKernel"):
        asked = arguments[0] if arguments else None
        return asked if isinstance(asked, str) and is_kernel_id(asked) else None
    return before


def reply_of(packet: Packet, prefix: str = "") -> dict[str, Any]:
    """Read the server's JSON.

    Args:
        packet: The ReturnPacket.
        prefix: Begins the text of the error.

    Returns:
        The JSON as a dict.

    Raises:
        CommandError: The packet holds no JSON: the other side is no WSTPServer.
    """
    text = packet.arguments[0] if packet.arguments else None
    try:
        import json  # which takes a while; a program that only evaluates needs none of it

        reply = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        reply = None
    if not isinstance(reply, dict):
        raise CommandError(f"{prefix}the other side is not a WSTPServer, it answered {str(text)[:200]!r}")
    return reply


def result_of(name: str, packet: Packet) -> Any:
    """Read the result of a command.

    Args:
        name: The command.
        packet: The ReturnPacket.

    Returns:
        The "result" in the server's JSON; None if it reports success alone.

    Raises:
        CommandError: The server reports anything else.
    """
    reply = reply_of(packet, f"{name}: ")
    if "result" in reply:
        return reply["result"]
    if reply.get("status") != "ExecutionSuccess":
        reason = reply.get("reason")
        told = f": {reason}" if isinstance(reason, str) else ""
        raise CommandError(f"{name}: the server answers {reply.get('status')}{told}", reply)
    return None


def authenticate(link: Link, token: str, deadline: Deadline) -> None:
    """Say an access token to a WSTPServer. A server that knows no tokens accepts any.

    Args:
        link: The link; what comes before the answer stays in it.
        token: The token.
        deadline: When to give up.

    Raises:
        AccessDenied: The server does not accept it.
        CommandError: The other side is not a WSTPServer.
        LinkTimeout: No answer came in time.
        LinkClosed: The link has ended.
    """
    link.put(command_packet("Authenticate", token), deadline.remaining())
    before: list[Expression] = []
    while (packet := packet_of(expression := link.get(deadline.remaining()))).name != "ReturnPacket":
        before.append(expression)
    link.put_back(before)
    reply = reply_of(packet)
    if reply.get("status") not in ("ExecutionSuccess", "PacketMalformed"):
        text = f"the server does not accept the access token: {reply.get('reason') or reply.get('status')}"
        raise AccessDenied(text, link.name, f"Check the token, or the file that {TOKEN_FILE_VARIABLE} names")


def missed_packets(packet: Packet) -> tuple[int, tuple[Expression, ...]]:
    """Read the answer to GetMissedOutput.

    Returns:
        The number of packets that the server did not keep, and the packets, oldest first.

    Raises:
        CommandError: It is no such answer.
    """
    match packet.arguments:
        case (Function(args=(int(dropped), Function(args=packets))),):
            return dropped, packets
        case (Function(args=(int(dropped), _)),):  # an empty list, packed
            return dropped, ()
    raise CommandError("GetMissedOutput: the server keeps none, or the other side is not a WSTPServer")


# What a server says of its pools and kernels (GetServerInformation). Other servers may say less.


class KernelInformation(NamedTuple):
    """One kernel. What the server does not say is None.

    Attributes:
        id: Its ID.
        pool: The name of its pool; "" for a kernel outside pools.
        state: starting, free, reserved, bridged, resetting or closing.
        busy: Whether it evaluates something.
        reserved: Whether only clients that ask for it by its ID get it.
        keep_alive: Whether it outlives its client.
        process: Its process ID.
        seconds: Seconds in this state.
        evaluations: The number of evaluations so far.
        client: The client that is bridged to it.
        age: Seconds since it was started.
        host: The machine that it runs on.
        launcher: The command line that runs it on another machine, "" for the server's own.
        last_output: For one that is starting elsewhere: the last line of the engine.
        seconds_busy: Seconds since the evaluation in it began.
    """

    id: str
    pool: str
    state: str
    busy: bool = False
    reserved: bool | None = None
    keep_alive: bool | None = None
    process: int | None = None
    seconds: float | None = None
    evaluations: int | None = None
    client: str | None = None
    age: float | None = None
    host: str | None = None
    launcher: str | None = None
    last_output: str | None = None
    seconds_busy: float | None = None

    @property
    def available(self) -> bool:
        """Whether the next client of the pool could have it at once."""
        return self.state == "free" and not self.busy

    @property
    def ready(self) -> bool:
        """Whether it has been started and initialised, and is not about to end."""
        return self.state in ("free", "reserved", "bridged")


class PoolInformation(NamedTuple):
    """One pool.

    Attributes:
        name: Its name.
        minimum: MinimumKernelNumber.
        maximum: MaximumKernelNumber.
        is_default: Whether clients get kernels of this pool that name none.
        is_parallel_default: Whether it is the default pool for parallel kernels.
        waiting: The number of clients that wait for a kernel.
        kernels: Its kernels; None where the server does not list them.
        trouble: Why its last start of a kernel failed.
    """

    name: str
    minimum: int | None
    maximum: int | None
    is_default: bool
    is_parallel_default: bool
    waiting: int | None
    kernels: tuple[KernelInformation, ...] | None
    trouble: str = ""

    @property
    def states(self) -> Counter[str]:
        """How many kernels are in each state."""
        return Counter(kernel.state for kernel in self.kernels or ())

    @property
    def available(self) -> int:
        """How many clients could have a kernel at once."""
        return sum(kernel.available for kernel in self.kernels or ())

    @property
    def ready(self) -> int:
        """How many kernels are up, in use or not."""
        return sum(kernel.ready for kernel in self.kernels or ())

    @property
    def is_blocked(self) -> bool:
        """Whether all kernels that it may have are reserved, so that no client gets one of it."""
        full = self.maximum is not None and self.kernels is not None and len(self.kernels) >= self.maximum
        return full and self.states["reserved"] == len(self.kernels or ()) > 0

    def __str__(self) -> str:
        """For messages: ``pool Main has 2 of at most 4 kernels (1 bridged, 1 starting)``."""
        if self.kernels is None:
            return f"pool {self.name}"
        most = "" if self.maximum is None else f" of at most {self.maximum}"
        counted = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items())) or "none"
        trouble = f"; {self.trouble}" if self.trouble else ""
        return f"pool {self.name} has {len(self.kernels)}{most} kernels ({counted}){trouble}"


class ServerInformation(NamedTuple):
    """All pools by name, in the order of the configuration, and the kernels outside them."""

    pools: dict[str, PoolInformation]
    outside: tuple[KernelInformation, ...] = ()

    @property
    def default_pool(self) -> PoolInformation | None:
        return next((pool for pool in self.pools.values() if pool.is_default), None)

    @property
    def parallel_pool(self) -> PoolInformation | None:
        """The default pool for parallel kernels."""
        return next((pool for pool in self.pools.values() if pool.is_parallel_default), None)

    @property
    def kernels(self) -> list[KernelInformation]:
        """All kernels, pool by pool."""
        listed = [kernel for pool in self.pools.values() for kernel in pool.kernels or ()]
        return listed + list(self.outside)


def describe_refusal(information: ServerInformation, specifier: str | None) -> str:
    """Say why a server gives no kernel.

    Args:
        information: What the server says of itself.
        specifier: The pool or the kernel that was asked for; None for the default pool.

    Returns:
        The reason and the remedy as far as they can be seen, as a sentence without a full stop.
    """
    if specifier is not None and is_kernel_id(specifier):
        kernel = next((kernel for kernel in information.kernels if kernel.id == specifier), None)
        if kernel is None:
            return f"there is no kernel {specifier}: it has ended"
        if kernel.state == "bridged":
            return f"kernel {specifier} is bridged to {kernel.client or 'another client'}, and was not given away"
        return f"kernel {specifier} is {'busy' if kernel.busy else kernel.state}"
    pool = information.default_pool if specifier is None else information.pools.get(specifier)
    if pool is None:
        names = ", ".join(information.pools) or "none"
        return f"there is no pool {specifier}; the pools of this server: {names}"
    return f"{pool}{_REMEDY if pool.is_blocked else ''}"


_REMEDY: Final = (
    ". Reserved kernels are given only to clients that name their ID: close the kernels that nobody needs with "
    "wstpserver-admin, or set ReservedKernelTimeout"
)


class Commanded(Protocol):
    """Takes server commands; a `Session` does."""

    def command(self, name: str, *arguments: Expression, timeout: float | None = ...) -> Any:
        """See `Session.command`."""


def server_information(session: Commanded, timeout: float | None = 10.0) -> ServerInformation:
    """Ask a server for its pools and kernels.

    Args:
        session: A session with the server. It needs no kernel, and takes none for this.
        timeout: Seconds for the answer.

    Returns:
        What the server says.

    Raises:
        CommandError: The answer is no such information.
        LinkTimeout: No answer came in time.
        LinkClosed: The link has ended.
    """
    return read_information(session.command("GetServerInformation", timeout=timeout))


def read_information(result: object) -> ServerInformation:
    """Read the result of GetServerInformation.

    Raises:
        CommandError: It is something else.
    """
    pools = result.get("Pools") if isinstance(result, Mapping) else None
    if not isinstance(result, Mapping) or not isinstance(pools, Mapping):
        raise CommandError(f"GetServerInformation: the answer names no pools: {str(result)[:200]}")
    return ServerInformation(
        {str(name): _pool(str(name), values) for name, values in pools.items() if isinstance(values, Mapping)},
        _kernels("", result.get("KernelsOutsidePools")) or (),
    )


def _pool(name: str, values: Mapping[str, Any]) -> PoolInformation:
    return PoolInformation(
        name=name,
        minimum=_get(values, "MinimumKernelNumber", int),
        maximum=_get(values, "MaximumKernelNumber", int),
        is_default=values.get("EntryPool") is True,
        is_parallel_default=values.get("ParallelKernelEntryPool") is True,
        waiting=_get(values, "WaitingClients", int),
        kernels=_kernels(name, values.get("Kernels")),
        trouble=_get(values, "Trouble", str) or "",
    )


def _kernels(pool: str, listed: object) -> tuple[KernelInformation, ...] | None:
    if not isinstance(listed, list):
        return None
    return tuple(_kernel(pool, values) for values in listed if isinstance(values, Mapping))


def _kernel(pool: str, values: Mapping[str, Any]) -> KernelInformation:
    return KernelInformation(
        id=_get(values, "ID", str) or "?",
        pool=pool,
        state=_get(values, "State", str) or "unknown",
        busy=values.get("Busy") is True,
        reserved=_get(values, "Reserved", bool),
        keep_alive=_get(values, "KeepAlive", bool),
        process=_get(values, "ProcessID", int),
        seconds=_number(values.get("SecondsInState")),
        evaluations=_get(values, "Evaluations", int),
        client=_get(values, "Client", str),
        age=_number(values.get("Age")),
        host=_get(values, "Host", str),
        launcher=_get(values, "Launcher", str),
        last_output=_get(values, "LastOutput", str),
        seconds_busy=_number(values.get("SecondsBusy")),
    )


def _get(values: Mapping[str, Any], key: str, kind: type[T]) -> T | None:
    value = values.get(key)
    return value if isinstance(value, kind) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
