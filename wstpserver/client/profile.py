"""Profiles: small text files in which a program records which kernel it used, to reconnect to it later.

wstpscript and `Session.from_profile` read and write the same ones.

    # comments and lines that are not understood stay as they are
    KEEPALIVE=TRUE # a comment may follow
    RESERVE=TRUE
    KERNELID=a806-2645-9651
    SERVER=31415@localhost
    POOL=Main

A value that holds ``#``, quotes, line ends or outer blanks is written as a JSON string.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from wstpserver.client.address import Address, parse_address
from wstpserver.client.base_session import BaseSession
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import CommandError, KernelLost, ProfileError
from wstpserver.client.reconnect import KernelSettings, restore

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

KEEP_ALIVE: Final = "KEEPALIVE"
RESERVE: Final = "RESERVE"
KERNEL_ID: Final = "KERNELID"
SERVER: Final = "SERVER"
POOL: Final = "POOL"

_FILE_NAME: Final = "wstpscript.profile"
_NEW: Final = "# The kernel that was used last; wstpscript -continueprofile goes back to it.\n"
_LINE = re.compile(
    r"(?P<before>\s*(?P<name>\w+)\s*=\s*)"
    r'(?P<value>"(?:[^"\\]|\\.)*"|[^#\n]*?)'
    r"(?P<after>\s*(?:\#.*)?)$"
)
_TRUTH: Final = {"TRUE": True, "FALSE": False}


class Profile:
    """The lines of the profile at `path`."""

    def __init__(self, path: Path, text: str = _NEW) -> None:
        self.path = path
        self._lines = text.splitlines()

    def get(self, name: str) -> str | None:
        """The value of `name`, None if there is none or an empty one. The last of several counts."""
        position = self._find(name)
        if position is None:
            return None
        match = _LINE.match(self._lines[position])
        value = match["value"] if match else ""
        if not value.startswith('"'):
            return value or None
        try:
            import json  # which takes a while, and few values need it

            return str(json.loads(value)) or None
        except ValueError:
            raise ProfileError(f"{self.path}, line {position + 1}: {value} is no string") from None

    def truth(self, name: str) -> bool | None:
        """TRUE or FALSE; None where there is neither. ProfileError for anything else."""
        value = self.get(name)
        if value is None:
            return None
        if value.upper() not in _TRUTH:
            position = self._find(name)
            assert position is not None
            raise ProfileError(f"{self.path}, line {position + 1}: {name} is TRUE or FALSE, not {value!r}")
        return _TRUTH[value.upper()]

    def set(self, name: str, value: str | None) -> None:
        """Put `value` in the place of the former one, its comment stays; None for an empty one."""
        written = "" if value is None else _quoted(value)
        position = self._find(name)
        if position is None:
            if value is not None:
                self._lines.append(f"{name}={written}")
            return
        match = _LINE.match(self._lines[position])
        assert match is not None, "found by this pattern"
        self._lines[position] = match["before"] + written + match["after"]

    def _find(self, name: str) -> int | None:
        for position in reversed(range(len(self._lines))):
            match = _LINE.match(self._lines[position])
            if match and match["name"].upper() == name:
                return position
        return None

    @property
    def text(self) -> str:
        """What the file is to hold."""
        return "".join(line + "\n" for line in self._lines)

    def save(self) -> None:
        """Write it, whole or not at all, readable by its owner only. A link is followed. ProfileError."""
        from pathlib import Path  # which takes a while, and is for those who have a profile

        target = Path(os.path.realpath(self.path))
        draft = target.with_name(f".{target.name}.{os.urandom(8).hex()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                _write_private(draft, self.text)
                os.replace(draft, target)
            finally:
                draft.unlink(missing_ok=True)
        except OSError as error:
            raise ProfileError(f"cannot write the profile {self.path}: {error.strerror}") from None


def load_profile(path: Path) -> Profile | None:
    """The profile in this file, None if there is no such file. ProfileError."""
    try:
        return Profile(path, path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProfileError(f"cannot read the profile {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ProfileError(f"{path} is no profile: it is not UTF-8 text") from None


def user_file(name: str) -> Path | None:
    """A file of this name in the user's configuration folder of WSTPServer; None for a user without a home."""
    # Here: the settings take time to import, and most sessions have no profile.
    from wstpserver.settings.discovery import application_data_file, home_folder

    configuration = application_data_file(home=home_folder())
    return None if configuration is None else configuration.with_name(name)


def default_profile_path() -> Path:
    """Where the profile without a name is. ProfileError for a user without a home."""
    path = user_file(_FILE_NAME)
    if path is None:
        raise ProfileError("there is no home folder for the default profile: name a file")
    return path


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def _quoted(value: str) -> str:
    plain = value and value == value.strip() and not re.search(r'[#"\x00-\x1f\x7f-\x9f\u2028\u2029]', value)
    if plain:
        return value
    import json

    return json.dumps(value)


def open_profile(path: str | os.PathLike[str] | None, *, continues: bool) -> Profile:
    """Read a profile, and check its settings before anything is done with it.

    Args:
        path: The file; None for the default profile.
        continues: Whether the file must be there.

    Returns:
        The profile.

    Raises:
        ProfileError: It cannot be read or understood, or is not there where it must be.
    """
    from pathlib import Path  # which takes a while, and is for those who have a profile

    where = default_profile_path() if path is None else Path(path)
    profile = load_profile(where)
    if profile is None:
        if continues:
            raise ProfileError(f"there is no profile {where}; -startprofile creates one")
        return Profile(where)
    settings_of(profile)
    return profile


def settings_of(profile: Profile) -> KernelSettings:
    """Return what the server is to do with the profile's kernel: TRUE where the profile says nothing.

    Raises:
        ProfileError: A setting is neither TRUE nor FALSE.
    """
    return KernelSettings(
        keep_alive=profile.truth(KEEP_ALIVE) is not False, reserve=profile.truth(RESERVE) is not False
    )


def record_kernel(session: BaseSession, profile: Profile, server: Address | None = None) -> None:
    """Write a session's kernel, its pool, its settings and its server into a profile.

    Args:
        session: The session.
        profile: The profile.
        server: Where the server is; None to leave the profile's as it was.

    Raises:
        ProfileError: The profile cannot be written.
        CommandError: There is no kernel.
    """
    for name in (KEEP_ALIVE, RESERVE):
        if profile.truth(name) is None:
            profile.set(name, "TRUE")
    profile.set(KERNEL_ID, str(session.command("GetKernelID")))
    if server is not None:
        profile.set(SERVER, str(server))
    try:
        profile.set(POOL, str(session.command("GetPoolName")))
    except CommandError:
        profile.set(POOL, None)  # it belongs to none
    profile.save()


class ProfileRequest(NamedTuple):
    """What was asked for; see the arguments of `Session.from_profile`. `reconnect`: seconds, None for not at all."""

    path: str | os.PathLike[str] | None
    address: str | int | Address
    start: bool | None
    reconnect: float | None
    token: str | None = None
    tls: ssl.SSLContext | None = None


def session_from_profile(
    make: Callable[..., BaseSession], request: ProfileRequest, timeout: float | None
) -> BaseSession:
    """Open the session that `Session.from_profile` returns.

    Args:
        make: Makes a session of the first two arguments of its constructor.
        request: What was asked for.
        timeout: Seconds until the kernel is there; None for no limit.

    Returns:
        The session.

    Raises:
        ProfileError: As `Session.from_profile`.
    """
    deadline = Deadline(timeout)
    profile = open_profile(request.path, continues=False)
    settings = settings_of(profile)
    server = _server(profile, request)
    session = None if request.start is True else _continued(make, profile, server, request, deadline)
    if session is None:
        session = make(server, deadline.remaining())
        session.retry_for = request.reconnect
        _closing_on_failure(session, lambda: session.settle(settings, deadline.remaining()))
    _closing_on_failure(session, lambda: record_kernel(session, profile, server))
    session.keep_kernel = True  # a new one only from now on: the profile names it
    return session


def _server(profile: Profile, request: ProfileRequest) -> Address:
    """Where to connect to, and the pool for a new kernel."""
    given = parse_address(request.address)
    server = given if request.address else parse_address(profile.get(SERVER) or "")
    return server._replace(pool=given.pool or profile.get(POOL)).with_access(request.token, request.tls)


def _continued(
    make: Callable[..., BaseSession], profile: Profile, server: Address, request: ProfileRequest, deadline: Deadline
) -> BaseSession | None:
    """A session with the kernel of the profile; None if it is gone and there may be a new one. ProfileError."""
    kernel = profile.get(KERNEL_ID)
    if kernel is None:
        if request.start is False:
            raise ProfileError(f"the profile {profile.path} names no kernel ({KERNEL_ID}=...)")
        return None
    plain = server.server
    settings = settings_of(profile)
    try:
        restored = restore(plain, kernel, settings, deadline, deadline)
    except KernelLost:
        if request.start is False:
            raise ProfileError(f"the kernel {kernel} of the profile {profile.path} is gone") from None
        return None
    session = make(restored.link)
    session.keep_kernel = True
    _closing_on_failure(session, lambda: session.continue_with(plain, kernel, settings, restored, request.reconnect))
    return session


def _closing_on_failure(session: BaseSession, action: Callable[[], None]) -> None:
    try:
        action()
    except BaseException:
        session.close()
        raise
