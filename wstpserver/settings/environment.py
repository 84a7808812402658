"""The environment variables of the server. A variable that is set to nothing counts as not set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wstpserver.settings.options import ROOT_BY_KEY
from wstpserver.settings.problems import ConfigurationError, Problem

CONFIGURATION_FILE = "WSTPSERVER_CONFIGURATION_FILE"
PORT = "WSTPSERVER_PORT"
INTERFACE = "WSTPSERVER_INTERFACE"
DISABLE_ADVERTISING = "WSTPSERVER_DISABLE_ADVERTISING"

#: Each variable with what it does, for the documentation and the help text.
VARIABLES: dict[str, str] = {
    CONFIGURATION_FILE: "path of the configuration file to use, instead of the search",
    PORT: "the port to listen on",
    INTERFACE: "the interface to listen on",
    DISABLE_ADVERTISING: "if set, the server is not advertised, whatever the command line says",
}


@dataclass(frozen=True)
class Environment:
    """What the environment says; None where it says nothing."""

    configuration_file: str | None
    port: int | None
    interface: str | None
    disable_advertising: bool


def read_environment(environ: Mapping[str, str]) -> Environment:
    """The variables, checked. Raises ConfigurationError."""
    port = environ.get(PORT) or None
    try:
        return Environment(
            configuration_file=environ.get(CONFIGURATION_FILE) or None,
            port=None if port is None else parse_port(port),
            interface=environ.get(INTERFACE) or None,
            disable_advertising=bool(environ.get(DISABLE_ADVERTISING)),
        )
    except ValueError as error:
        raise ConfigurationError([Problem(None, None, None, PORT, str(error))]) from None


def parse_port(text: str) -> int:
    """A port number as the command line and the environment write it. Raises ValueError for the user."""
    option = ROOT_BY_KEY["Port"]
    if not (text.isascii() and text.isdecimal() and len(text) <= 20):
        raise ValueError(f"expected a port number from 0 to 65535, got {text[:40]!r}")
    port: int = option.convert(int(text))
    return port
