"""How wstpscript comes to its kernel: any one, one of a pool, or the one that a profile names."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from wstpserver.cli.script_arguments import ScriptArguments
from wstpserver.cli.script_errors import EXIT_FAILED, EXIT_UNAVAILABLE, ScriptError
from wstpserver.cli.script_missed import show_missed_output
from wstpserver.cli.script_pools import describe_pool
from wstpserver.cli.script_profile import (
    KEEP_ALIVE,
    KERNEL_ID,
    POOL,
    RESERVE,
    SERVER,
    Profile,
    ProfileError,
    default_profile_path,
    load_profile,
)
from wstpserver.cli.script_server import open_session
from wstpserver.cli.script_terminal import Terminal
from wstpserver.client import (
    Address,
    Callbacks,
    CommandError,
    EvaluationError,
    LinkError,
    Session,
)
from wstpserver.client.deadline import Deadline
from wstpserver.wire.values import Symbol

#: Seconds that the server may wait for a kernel of a pool, or for a kernel at work, if -timeout says nothing else.
_POOL_WAIT = 60.0
_BUSY_WAIT = 7 * 24 * 3600.0
#: Seconds after which the user is told what is waited for.
_SOON = 2.0
#: Seconds for the server to answer after it has waited.
_ANSWER = 10.0


class Conversation(NamedTuple):
    """A session that has its kernel, and the profile that keeps it, if any."""

    session: Session
    profile: Profile | None


def open_conversation(
    arguments: ScriptArguments, deadline: Deadline, callbacks: Callbacks, terminal: Terminal
) -> Conversation:
    """Connect as the command line says. Raises ScriptError."""
    try:
        profile = _profile(arguments)
        server = arguments.address or (profile and profile.get(SERVER)) or ""
        session, address = open_session(server, deadline, callbacks, lambda text: terminal.error(f"wstpscript: {text}"))
    except ProfileError as error:
        raise ScriptError(str(error), EXIT_FAILED) from None
    except LinkError as error:
        raise ScriptError(str(error), EXIT_UNAVAILABLE) from None
    try:
        _take_kernel(session, arguments, address, profile, deadline, terminal)
    except ProfileError as error:
        session.close()
        raise ScriptError(str(error), EXIT_FAILED) from None
    except (LinkError, EvaluationError) as error:
        session.close()
        raise ScriptError(str(error), EXIT_UNAVAILABLE) from None
    except BaseException:
        session.close()
        raise
    return Conversation(session, profile)


def _profile(arguments: ScriptArguments) -> Profile | None:
    name = arguments.start_profile if arguments.continue_profile is None else arguments.continue_profile
    if name is None:
        return None
    path = Path(name) if name else default_profile_path()
    profile = load_profile(path)
    if profile is not None:
        for setting in (KEEP_ALIVE, RESERVE):
            profile.truth(setting)  # understood before anything is done
    if arguments.continue_profile is None:
        return Profile(path) if profile is None else profile
    if profile is None:
        raise ProfileError(f"there is no profile {path}; -startprofile begins one")
    if profile.get(KERNEL_ID) is None:
        raise ProfileError(f"the profile {path} names no kernel ({KERNEL_ID}=...); -startprofile takes one")
    return profile


def _take_kernel(
    session: Session,
    arguments: ScriptArguments,
    address: Address,
    profile: Profile | None,
    deadline: Deadline,
    terminal: Terminal,
) -> None:
    pool = arguments.kernel_pool or address.pool
    if profile is None:
        _connect_to_pool(session, pool, deadline, terminal)
        # Nobody comes back to this kernel, so it must not stay reserved, even if this program is killed. A kernel
        # without a server may refuse that. What the code itself says later stands.
        session.send_command("SetKeepAlive", Symbol("False"))
        session.keep_kernel = True
        return
    if arguments.continue_profile is not None:
        _return_to_kernel(session, profile, deadline, terminal)
    else:
        _mention_former_kernel(session, profile, address, terminal)
        _connect_to_pool(session, pool or profile.get(POOL), deadline, terminal)
    _apply(session, profile)
    record_kernel(session, profile, address)
    session.keep_kernel = True
    if arguments.continue_profile is not None:
        show_missed_output(session, terminal)


def _connect_to_pool(session: Session, pool: str | None, deadline: Deadline, terminal: Terminal) -> None:
    if pool is None:
        session.synchronize(deadline.remaining())
        return
    _give_up_unused(session)
    wait = _limit(deadline, _POOL_WAIT)
    soon = min(wait, _SOON)
    if not _connects(session, pool, soon):
        if wait == soon or describe_pool(session, pool) is None:
            raise CommandError(f"the server gives no kernel of pool {pool}{_why(session, pool)}")
        terminal.error(f"wstpscript: waiting for a kernel of pool {pool}{_why(session, pool)}")
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


def _why(session: Session, pool: str) -> str:
    text = describe_pool(session, pool)
    return "; the server has no such pool" if text is None else f": {text}" if text else ""


def _give_up_unused(session: Session) -> None:
    """A kernel of the default pool may have come by itself; unused as it is, it must not stay reserved."""
    try:
        session.command("SetKeepAlive", Symbol("False"))
    except CommandError as error:
        if not error.reply:
            raise
        # no kernel yet: the server has none to spare


def _return_to_kernel(session: Session, profile: Profile, deadline: Deadline, terminal: Terminal) -> None:
    """Bridge to the kernel of the profile; ProfileError if it is gone."""
    kernel = profile.get(KERNEL_ID)
    assert kernel is not None, "checked when the profile was read"
    _give_up_unused(session)
    try:
        busy = session.command("GetKernelBusyStatus", kernel) == "True"
    except CommandError as error:
        if not error.reply:
            raise
        raise ProfileError(
            f"the kernel {kernel} of the profile {profile.path} is gone; -startprofile takes a new one"
        ) from None
    if busy:
        terminal.error(f"wstpscript: kernel {kernel} is still at work; waiting for it")
    if not _connects(session, kernel, _limit(deadline, _BUSY_WAIT)):
        raise ProfileError(f"kernel {kernel} of the profile {profile.path} is in use, or still at work")


def _mention_former_kernel(session: Session, profile: Profile, address: Address, terminal: Terminal) -> None:
    """A new kernel takes the place of a living one in the profile: say how to get rid of that."""
    kernel = profile.get(KERNEL_ID)
    if kernel is None or profile.get(SERVER) not in (None, str(address)):
        return
    try:
        session.command("GetKernelBusyStatus", kernel)
    except CommandError:
        return
    terminal.error(
        f"wstpscript: kernel {kernel}, which the profile named so far, stays alive; "
        f'WSTPServer`CloseKernel["{kernel}"] ends it'
    )


def _apply(session: Session, profile: Profile) -> None:
    """Give the kernel the properties that the profile wants, TRUE where it says nothing."""
    for name, command in ((KEEP_ALIVE, "SetKeepAlive"), (RESERVE, "SetReserveKernel")):
        wanted = profile.truth(name)
        if wanted is None:
            profile.set(name, "TRUE")
        try:
            session.command(command, Symbol(str(wanted is not False)))
        except CommandError as error:
            if not error.reply:
                raise
            # a kernel outside all pools: it stays alive, and nobody else is given it


def record_kernel(session: Session, profile: Profile, address: Address | None = None) -> None:
    """Write the session's kernel into the profile. ProfileError, and CommandError where there is none."""
    profile.set(KERNEL_ID, str(session.command("GetKernelID")))
    if address is not None:
        profile.set(SERVER, str(Address(address.data, address.message)))
    try:
        profile.set(POOL, str(session.command("GetPoolName")))
    except CommandError:
        profile.set(POOL, None)
    profile.save()


def _limit(deadline: Deadline, default: float) -> float:
    remaining = deadline.remaining()
    return default if remaining is None else remaining
