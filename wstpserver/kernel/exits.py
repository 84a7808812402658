"""Exit codes of ``wstpkernel`` (the names are those of sysexits.h)."""

from __future__ import annotations

#: The session ended: the link closed, or ``Quit[]``.
EXIT_OK = 0
#: The command line is not one of a kernel.
EXIT_USAGE = 64
#: A package the kernel needs is not installed, or the link could not be opened.
EXIT_UNAVAILABLE = 69
#: The kernel itself failed.
EXIT_SOFTWARE = 70
#: The peer sent something that is not WSTP.
EXIT_PROTOCOL = 76
