"""Settings of the server: one schema of options (`schema`), a loader (`loader`), kernel discovery (`discovery`)."""

from wstpserver.settings.jsonc import ConfigurationError, Problem
from wstpserver.settings.model import PoolSettings, ServerSettings

__all__ = ["ConfigurationError", "PoolSettings", "Problem", "ServerSettings"]
