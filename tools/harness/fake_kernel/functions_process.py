"""Functions about the kernel's process: its identity, its time, its death."""
import _signal as signal  # `signal` makes enumerations, which is a third of the start of a kernel
import os
import sys
import time

from tools.harness.fake_kernel.codec import Function
from tools.harness.fake_kernel.registry import NULL, function


@function("KernelProcess")
def kernel_process(session):
    """KernelProcess[]: the process id."""
    return os.getpid()


@function("KernelArguments")
def kernel_arguments(session):
    """KernelArguments[]: the command line as list of strings."""
    return Function("List", *session.options.arguments)


@function("Environment")
def environment(session, name):
    return os.environ.get(name, NULL)


@function("Directory")
def directory(session):
    return os.getcwd()


@function("ProcessGroup")
def process_group(session):
    """ProcessGroup[]: the process group of this kernel."""
    return os.getpgid(0)


@function("Sleep", "Pause")
def sleep(session, seconds):
    """Sleep[s]: nothing for s seconds; abortable."""
    session.pause(seconds)
    return NULL


@function("Spin")
def spin(session, seconds):
    """Spin[s]: use the processor for s seconds; abortable."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        session.check()
    return NULL


@function("Deaf")
def deaf(session, seconds):
    """Deaf[s]: nothing for s seconds, no message is looked at."""
    time.sleep(seconds)
    return NULL


@function("UseMemory")
def use_memory(session, size):
    """UseMemory[n]: hold n bytes of resident memory from now on, instead of those held before."""
    session.ballast = b"x" * size
    return NULL


@function("Die")
def die(session, code=1):
    """Die[code]: gone at once, without closing anything."""
    os._exit(code)


@function("DieBySignal")
def die_by_signal(session, number=signal.SIGKILL):
    signal.signal(number, signal.SIG_DFL) if number not in (signal.SIGKILL, signal.SIGSTOP) else None
    os.kill(os.getpid(), number)
    return NULL


@function("DieIn")
def die_in(session, seconds):
    """DieIn[s]: goes on, and is killed by SIGALRM s seconds later, whatever it does then."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    return NULL


@function("Quit", "Exit")
def quit_kernel(session, code=0):
    """Quit[], Exit[n]: close the link as the library does, end."""
    session.link.close(politely=True)
    os._exit(code)


@function("CloseLink")
def close_link(session):
    """CloseLink[]: the link closes, the process stays."""
    session.link.close()
    while True:
        signal.pause()


@function("WriteOutput")
def write_output(session, text):
    """WriteOutput["text"]: to stdout and stderr of the process, not to the link."""
    for stream in (sys.stdout, sys.stderr):
        print(text, file=stream, flush=True)
    return NULL


@function("FloodOutput")
def flood_output(session, size):
    """FloodOutput[n]: n bytes to stdout and to stderr of the process."""
    from tools.harness.fake_kernel.program import flood

    flood(size)
    return size
