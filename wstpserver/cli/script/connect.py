"""How wstpscript gets its kernel: which server it talks to, and which kernel of it it takes.

The server is the one that is named, else that of this computer, else one that is advertised on the network. The kernel
is any one of the default pool, one of a named pool, or the one that a profile names.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Final, NamedTuple

from wstpserver.cli.script.program import read_outcome
from wstpserver.cli.terminal import ExitCode, ProgramError, Terminal, WaitNotice, one_line, text_of
from wstpserver.client import (
    Address,
    Callbacks,
    CommandError,
    ConnectError,
    EvaluationError,
    EvaluationTimeout,
    KernelMessage,
    LinkClosed,
    LinkError,
    ProfileError,
    Session,
    connect,
    parse_address,
)
from wstpserver.client.address import default_address
from wstpserver.client.commands import PoolInformation, ServerInformation, server_information
from wstpserver.client.connecting import CONNECT_TIMEOUT
from wstpserver.client.deadline import Deadline
from wstpserver.client.evaluation import NOTICE_PREFIX
from wstpserver.client.profile import (
    KERNEL_ID,
    POOL,
    SERVER,
    Profile,
    open_profile,
    record_kernel,
    settings_of,
)
from wstpserver.client.reconnect import RECONNECT_TIME
from wstpserver.client.transport import encoded_host
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Expression, Function, Symbol

#: Seconds for the servers of the local network to answer. All are waited for, so that the choice does not depend on
#: which one is the fastest.
DISCOVERY_TIME: Final = 1.0
#: Seconds for a server to be connected to and to answer where it is only asked how things are.
_ALIVE_TIMEOUT: Final = 2.0
#: Seconds for the server to answer after it has waited.
_ANSWER: Final = 10.0
#: Seconds that the server may wait for a kernel of a pool, if neither -timeout nor the server says anything else.
_POOL_WAIT: Final = 60.0
#: Seconds that a kernel at work is waited for, if -timeout says nothing else.
_BUSY_WAIT: Final = 7 * 24 * 3600.0
_NOBODY: Final = "No server is advertised on this network either. Start wstpserver, or name one: -wstpserver PORT@HOST"
_RESULTS: Final = ("ReturnPacket", "ReturnTextPacket", "ReturnExpressionPacket")


class KernelChoice(NamedTuple):
    """Which kernel to take.

    Attributes:
        address: The server, as for `wstpserver.client.parse_address`; "" where none is named.
        pool: A pool of it; None for the default pool.
        keep: Whether the pool's settings say what becomes of a kernel without a profile.
        start_profile: Profile to note a new kernel in; "" for the default profile, None for none.
        continue_profile: Profile that names the kernel, likewise; one that names none gets a new kernel.
    """

    address: str = ""
    pool: str | None = None
    start_profile: str | None = None
    continue_profile: str | None = None
    keep: bool = False


class ScriptSession(NamedTuple):
    """A session that has its kernel, and the profile that keeps the kernel, if any."""

    session: Session
    profile: Profile | None
    #: Where the server is.
    address: Address


def open_kernel(choice: KernelChoice, deadline: Deadline, callbacks: Callbacks, terminal: Terminal) -> ScriptSession:
    """Connect to a server and take a kernel.

    Raises:
        ProgramError: There is no server or no kernel, or the profile cannot be used.
        LinkSyntaxError: An address is none.
    """
    notices = _Notices(callbacks)
    try:
        profile = _profile(choice)
        named_in_profile = profile.get(SERVER) if profile is not None else None
        name = choice.address or named_in_profile or server_name("")
        pool = choice.pool or parse_address(name).pool
        # A program that wants a kernel of its own to go back to may have made an empty file for it.
        continues = choice.continue_profile is not None and profile is not None and profile.get(KERNEL_ID) is not None
        if profile is not None and pool is None and not continues:
            pool = profile.get(POOL)
        # A kernel that comes by itself would count against the pool that is asked for.
        elsewhere = pool is not None or profile is not None
        session, address = open_session(name, deadline, notices.callbacks, terminal, without_kernel=elsewhere)
    except ProfileError as error:
        raise ProgramError(str(error)) from None
    except LinkError as error:
        raise ProgramError(one_line(str(error)), ExitCode.UNAVAILABLE) from None
    taking = _Taking(session, address, pool, profile, deadline, terminal)
    try:
        if profile is None:
            taking.for_once(keep=choice.keep)
        elif not continues:
            taking.for_profile(profile)
        else:
            taking.of_profile(profile)
    except BaseException as error:
        if not continues:
            session.keep_kernel = False  # nobody could come back to it
        session.close()
        if isinstance(error, ProfileError):
            raise ProgramError(str(error)) from None
        if isinstance(error, (LinkError, EvaluationError)):
            raise ProgramError(notices.reason(explain_end(error, address)), ExitCode.UNAVAILABLE) from None
        raise
    notices.settled = True
    return ScriptSession(session, profile, address)


class _Notices:
    """Drops what the server says about waiting while a kernel is taken: `WaitNotice` tells it."""

    def __init__(self, callbacks: Callbacks) -> None:
        #: Whether there is a kernel.
        self.settled = False
        self._last = ""
        self._notice = callbacks.on_notice
        self.callbacks = callbacks._replace(on_notice=self._noticed)

    def _noticed(self, text: str) -> None:
        self._last = one_line(text.removeprefix(NOTICE_PREFIX))
        if self._notice is not None and self.settled:
            self._notice(text)

    def reason(self, error: str) -> str:
        """The text of an error, with what the server said before unless it is in there."""
        known = not self._last or "the server says" in error or self._last in error
        return error if known else f"{error}; the server says: {self._last}"


def explain_end(error: WSTPError, address: Address) -> str:
    """The text of `error`; of a link that broke because the server is not there any more, that."""
    if isinstance(error, LinkClosed) and "the server says" not in str(error):
        try:
            socket.create_connection((address.data.host, address.data.port), _ALIVE_TIMEOUT).close()
        except ConnectionRefusedError:
            return f"{address}: the server has stopped"
        except OSError:
            pass  # who knows
    return one_line(str(error))


# The server


def server_name(name: str) -> str:
    """The server that `name` or else the environment variable WSTPSERVER names; "" where neither does."""
    return name or default_address()


def open_session(
    name: str, deadline: Deadline, callbacks: Callbacks, terminal: Terminal, *, without_kernel: bool = False
) -> tuple[Session, Address]:
    """Open a session with a server.

    Args:
        name: The server, as for `parse_address`; a pool in it is left to the caller. "" is the server on port 31415 of
            this computer, or where nothing answers there the first one by name that is advertised on the local network
            and can be connected to.
        deadline: Limit for the whole.
        callbacks: For the session.
        terminal: Is told which advertised server was found, and what takes long.
        without_kernel: Whether the server is to give no kernel before it is asked for one.

    Returns:
        The session, and where the server is.

    Raises:
        ConnectError: No server can be connected to.
        LinkTimeout: The server did not greet in time.
        LinkSyntaxError: `name` is no address.
    """

    def opened(address: Address) -> Session:
        target = address.server
        limit = deadline.at_most(CONNECT_TIMEOUT)
        with WaitNotice(terminal, f"connecting to {address}", limit):
            if without_kernel:
                link = connect(target, limit.remaining(), without_kernel=True)
                return Session(link, callbacks=callbacks, results="expression")
            return Session(target, limit.remaining(), callbacks=callbacks, results="expression")

    here = parse_address(name)
    try:
        return opened(here), here
    except ConnectError as error:
        if name:
            raise
        problem = error
    from wstpserver.client.discover import discover  # which others need not wait for

    with WaitNotice(terminal, f"no server at {here}; looking for one on the network"):
        remaining = deadline.remaining()
        advertised = discover(DISCOVERY_TIME if remaining is None else min(DISCOVERY_TIME, remaining))
    for found, text in advertised:
        address = parse_address(text)._replace(token="")  # who advertises a server need not be trusted with it
        try:
            session = opened(address)
        except ConnectError:
            continue
        terminal.complain(f"using {found} at {address}")
        return session, address
    raise ConnectError(problem.message, problem.where, _NOBODY) from problem


def is_on_this_machine(address: Address) -> bool:
    """Whether the server's address is one of this machine. It may be the near end of a tunnel nevertheless."""
    try:
        found = socket.getaddrinfo(encoded_host(address.data.host), 0, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    for family, kind, protocol, _, where in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(where)
                return True
        except OSError:
            pass
    return False


# The kernel


def _profile(choice: KernelChoice) -> Profile | None:
    """The profile, if one is wanted: read, and its folder tried for writing. ProfileError."""
    name = choice.start_profile if choice.continue_profile is None else choice.continue_profile
    if name is None:
        return None
    profile = open_profile(name or None, continues=choice.continue_profile is not None)
    folder = os.path.dirname(os.path.realpath(profile.path))
    try:
        os.makedirs(folder, exist_ok=True)
        import tempfile  # which takes a while

        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ProfileError(f"cannot write the profile {profile.path}: {error.strerror}") from None
    return profile


class _Taking:
    """Takes a kernel for a session that has none, or one of the default pool.

    Attributes:
        pool: The pool to take it of; None for the default pool.
    """

    def __init__(
        self,
        session: Session,
        address: Address,
        pool: str | None,
        profile: Profile | None,
        deadline: Deadline,
        terminal: Terminal,
    ) -> None:
        self.session = session
        self.address = address
        self.pool = pool
        self.profile = profile
        self.deadline = deadline
        self.terminal = terminal

    def for_once(self, *, keep: bool) -> None:
        """Take a kernel that ends with this program, unless its pool is to `keep` it."""
        self._take()
        self.session.keep_kernel = True
        if keep:
            return
        # Nobody comes back to this kernel, so it must not stay reserved, even if this program is killed. A kernel
        # without a server may refuse that. What the code itself says later stands.
        self.session.send_command("SetKeepAlive", Symbol("False"))

    def for_profile(self, profile: Profile) -> None:
        """Take a new kernel and note it in the profile."""
        self._mention_former_kernel(profile)
        self._take()
        self._keep(profile)

    def of_profile(self, profile: Profile) -> None:
        """Go back to the kernel of the profile."""
        self._give_up_unused()
        self._return(profile)
        self._keep(profile)

    def _take(self) -> None:
        if self.pool is not None:
            self._connect_to_pool(self.pool)
        limit = self.deadline
        try:
            with WaitNotice(self.terminal, lambda: f"waiting for a kernel{self._state_of_pool()}", limit):
                self.session.synchronize(limit.remaining())
        except EvaluationTimeout:
            state = self._state_of_pool()
            raise ProgramError(f"{self.address}: no kernel {limit}{state}", ExitCode.UNAVAILABLE) from None

    def _connect_to_pool(self, pool: str) -> None:
        self._give_up_unused()
        known = pool_information(self.session, pool)
        if isinstance(known, str):
            raise CommandError(f"the server gives no kernel of pool {pool}; {known}")
        wait = self._wait_of_server()
        limit = self.deadline.at_most(wait)
        with WaitNotice(self.terminal, lambda: f"waiting for a kernel{self._state_of_pool()}", limit):
            connected = self._connects(pool, limit)
        if not connected:
            state = pool_information(self.session, pool)
            reason = "" if state is None else f": {state if isinstance(state, str) else describe_pool(state)}"
            ours = self.deadline.seconds is not None and self.deadline.seconds <= wait
            span = self.deadline if ours else limit
            in_vain = f" {span}" if (limit.remaining() or 0.0) < 1 else ""  # else it was turned away at once
            raise CommandError(f"the server gives no kernel of pool {pool}{in_vain}{reason}")

    def _wait_of_server(self) -> float:
        """KernelWaitTimeout, if the server tells it: how long clients wait that name no pool."""
        try:
            answer = self.session.command("GetServerInformation")
        except CommandError:
            return _POOL_WAIT
        told = answer.get("KernelWaitTimeout") if isinstance(answer, dict) else None
        return float(told) if isinstance(told, (int, float)) and told > 0 else _POOL_WAIT

    def _connects(self, specifier: str, limit: Deadline) -> bool:
        """Ask for a kernel; False if the server gives none in time."""
        wait = limit.remaining()
        assert wait is not None, "the server would use a default of its own"
        try:
            self.session.command("ConnectKernel", specifier, wait, timeout=wait + _ANSWER)
        except CommandError as error:
            if not error.reply:
                raise
            return False
        return True

    def _give_up_unused(self) -> None:
        """A server that knows no clients without a kernel has given one: unused as it is, it must not stay reserved."""
        try:
            self.session.command("SetKeepAlive", Symbol("False"))
        except CommandError as error:
            if not error.reply:
                raise

    def _state_of_pool(self) -> str:
        """" of pool P: ..." with the state of the pool, as far as the server tells it, over a link of its own."""
        information = ask_server(self.address)
        if information is None:
            return "" if self.pool is None else f" of pool {self.pool}"
        pool = information.default_pool if self.pool is None else information.pools.get(self.pool)
        return "" if pool is None else f" of pool {pool.name}: {describe_pool(pool)}".removesuffix(": ")

    # The kernel of a profile

    def _return(self, profile: Profile) -> None:
        """Bridge to the kernel of the profile; ProfileError if it is gone, or cannot be connected to.

        A kernel that waits for the answer to a question, or in a dialog, is connected at once, and asks again.
        """
        kernel = profile.get(KERNEL_ID)
        assert kernel is not None, "checked when the profile was read"
        gone = f"the kernel {kernel} of the profile {profile.path} is gone; -startprofile takes a new one"
        if is_busy(self.session, kernel) is None:
            raise ProfileError(gone)
        limit = self.deadline.at_most(_BUSY_WAIT)
        about = f"kernel {kernel} is still at work; waiting for it (Ctrl-C leaves it as it is)"
        with WaitNotice(self.terminal, about, None if self.deadline.seconds is None else limit):
            connected = self._connects(kernel, limit)
        if connected:
            return
        busy = is_busy(self.session, kernel)
        if busy is None:
            raise ProfileError(gone)
        reason = "still at work" if busy else "connected to another client, and the server does not let us take it over"
        raise ProfileError(f"kernel {kernel} of the profile {profile.path} is {reason}")

    def _keep(self, profile: Profile) -> None:
        """Give the kernel the properties that the profile wants, TRUE where it says nothing, and note it there."""
        for command, wanted in settings_of(profile).commands():
            try:
                self.session.command(command, Symbol(str(wanted)))
            except CommandError as error:
                if not error.reply:
                    raise
                # a kernel outside all pools: it stays alive, and nobody else is given it
        record_kernel(self.session, profile, self.address)
        self.session.keep_kernel = True

    def _mention_former_kernel(self, profile: Profile) -> None:
        """A new kernel takes the place of a living one in the profile: say how to close that."""
        kernel = profile.get(KERNEL_ID)
        if kernel is None or profile.get(SERVER) not in (None, str(self.address)):
            return
        if is_busy(self.session, kernel) is not None:
            self.terminal.complain(
                f"kernel {kernel}, which the profile named so far, stays alive; "
                f'WSTPServer`CloseKernel["{kernel}"] ends it'
            )


def survive(session: Session, profile: Profile, address: Address) -> None:
    """Have a session come back to the kernel of its profile when the connection breaks."""
    kernel = profile.get(KERNEL_ID)
    if kernel is not None:
        plain = Address(address.data, address.message)
        session.survive(plain, kernel, settings_of(profile), RECONNECT_TIME)


def is_busy(session: Session, kernel: str | None) -> bool | None:
    """Whether the server's kernel of this ID evaluates; None if there is no such kernel."""
    if kernel is None:
        return None
    try:
        return bool(session.command("GetKernelBusyStatus", kernel) == "True")
    except CommandError as error:
        if not error.reply:
            raise
        return None


# What the server says


def ask_server(address: Address) -> ServerInformation | None:
    """What the server says of its pools, over a link of its own that takes no kernel; None if it says nothing."""
    try:
        with Session(connect(address, _ALIVE_TIMEOUT, without_kernel=True)) as session:
            return server_information(session, _ALIVE_TIMEOUT)
    except WSTPError:
        return None


def pool_information(session: Session, name: str) -> PoolInformation | str | None:
    """The pool of this name; a text if the server has no such pool; None if it does not say."""
    try:
        information = server_information(session)
    except CommandError:
        return None
    pool = information.pools.get(name)
    if pool is None:
        return f"it has no such pool; its pools are: {', '.join(information.pools)}"
    return pool


def describe_pool(pool: PoolInformation) -> str:
    """How full the pool is, why, and what would free a kernel."""
    if pool.kernels is None:
        return ""
    most = "" if pool.maximum is None else f" of at most {pool.maximum}"
    states = pool.states
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    text = f"{len(pool.kernels)}{most} kernels" + (f" ({counted})" if counted else "")
    if pool.trouble:
        return f"{text}; {one_line(pool.trouble)}"
    if pool.maximum is None or len(pool.kernels) < pool.maximum or states["starting"]:
        return text
    if states["reserved"]:
        return f"{text}; `wstpserver-admin close --reserved` closes the reserved kernels"
    return f"{text}; a kernel is free when a client leaves"


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
        if name == "TextPacket" and self._message is not None:
            self._terminal.message(self._message._replace(text=text_of(first)))
            self._message = None
        elif name == "TextPacket":
            self._terminal.write(text_of(first))
        elif name == "MessagePacket":
            self._message = KernelMessage(text_of(first), text_of(arguments[-1]), "")
        elif name == "OutputNamePacket":
            self._label = text_of(first)
        elif name in _RESULTS:
            # Without a label it is the answer to a program, which a Null does not interest.
            text = text_of(first) if self._label else read_outcome(first).text
            if text is not None:
                self._terminal.result(self._label, text)
            self._label = ""
