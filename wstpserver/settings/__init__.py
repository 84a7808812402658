"""Settings of the server: one table of options, a loader (``loader``), kernel discovery (``discovery``)."""

from wstpserver.settings.model import PoolSettings, ServerSettings, default_settings
from wstpserver.settings.problems import ConfigurationError, Problem

__all__ = ["ConfigurationError", "PoolSettings", "Problem", "ServerSettings", "default_settings"]
