"""Ends of the measuring programs that are no failures: whoever interrupts them wants everything cleared away."""
import contextlib
import signal
import sys

#: What an interruption looks like inside the program.
INTERRUPTIONS = (KeyboardInterrupt, SystemExit)


def clear_away_on_sigterm():
    """Let SIGTERM leave every context, as Ctrl-C does, instead of ending the process at once."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


class QuietStack(contextlib.ExitStack):
    """An ExitStack whose contexts are left as after a success when the program is interrupted: no logs are shown."""

    def __exit__(self, kind, error, trace):
        if kind in INTERRUPTIONS:
            super().__exit__(None, None, None)
            return False
        return super().__exit__(kind, error, trace)
