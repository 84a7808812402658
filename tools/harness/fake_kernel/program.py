"""A life of the test kernel: start as told, connect to the parent, serve until the link closes."""
import _signal as signal  # see functions_process
import _socket
import os
import sys
import time

import tools.harness.fake_kernel.functions_language
import tools.harness.fake_kernel.functions_link
import tools.harness.fake_kernel.functions_process  # noqa: F401 - these three fill the registry
from tools.harness.fake_kernel import joining
from tools.harness.fake_kernel.link import KernelLink
from tools.harness.fake_kernel.options import Options
from tools.harness.fake_kernel.session import Session


def main(arguments):
    options = Options(arguments)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    misbehave_before_connecting(options)
    try:
        data, message = connect(options)
        link = greet(options, data, message)
        flood(options.flood_after)
        Session(link, options).run()
    except (joining.LinkClosed, ConnectionError):
        leave(0)
    except SystemExit as end:
        leave(end.code)


def misbehave_before_connecting(options):
    """Everything that happens before the first connection."""
    if options.register:
        with open(options.register, "a", encoding="ascii") as register:
            register.write(f"{os.getpid()}\n")
    if options.ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if options.grandchild:
        start_grandchild()
    if options.start_gate:  # a FIFO: opening it waits for the test to open it too, and reading for what it writes
        with open(options.start_gate, "rb") as gate:
            gate.read(1)
    if options.start_delay:
        time.sleep(options.start_delay)
    flood(options.flood_before)
    if options.last_output:
        print(options.last_output, file=sys.stderr, flush=True)
    if options.exit_at_once:
        leave(options.exit_code or 0)
    if options.hang:
        wait_for_ever()
    if options.connect_from_child and (child := os.fork()):
        leave(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)


def start_grandchild():
    """A process that outlives its parent unless somebody ends the whole process group."""
    if os.fork() == 0:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        wait_for_ever()


def connect(options):
    if options.data is None:
        sys.exit("test kernel: no -linkname given")
    if options.uuid:
        import uuid

        return joining.connect_uuid(*options.data, str(uuid.uuid4()).upper())
    return joining.connect_classic(options.data, options.message, _connect_to)


def _connect_to(host, port):
    """`joining.connect_to` without the module `socket`, whose import takes longer than the rest of the start."""
    family, kind, protocol, _, address = _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM)[0]
    connection = _socket.socket(family, kind, protocol)
    connection.connect(address)
    connection.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    return connection


def greet(options, data, message):
    """The link after its greeting, unless the behaviour is to spoil this."""
    if options.never_greet:
        wait_for_ever()
    if options.garbage:
        data.sendall(b"GET / HTTP/1.0\r\n\r\n")
        wait_for_ever()
    _, framer = joining.greet(data, options.version or 6)
    if options.hand_over:
        hand_over(options.hand_over, data, message, framer)
    if options.garbage_after_greeting:
        data.sendall(b"\x00\x01\x02 this is no expression \xff")
        wait_for_ever()
    return KernelLink(data, message, framer, options.write_size or 0)


def hand_over(path, data, message, framer):
    """Give the link to whoever listens at `path`; wait until that side ends.

    That side sends a byte when the server has accepted the link. Until then this process keeps it open as well: the
    server looks whether both connections come from the process that it has started.
    """
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
        control.connect(path)
        facts = f"{os.getpid()} {framer.pending.hex()}"
        socket.send_fds(control, [facts.encode()], [data.fileno(), message.fileno()])
        if control.recv(1):
            data.close()
            message.close()
            control.recv(1)
    leave(0)


def flood(size):
    """`size` bytes to stdout and to stderr; a parent that does not drain them blocks this kernel."""
    line = b"x" * 99 + b"\n"
    for descriptor in (1, 2) if size else ():
        for _ in range(-(-size // len(line))):
            os.write(descriptor, line)


def wait_for_ever():
    while True:
        signal.pause()


def leave(code):
    """End without the interpreter's tidying up, which costs more than the whole run."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
