"""An open implementation of WSTPServer: pools of Wolfram Language kernels behind one WSTP endpoint."""

from __future__ import annotations

from wstpserver.version import VERSION as __version__

TYPE_CHECKING = False  # typing takes a quarter of the time in which a keeper, which needs little else, is loaded
if TYPE_CHECKING:
    from typing import Any

__all__ = ["__version__", "load_ipython_extension"]


def load_ipython_extension(shell: Any) -> None:
    """Add `%%wl` and `%wl` to IPython: what `%load_ext wstpserver` calls.

    Args:
        shell: IPython's shell.
    """
    from wstpserver.gateways.magic import load

    load(shell)
