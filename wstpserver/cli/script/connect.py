"""How wstpscript gets its kernel: which server it talks to, and which kernel of it it takes.

The server is the one that is named, else that of this computer, else one that is advertised on the network. The kernel
is any one of the default pool, one of a named pool, or the one that a profile names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from wstpserver.cli.terminal import ExitCode, ProgramError, Terminal
from wstpserver.client import (
    Address,
    Callbacks,
    CommandError,
    ConnectError,
    EvaluationError,
    KernelMessage,
    LinkError,
    Session,
    parse_address,
)
from wstpserver.client.connecting import CONNECT_TIMEOUT
from wstpserver.client.deadline import Deadline
from wstpserver.client.discover import discover
from wstpserver.client.profile import (
    KERNEL_ID,
    POOL,
    SERVER,
    Profile,
    ProfileError,
    open_profile,
    record_kernel,
    settings_of,
)
from wstpserver.wire.values import Expression, Function, Symbol

#: Seconds for the servers of the local network to answer. All are waited for, so that the choice does not depend on
#: which one is the fastest.
DISCOVERY_TIME: Final = 1.0
#: Seconds after which the user is told what is waited for.
_SOON: Final = 2.0
#: Seconds for the server to answer after it has waited.
_ANSWER: Final = 10.0
#: Seconds that the server may wait for a kernel of a pool, if -timeout says nothing else.
_POOL_WAIT: Final = 60.0
#: Seconds that a kernel at work is waited for, if -timeout says nothing else.
_BUSY_WAIT: Final = 7 * 24 * 3600.0
_NOBODY: Final = "No server is advertised on this network either. Start wstpserver, or name one: -wstpserver PORT@HOST"
_RESULTS: Final = ("ReturnPacket", "ReturnTextPacket", "ReturnExpressionPacket")


@dataclass(frozen=True)
class KernelChoice:
    """Which kernel to take.

    Attributes:
        address: The server, as for `wstpserver.client.parse_address`; "" where none is named.
        pool: A pool of it; None for the default pool.
        start_profile: Profile to note a new kernel in; "" for the default profile, None for none.
        continue_profile: Profile that names the kernel, likewise.
    """

    address: str = ""
    pool: str | None = None
    start_profile: str | None = None
    continue_profile: str | None = None


class ScriptSession(NamedTuple):
    """A session that has its kernel, and the profile that keeps the kernel, if any."""

    session: Session
    profile: Profile | None


def open_kernel(choice: KernelChoice, deadline: Deadline, callbacks: Callbacks, terminal: Terminal) -> ScriptSession:
    """Connect to a server and take a kernel.

    Raises:
        ProgramError: There is no server or no kernel, or the profile cannot be used.
        LinkSyntaxError: The profile names no address.
    """
    try:
        profile = _profile(choice)
        server = choice.address or (profile and profile.get(SERVER)) or ""
        session, address = open_session(server, deadline, callbacks, terminal.complain)
    except ProfileError as error:
        raise ProgramError(str(error)) from None
    except LinkError as error:
        raise ProgramError(str(error), ExitCode.UNAVAILABLE) from None
    try:
        _take_kernel(session, choice, address, profile, deadline, terminal)
    except ProfileError as error:
        session.close()
        raise ProgramError(str(error)) from None
    except (LinkError, EvaluationError) as error:
        session.close()
        raise ProgramError(str(error), ExitCode.UNAVAILABLE) from None
    except BaseException:
        session.close()
        raise
    return ScriptSession(session, profile)


# The server


def open_session(
    name: str, deadline: Deadline, callbacks: Callbacks, announce: Callable[[str], None]
) -> tuple[Session, Address]:
    """Open a session with a server.

    Args:
        name: The server, as for `parse_address`; a pool in it is left to the caller. "" is the server on port 31415 of
            this computer, or where nothing answers there the first one by name that is advertised on the local network
            and can be connected to.
        deadline: Limit for the whole.
        callbacks: For the session.
        announce: Is told which advertised server was found.

    Returns:
        The session, and where the server is.

    Raises:
        ConnectError: No server can be connected to.
        LinkTimeout: The server did not greet in time.
        LinkSyntaxError: `name` is no address.
    """
    here = parse_address(name)
    try:
        return _connect(here, deadline, callbacks), here
    except ConnectError as error:
        if name:
            raise
        problem = error
    for found, address in _advertised(deadline):
        try:
            session = _connect(address, deadline, callbacks)
        except ConnectError:
            continue
        announce(f"using {found} at {address}")
        return session, address
    raise ConnectError(problem.message, problem.where, _NOBODY) from problem


def _advertised(deadline: Deadline) -> list[tuple[str, Address]]:
    remaining = deadline.remaining()
    seconds = DISCOVERY_TIME if remaining is None else min(DISCOVERY_TIME, remaining)
    return [(name, parse_address(text)) for name, text in discover(seconds)]


def _connect(address: Address, deadline: Deadline, callbacks: Callbacks) -> Session:
    remaining = deadline.remaining()
    limit = CONNECT_TIMEOUT if remaining is None else min(CONNECT_TIMEOUT, remaining)
    return Session(Address(address.data, address.message), limit, callbacks=callbacks, results="expression")


# The kernel


def _profile(choice: KernelChoice) -> Profile | None:
    name = choice.start_profile if choice.continue_profile is None else choice.continue_profile
    if name is None:
        return None
    return open_profile(name or None, continues=choice.continue_profile is not None)


def _take_kernel(
    session: Session,
    choice: KernelChoice,
    address: Address,
    profile: Profile | None,
    deadline: Deadline,
    terminal: Terminal,
) -> None:
    pool = choice.pool or address.pool
    if profile is None:
        _connect_to_pool(session, pool, deadline, terminal)
        # Nobody comes back to this kernel, so it must not stay reserved, even if this program is killed. A kernel
        # without a server may refuse that. What the code itself says later stands.
        session.send_command("SetKeepAlive", Symbol("False"))
        session.keep_kernel = True
        return
    if choice.continue_profile is not None:
        _give_up_unused(session)
        _return_to_kernel(session, profile, deadline, terminal)
    else:
        _mention_former_kernel(session, profile, address, terminal)
        _connect_to_pool(session, pool or profile.get(POOL), deadline, terminal)
    _apply_properties(session, profile)
    record_kernel(session, profile, address)
    session.keep_kernel = True
    if choice.continue_profile is not None:
        show_missed_output(session, terminal)


def _connect_to_pool(session: Session, pool: str | None, deadline: Deadline, terminal: Terminal) -> None:
    if pool is None:
        session.synchronize(deadline.remaining())
        return
    _give_up_unused(session)
    wait = _time_limit(deadline, _POOL_WAIT)
    soon = min(wait, _SOON)
    if not _connects(session, pool, soon):
        if wait == soon or _describe_pool(session, pool) is None:
            raise CommandError(f"the server gives no kernel of pool {pool}{_why(session, pool)}")
        terminal.complain(f"waiting for a kernel of pool {pool}{_why(session, pool)}")
        if not _connects(session, pool, wait - soon):
            raise CommandError(f"the server gives no kernel of pool {pool}{_why(session, pool)}")
    session.synchronize(deadline.remaining())


def _connects(session: Session, specifier: str, wait: float) -> bool:
    """Ask for a kernel; False if none came within `wait` seconds."""
    try:
        session.command("ConnectKernel", specifier, wait, timeout=wait + _ANSWER)
    except CommandError as error:
        if not error.reply:
            raise
        return False
    return True


def _give_up_unused(session: Session) -> None:
    """A kernel of the default pool may have come by itself; unused as it is, it must not stay reserved."""
    try:
        session.command("SetKeepAlive", Symbol("False"))
    except CommandError as error:
        if not error.reply:
            raise
        # no kernel yet: the server has none to spare


def _time_limit(deadline: Deadline, default: float) -> float:
    """Seconds that are left, `default` without a limit."""
    remaining = deadline.remaining()
    return default if remaining is None else remaining


def _why(session: Session, pool: str) -> str:
    text = _describe_pool(session, pool)
    return "; the server has no such pool" if text is None else f": {text}" if text else ""


def _describe_pool(session: Session, name: str) -> str | None:
    """How full the pool is, "" if the server does not say; None if it has no such pool."""
    try:
        information = session.command("GetServerInformation")
    except CommandError:
        return ""
    pools = information.get("Pools") if isinstance(information, dict) else None
    if not isinstance(pools, dict):
        return ""
    pool = pools.get(name)
    if pool is None:
        return None
    kernels = pool.get("Kernels", ())
    states = Counter(kernel.get("State", "unknown") for kernel in kernels)
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return f"{len(kernels)} of at most {pool.get('MaximumKernelNumber')} kernels" + (f" ({counted})" if counted else "")


# The kernel of a profile


def _return_to_kernel(session: Session, profile: Profile, deadline: Deadline, terminal: Terminal) -> None:
    """Bridge to the kernel of the profile; ProfileError if it is gone, or cannot be connected to.

    A kernel that waits for the answer to a question, or in a dialog, is connected at once, and asks again.
    """
    kernel = profile.get(KERNEL_ID)
    assert kernel is not None, "checked when the profile was read"
    if _is_busy(session, kernel) is None:
        raise ProfileError(f"the kernel {kernel} of the profile {profile.path} is gone; -startprofile takes a new one")
    wait = _time_limit(deadline, _BUSY_WAIT)
    soon = min(wait, _SOON)
    if _connects(session, kernel, soon):
        return
    if wait > soon and _is_busy(session, kernel):
        terminal.complain(f"kernel {kernel} is still at work; waiting for it")
        if _connects(session, kernel, wait - soon):
            return
    raise ProfileError(f"kernel {kernel} of the profile {profile.path} is in use, or still at work")


def _is_busy(session: Session, kernel: str) -> bool | None:
    """Whether the kernel evaluates; None if it is gone."""
    try:
        return bool(session.command("GetKernelBusyStatus", kernel) == "True")
    except CommandError as error:
        if not error.reply:
            raise
        return None


def _mention_former_kernel(session: Session, profile: Profile, address: Address, terminal: Terminal) -> None:
    """A new kernel takes the place of a living one in the profile: say how to close that."""
    kernel = profile.get(KERNEL_ID)
    if kernel is None or profile.get(SERVER) not in (None, str(address)):
        return
    try:
        session.command("GetKernelBusyStatus", kernel)
    except CommandError:
        return
    terminal.complain(
        f'kernel {kernel}, which the profile named so far, stays alive; WSTPServer`CloseKernel["{kernel}"] ends it'
    )


def _apply_properties(session: Session, profile: Profile) -> None:
    """Give the kernel the properties that the profile wants, TRUE where it says nothing."""
    for command, wanted in settings_of(profile).commands():
        try:
            session.command(command, Symbol(str(wanted)))
        except CommandError as error:
            if not error.reply:
                raise
            # a kernel outside all pools: it stays alive, and nobody else is given it


def show_missed_output(session: Session, terminal: Terminal) -> None:
    """Print what the kernel wrote while nobody was connected to it; nothing where there is none."""
    try:
        dropped, packets = session.missed_output()
    except CommandError:  # a server without this command
        return
    if dropped:
        terminal.complain(f"{dropped} packets that came before are lost")
    _MissedOutput(terminal).show(packets)


class _MissedOutput:
    """Packets that no evaluation waits for, shown as in an interactive session."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._label = ""
        self._message: KernelMessage | None = None

    def show(self, packets: Sequence[Expression]) -> None:
        for packet in packets:
            if isinstance(packet, Function) and isinstance(packet.head, Symbol) and packet.args:
                self._take(packet.head.name.removeprefix("System`"), packet.args)

    def _take(self, name: str, arguments: tuple[Expression, ...]) -> None:
        first = arguments[0]
        text = first if isinstance(first, str) else _plain(first)
        if name == "TextPacket" and self._message is not None:
            self._terminal.message(self._message._replace(text=text))
            self._message = None
        elif name == "TextPacket":
            self._terminal.write(text)
        elif name == "MessagePacket":
            self._message = KernelMessage(text, str(arguments[-1]), "")
        elif name == "OutputNamePacket":
            self._label = text
        elif name in _RESULTS:
            # Without a label it is the answer to a program, which a Null does not interest.
            if self._label or first != Symbol("Null"):
                self._terminal.result(self._label, text)
            self._label = ""


def _plain(value: Expression) -> str:
    return value.name if isinstance(value, Symbol) else repr(value)
