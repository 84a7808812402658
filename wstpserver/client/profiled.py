"""Sessions with the kernel of a profile."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import KernelLost
from wstpserver.client.options import Address, parse_address
from wstpserver.client.persistent import Persistent, patience_of
from wstpserver.client.profile import KERNEL_ID, POOL, SERVER, Profile, ProfileError
from wstpserver.client.profile_kernel import open_profile, record_kernel, settings_of
from wstpserver.client.way_back import Settings, come_back


@dataclass(frozen=True)
class Wish:
    """What was asked for; as the arguments of `Session.from_profile`."""

    path: str | os.PathLike[str] | None
    address: str | int | Address
    start: bool | None
    reconnect: bool | float


def session_from_profile(make: Callable[..., Persistent], wish: Wish, timeout: float | None) -> Persistent:
    """See `Session.from_profile`; `make` makes a session of what its constructor takes first."""
    deadline = Deadline(timeout)
    profile = open_profile(wish.path, continues=False)
    settings = settings_of(profile)
    server = _server(profile, wish)
    kernel = profile.get(KERNEL_ID)
    session = None
    if wish.start is not True:
        session = _continued(make, profile, server, kernel, settings, wish, deadline)
    if session is None:
        session = make(server, deadline.remaining())
        session.patience = patience_of(wish.reconnect)
        _closing_on_failure(session, lambda: session.settle_in(settings, deadline.remaining()))
    _closing_on_failure(session, lambda: record_kernel(session, profile, server))
    session.keep_kernel = True  # a new one only from now on: somebody knows how to find it
    return session


def _server(profile: Profile, wish: Wish) -> Address:
    """Where to connect to, and the pool for a new kernel."""
    given = parse_address(wish.address)
    server = given if wish.address else parse_address(profile.get(SERVER) or "")
    return Address(server.data, server.message, given.pool or profile.get(POOL))


def _continued(
    make: Callable[..., Persistent],
    profile: Profile,
    server: Address,
    kernel: str | None,
    settings: Settings,
    wish: Wish,
    deadline: Deadline,
) -> Persistent | None:
    """A session with the kernel of the profile; None if it is gone and there may be a new one. ProfileError."""
    if kernel is None:
        if wish.start is False:
            raise ProfileError(f"the profile {profile.path} names no kernel ({KERNEL_ID}=...)")
        return None
    plain = Address(server.data, server.message)
    try:
        returned = come_back(plain, kernel, settings, deadline, deadline)
    except KernelLost:
        if wish.start is False:
            raise ProfileError(f"the kernel {kernel} of the profile {profile.path} is gone") from None
        return None
    session = make(returned.link)
    session.keep_kernel = True
    patience = patience_of(wish.reconnect)
    _closing_on_failure(session, lambda: session.adopt(plain, kernel, settings, returned, patience))
    return session


def _closing_on_failure(session: Persistent, action: Callable[[], None]) -> None:
    try:
        action()
    except BaseException:
        session.close()
        raise
