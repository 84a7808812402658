"""Where configuration files are looked for, and the writing of the default one."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

FILE_NAME = "wstpserver.conf"
FOLDER_NAME = "WSTPServer"


def application_data_file(
    platform: str = sys.platform, environ: Mapping[str, str] = os.environ, home: Path | None = None
) -> Path | None:
    """The configuration file in the application data directory; None when the user has no home.

    ``%APPDATA%\\WSTPServer`` on Windows, ``~/Library/Application Support/WSTPServer`` on macOS, else
    ``WSTPServer`` in XDG_CONFIG_HOME (only if absolute, as its specification says) or ``~/.config``.
    """
    folder: Path | None = None
    if platform.startswith("win"):
        if environ.get("APPDATA"):
            folder = Path(environ["APPDATA"])
        elif home is not None:
            folder = home / "AppData" / "Roaming"
    elif platform == "darwin":
        folder = None if home is None else home / "Library" / "Application Support"
    else:
        configured = environ.get("XDG_CONFIG_HOME", "")
        if PurePosixPath(configured).is_absolute():
            folder = Path(configured)
        elif home is not None:
            folder = home / ".config"
    return None if folder is None else folder / FOLDER_NAME / FILE_NAME


def home_folder() -> Path | None:
    """The user's home folder, None if there is none (a service without HOME and without an account entry)."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def working_folder() -> Path:
    """The current folder, or the root when that was deleted."""
    try:
        return Path.cwd()
    except OSError:
        return Path(os.sep).absolute()


def write_new(path: Path, text: str) -> bool:
    """Write a file that does not exist yet, whole or not at all; False if something of that name is there.

    Nothing that exists is ever overwritten, also when two servers start at once. Raises OSError.
    """
    if os.path.lexists(path):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        draft.write_text(text, encoding="utf-8")
        return _link_or_copy(draft, path, text)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _link_or_copy(draft: Path, path: Path, text: str) -> bool:
    """Give the draft its name if the name is free."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    except OSError:
        # A file system without hard links: the name is still taken by one server only.
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            return False
    return True
