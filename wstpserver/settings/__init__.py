"""Settings of the server: one table of options, a loader, kernel discovery."""

from wstpserver.settings.model import PoolSettings, ServerSettings, default_settings
from wstpserver.settings.problems import ConfigurationError, Problem

__all__ = ["ConfigurationError", "PoolSettings", "Problem", "ServerSettings", "default_settings"]
