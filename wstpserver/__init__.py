"""An open implementation of WSTPServer: pools of Wolfram Language kernels behind one WSTP endpoint."""

from wstpserver.version import VERSION as __version__

__all__ = ["__version__"]
