"""A prompt of the LineReader's, on which Ctrl-C comes at a certain moment; says INTERRUPTED when it has been heard.

prompt_program.py announced    after select() has announced a key, and before readline reads it: the program says HOLD
                               and waits there for Ctrl-C; a further one is to be heard
prompt_program.py drawn        after readline has drawn the prompt, and before it waits for a key
"""

import _thread
import ctypes
import fcntl
import readline
import signal
import struct
import sys
import termios

from wstpserver.cli.script.reader import InputHistory, LineReader

#: What readline calls each time that select() has returned, or waited for a while.
hook_variable = ctypes.c_void_p.in_dll(ctypes.pythonapi, "PyOS_InputHook")


@ctypes.CFUNCTYPE(ctypes.c_int)
def hold():
    """Wait for Ctrl-C, which takes effect on the terminal but not on this program, as soon as there is a key."""
    if struct.unpack("i", fcntl.ioctl(0, termios.FIONREAD, bytes(4)))[0]:
        hook_variable.value = None
        print("HOLD", flush=True)
        signal.sigwait([signal.SIGINT])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    return 0


def main(moment):
    if moment == "announced":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # in all threads, or another would take it
    reader = LineReader(InputHistory(None), lambda beginning: [])
    if moment == "announced":
        hook_variable.value = ctypes.cast(hold, ctypes.c_void_p).value
    else:
        # A function of C's: it leaves the note that a signal's handler is to run, and no Python code runs it here.
        readline.set_pre_input_hook(_thread.interrupt_main)
    before = termios.tcgetattr(0)
    try:
        reader.read("prompt> ")
    except KeyboardInterrupt:
        print("INTERRUPTED", "as before" if termios.tcgetattr(0) == before else "changed")


if __name__ == "__main__":
    main(*sys.argv[1:])
