"""Embedded kernels on an engine that is loaded once in a run of the tests: loading Mathics takes longer than a test.

A server starts a warm parent, which loads the engine and forks kernels. The program that `make_program` writes has a
warm parent forked of one process, the source, that has loaded the engine as it does. What the server has started waits
for that parent, ends as it ends, and takes it along when it is killed. The kernels are those of the product. Where
nothing can be forked, and without `--warm-parent`, the program is the embedded kernel as it is: an agent on another
machine turns away what is not the process that it has started. The tests of its own start use that anyway
(tests/embedded).
"""
import ctypes
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys

_STATUS = struct.Struct("=i")
_CREDENTIALS = struct.Struct("=iII")  # process, user, group (unix(7))
_LARGEST_REQUEST = 1 << 17
_PROGRAM = ["-m", "wstpserver.embedded.main"]
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def make_program(path):
    """Write the executable, with a source. `path`: a `pathlib.Path`."""
    words = [*_PROGRAM]
    if address := provide_source():
        # -S and -E: what has nothing to import but the standard library starts in a moment
        words = ["-S", "-E", os.path.abspath(__file__), address]
    path.write_text(f'#!/bin/sh\nexec {" ".join([sys.executable, *words])} "$@"\n', encoding="utf-8")
    path.chmod(0o755)


# -- in the tests ------------------------------------------------------------------------------------------------


def provide_source():
    """Start it, unless this run has one already; returns its address, an abstract name of a Unix socket.

    Returns None where nothing can be forked. The source ends with the process that has begun the run, of which all
    workers are children.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    address = f"wstpserver-tests-{os.getuid()}-{owner}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        try:
            listening.bind("\0" + address)
        except OSError:  # there is one
            return address
        listening.listen(64)  # those who ask early wait until it has loaded the engine
        descriptors = [listening.fileno(), os.pidfd_open(owner)]
        environment = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm", *map(str, descriptors)],
            cwd=_ROOT, env=environment | {"PYTHONPATH": _ROOT, "HOME": "/nonexistent"},
            pass_fds=descriptors, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        process.returncode = 0  # nobody waits for it: it may outlive this worker
        os.close(descriptors[1])
    return address


# -- in what a server starts -------------------------------------------------------------------------------------


def _be_program(address, words):
    """Have a warm parent forked and stand for it; returns its exit code, or is replaced by the program itself."""
    descriptor = int(words[1]) if words[:1] == ["--warm-parent"] else None
    try:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if descriptor is None:
            raise OSError("no warm parent")
        connection.connect("\0" + address)
        request = {"words": words, "environment": dict(os.environ), "folder": os.getcwd()}
        socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2, descriptor])
    except OSError:
        os.execv(sys.executable, [sys.executable, *_PROGRAM, *words])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # as a warm parent does
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2, descriptor):  # their other ends must see when those of the parent are closed
        os.dup2(null, number)
    told = connection.recv(_STATUS.size)
    code = os.waitstatus_to_exitcode(_STATUS.unpack(told)[0]) if told else -signal.SIGKILL
    if code < 0:
        os.kill(os.getpid(), -code)
    return code


# -- in the source -----------------------------------------------------------------------------------------------


def _be_source(listening, owner):
    """Load the engine, and fork warm parents until the owner, a pidfd, has ended."""
    from wstpserver.embedded.process import prepare_environment

    prepare_environment()  # before Mathics and NumPy are imported
    from wstpserver.embedded.engine import Engine

    engine = Engine()
    engine.load_definitions()
    request = _serve_requests(listening, owner)
    return 0 if request is None else _be_warm_parent(engine, *request)


def _serve_requests(listening, owner):
    """Fork for each request, and say how the forks end.

    Returns in each fork (request, descriptors), and in this process None when the owner has ended.
    """
    poll = select.poll()
    for descriptor in (listening.fileno(), owner):
        poll.register(descriptor, select.POLLIN)
    #: The connection of each fork, by its pidfd, and the other way round.
    connections, forks = {}, {}
    while True:
        descriptor = poll.poll()[0][0]  # one at a time: numbers of those that it closes may be used again
        if descriptor == owner:
            for fork in connections:
                signal.pidfd_send_signal(fork, signal.SIGKILL)
            return None
        if descriptor == listening.fileno():
            connection, _ = listening.accept()
            data, received, _, _ = socket.recv_fds(connection, _LARGEST_REQUEST, 4)
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            if len(received) != 4 or _CREDENTIALS.unpack(credentials)[1] != os.getuid():
                connection.close()
                continue
            pid = os.fork()
            if not pid:
                for number in (listening.fileno(), owner, *connections):
                    os.close(number)
                for other in (connection, *connections.values()):
                    other.close()
                listening.detach()
                return json.loads(data), received
            for number in received:
                os.close(number)
            fork = os.pidfd_open(pid)
            connections[fork], forks[connection.fileno()] = connection, fork
            poll.register(fork, select.POLLIN)
            poll.register(connection, 0)  # only its end is looked for
        elif descriptor in forks:  # whoever asked for it was killed
            poll.unregister(descriptor)
            signal.pidfd_send_signal(forks.pop(descriptor), signal.SIGKILL)
        elif descriptor in connections:
            poll.unregister(descriptor)
            connection = connections.pop(descriptor)
            if forks.pop(connection.fileno(), None) is not None:
                poll.unregister(connection)
            _report(descriptor, connection)


def _report(fork, connection):
    """Reap a fork that has ended, and say how."""
    pid = os.waitid(os.P_PIDFD, fork, os.WEXITED | os.WNOWAIT).si_pid
    _, status = os.waitpid(pid, 0)
    os.close(fork)
    try:
        connection.send(_STATUS.pack(status))
    except OSError:  # it was killed
        pass
    connection.close()


def _be_warm_parent(engine, request, descriptors):
    """What the program does once it has loaded the engine; returns the exit code."""
    from wstpserver.embedded import main, process

    parent = os.getppid()
    os.setsid()
    *streams, descriptor = descriptors
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    process.prepare_environment()
    os.chdir(request["folder"])
    sys.argv = [main.__file__, *request["words"]]
    server = main.open_prefork_socket(descriptor)
    ctypes.CDLL(None).prctl(process.PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    return main.serve_requests(engine, server) if os.getppid() == parent else process.EXIT_SOFTWARE


if __name__ == "__main__":
    if sys.argv[1].isdecimal():
        code = _be_source(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
    else:
        code = _be_program(sys.argv[1], sys.argv[2:])
    sys.stdout.flush()
    os._exit(code)
