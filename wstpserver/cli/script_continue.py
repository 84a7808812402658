"""The kernel that a profile names: going back to it, and what it is to be like."""

from __future__ import annotations

from typing import Final

from wstpserver.cli.script_bridging import SOON, connects, time_limit
from wstpserver.cli.script_terminal import Terminal
from wstpserver.client import Address, CommandError, Session
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import ProfileError
from wstpserver.client.profile import KERNEL_ID, SERVER, Profile, settings_of
from wstpserver.wire.values import Symbol

#: Seconds that a kernel at work is waited for, if -timeout says nothing else.
_BUSY_WAIT: Final = 7 * 24 * 3600.0


def return_to_kernel(session: Session, profile: Profile, deadline: Deadline, terminal: Terminal) -> None:
    """Bridge to the kernel of the profile; ProfileError if it is gone, or not to be had.

    A kernel that waits for the answer to a question, or in a dialog, is had at once, and asks again.
    """
    kernel = profile.get(KERNEL_ID)
    assert kernel is not None, "checked when the profile was read"
    if _is_busy(session, kernel) is None:
        raise ProfileError(f"the kernel {kernel} of the profile {profile.path} is gone; -startprofile takes a new one")
    wait = time_limit(deadline, _BUSY_WAIT)
    soon = min(wait, SOON)
    if connects(session, kernel, soon):
        return
    if wait > soon and _is_busy(session, kernel):
        terminal.error(f"wstpscript: kernel {kernel} is still at work; waiting for it")
        if connects(session, kernel, wait - soon):
            return
    raise ProfileError(f"kernel {kernel} of the profile {profile.path} is in use, or still at work")


def _is_busy(session: Session, kernel: str) -> bool | None:
    """Whether the kernel evaluates; None if it is gone."""
    try:
        return session.command("GetKernelBusyStatus", kernel) == "True"
    except CommandError as error:
        if not error.reply:
            raise
        return None


def mention_former_kernel(session: Session, profile: Profile, address: Address, terminal: Terminal) -> None:
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


def apply_properties(session: Session, profile: Profile) -> None:
    """Give the kernel the properties that the profile wants, TRUE where it says nothing."""
    for command, wanted in settings_of(profile).commands():
        try:
            session.command(command, Symbol(str(wanted)))
        except CommandError as error:
            if not error.reply:
                raise
            # a kernel outside all pools: it stays alive, and nobody else is given it
