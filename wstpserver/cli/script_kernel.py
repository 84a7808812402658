"""How wstpscript comes to its kernel: any one, one of a pool, or the one that a profile names."""

from __future__ import annotations

from typing import NamedTuple

from wstpserver.cli.script_arguments import ScriptArguments
from wstpserver.cli.script_bridging import SOON, connects, give_up_unused, time_limit
from wstpserver.cli.script_continue import apply_properties, mention_former_kernel, return_to_kernel
from wstpserver.cli.script_errors import EXIT_FAILED, EXIT_UNAVAILABLE, ScriptError
from wstpserver.cli.script_missed import show_missed_output
from wstpserver.cli.script_pools import describe_pool
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
from wstpserver.client.errors import ProfileError
from wstpserver.client.profile import POOL, SERVER, Profile, open_profile, record_kernel
from wstpserver.wire.values import Symbol

#: Seconds that the server may wait for a kernel of a pool, if -timeout says nothing else.
_POOL_WAIT = 60.0


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
    return open_profile(name or None, continues=arguments.continue_profile is not None)


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
        give_up_unused(session)
        return_to_kernel(session, profile, deadline, terminal)
    else:
        mention_former_kernel(session, profile, address, terminal)
        _connect_to_pool(session, pool or profile.get(POOL), deadline, terminal)
    apply_properties(session, profile)
    record_kernel(session, profile, address)
    session.keep_kernel = True
    if arguments.continue_profile is not None:
        show_missed_output(session, terminal)


def _connect_to_pool(session: Session, pool: str | None, deadline: Deadline, terminal: Terminal) -> None:
    if pool is None:
        session.synchronize(deadline.remaining())
        return
    give_up_unused(session)
    wait = time_limit(deadline, _POOL_WAIT)
    soon = min(wait, SOON)
    if not connects(session, pool, soon):
        if wait == soon or describe_pool(session, pool) is None:
            raise CommandError(f"the server gives no kernel of pool {pool}{_why(session, pool)}")
        terminal.error(f"wstpscript: waiting for a kernel of pool {pool}{_why(session, pool)}")
        if not connects(session, pool, wait - soon):
            raise CommandError(f"the server gives no kernel of pool {pool}{_why(session, pool)}")
    session.synchronize(deadline.remaining())


def _why(session: Session, pool: str) -> str:
    text = describe_pool(session, pool)
    return "; the server has no such pool" if text is None else f": {text}" if text else ""
