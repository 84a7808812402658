"""Profiles: small text files in which a program keeps which kernel it used, so that one can come back to it.

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

import json
import os
import re
import secrets
from pathlib import Path
from typing import Final

from wstpserver.settings.discovery import application_data_file, home_folder
from wstpserver.wire.errors import WSTPError

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


class ProfileError(WSTPError):
    """A profile that cannot be read, written or understood; the text names it and says why."""


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
        target = Path(os.path.realpath(self.path))
        draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
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
    return value if plain else json.dumps(value)
