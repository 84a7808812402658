"""Ctrl-C for the programs that tests start."""

from __future__ import annotations

import signal


def heed_interrupts():
    """For `preexec_fn`: Ctrl-C and Ctrl-\\ count in the child, also where the tests run in the background.

    A shell has what it starts there ignore both, and children inherit that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
