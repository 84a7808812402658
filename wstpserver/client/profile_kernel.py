"""What a profile says about a kernel: one way of reading and of writing it, for sessions and for wstpscript."""

from __future__ import annotations

import os
from pathlib import Path

from wstpserver.client.conversation import Conversation
from wstpserver.client.errors import CommandError
from wstpserver.client.options import Address
from wstpserver.client.profile import (
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
from wstpserver.client.way_back import Settings


def open_profile(path: str | os.PathLike[str] | None, *, continues: bool) -> Profile:
    """The profile in this file (None: the default one), its settings understood before anything is done with it.

    `continues`: whether it must name a kernel; else a file that is not there yet is no error. ProfileError.
    """
    where = default_profile_path() if path is None else Path(path)
    profile = load_profile(where)
    if profile is None:
        if continues:
            raise ProfileError(f"there is no profile {where}; -startprofile begins one")
        return Profile(where)
    settings_of(profile)
    if continues and profile.get(KERNEL_ID) is None:
        raise ProfileError(f"the profile {where} names no kernel ({KERNEL_ID}=...); -startprofile takes one")
    return profile


def settings_of(profile: Profile) -> Settings:
    """What the server is to do with the kernel, TRUE where the profile says nothing. ProfileError."""
    return Settings(profile.truth(KEEP_ALIVE) is not False, profile.truth(RESERVE) is not False)


def record_kernel(session: Conversation, profile: Profile, server: Address | None = None) -> None:
    """Write the session's kernel, its pool, its settings, and where it is (None: as it was) into the profile.

    ProfileError; CommandError where there is no kernel.
    """
    for name in (KEEP_ALIVE, RESERVE):
        if profile.truth(name) is None:
            profile.set(name, "TRUE")
    profile.set(KERNEL_ID, str(session.command("GetKernelID")))
    if server is not None:
        profile.set(SERVER, str(Address(server.data, server.message)))
    try:
        profile.set(POOL, str(session.command("GetPoolName")))
    except CommandError:
        profile.set(POOL, None)  # it belongs to none
    profile.save()
