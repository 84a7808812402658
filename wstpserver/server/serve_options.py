"""What the command line and the environment ask of one run of the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wstpserver.server.log import Log, LogLevel
from wstpserver.settings.loader import LoadedSettings


@dataclass(frozen=True)
class ServeOptions:
    """The options, checked, with what the environment and the configuration say already taken in.

    ``interface`` "" is all interfaces. ``log_file`` None is stdout; ``log`` is open on it
    and closed by the caller. ``advertise`` None is not to advertise,
    "" is to advertise without a service name. ``configuration_file`` is the file in use, None if there is
    none; ``loaded`` is what came from it (``reload_settings(loaded)`` loads it anew). ``origins`` says where
    each field's value is from, by its name.
    """

    port: int
    interface: str
    log_level: LogLevel
    log_file: str | None
    log: Log
    advertise: str | None
    configuration_file: Path | None
    loaded: LoadedSettings
    origins: Mapping[str, str]
