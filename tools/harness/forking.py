"""Programs of the project as forks of a process that has loaded them: most of a program's start is importing, and a
run of the tests starts more than a thousand servers and hundreds of the other programs.

The tests ask for it (`enable`). A program that is to be measured, or whose environment says how Python starts, is
executed as usual.
"""
import atexit
import contextlib
import fcntl
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: What a server inherits from the environment of the tests.
INHERITED = ("PATH", "LANG", "TMPDIR")

#: Environment variables, by their beginnings, that are read before or while a program is loaded.
_READ_EARLY = ("PYTHON", "GEVENT", "LANG", "LC_", "LD_", "MALLOC_", "TZ")
#: Those of them that do not matter to it, or that a fork heeds.
_HEEDED = ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHON38")
#: Their values that are as good as none: Python takes UTF-8 without a language.
_NO_LANGUAGE = ("", "C", "C.UTF-8")

#: The programs that are forked, but for `-c`.
_PROGRAMS = ("wstpserver", "wstpserver.cli.script.main", "wstpserver.cli.admin.main", "wstpserver.cli.kernel")
#: The modules that are loaded: those of a running server and of the other programs, with what most load later.
_LOADED = (
    "wstpserver.cli.serve", "wstpserver.server.app", *_PROGRAMS[1:], "wstpserver.cli.script.repl",
    "wstpserver.cli.script.map", "wstpserver.cli.script.kernel_session", "encodings.idna", "encodings.utf_8_sig",
    "gevent.fileobject",
)  # fmt: skip
#: The options of `popen` that a fork heeds.
_OPTIONS = {"stdin", "stdout", "stderr", "cwd", "env", "text"}

_STATUS = struct.Struct("=i")
_LARGEST_REQUEST = 1 << 17

_enabled = False
_parents = {}


def enable():
    """Have programs forked in this process from now on."""
    global _enabled
    _enabled = True


def can_fork(environment):
    """Whether a program with this environment, the whole of it, can be forked."""
    if not _enabled or not hasattr(os, "pidfd_open"):
        return False
    if environment.get("PYTHONPATH", str(ROOT)) != str(ROOT):
        return False
    return _read_early(environment) == _read_early(_parent_environment())


def _read_early(environment):
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(_READ_EARLY) and name not in _HEEDED and value not in _NO_LANGUAGE
    }


def _parent_environment():
    return {key: os.environ[key] for key in INHERITED if key in os.environ} | {"PYTHONPATH": str(ROOT)}


def fork_server(words, environment, folder):
    """Start what `python` would with these words, which belongs to the program `wstpserver`.

    words: "-m" with a module or "-c" with a program, and the arguments. environment: the whole of it. folder: the
    working directory. Returns what can be used as a `subprocess.Popen` with one pipe for both kinds of output.
    """
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    ignored = [number for number in _INTERRUPTS if signal.getsignal(number) is signal.SIG_IGN]
    return _fork(words, environment, folder, streams, ignored=ignored, terminal=False)


def popen(command, *, heeds_interrupts=False, terminal=False, **options):
    """`subprocess.Popen` for a program of the project, which is forked where that makes no difference to it.

    command: for a fork `[sys.executable, "-m", module, ...]`. options: those of `subprocess.Popen`; all but a few have
    it executed. heeds_interrupts: Ctrl-C and Ctrl-\\ count in the program, also where the tests run in the background
    (a shell has what it starts there ignore both, and children inherit that). terminal: it leads a session, and the
    terminal on its standard input is the one that Ctrl-C comes from.
    """
    environment = dict(os.environ) if options.get("env") is None else options["env"]
    forkable = list(command[:2]) == [sys.executable, "-m"] and command[2] in _PROGRAMS and options.keys() <= _OPTIONS
    if forkable and can_fork(environment) and all(isinstance(word, str) for word in command):
        ignored = [number for number in _INTERRUPTS if signal.getsignal(number) is signal.SIG_IGN]
        return _fork(
            command[1:], environment, options.get("cwd") or os.getcwd(), options,
            ignored=[] if heeds_interrupts or terminal else ignored, terminal=terminal, text=options.get("text"),
        )  # fmt: skip

    def prepare():
        if heeds_interrupts or terminal:
            heed_interrupts()
        if terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    if heeds_interrupts or terminal:
        options = {"preexec_fn": prepare, "start_new_session": terminal, **options}
    return subprocess.Popen(command, **options)


def run(command, *, input=None, timeout=None, capture_output=False, check=False, **options):  # noqa: A002
    """`subprocess.run` with `popen`."""
    if input is not None:
        options["stdin"] = subprocess.PIPE
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with popen(command, **options) as process:
        try:
            output, errors = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(command, process.returncode, output, errors)
    if check:
        done.check_returncode()
    return done


_INTERRUPTS = (signal.SIGINT, signal.SIGQUIT)


def heed_interrupts():
    """For `preexec_fn`: Ctrl-C and Ctrl-\\ count in the child, also where the tests run in the background."""
    for number in _INTERRUPTS:
        signal.signal(number, signal.SIG_DFL)


def _fork(words, environment, folder, streams, *, ignored, terminal, text=True):
    """Have the program forked; `streams` as the options of `subprocess.Popen`, `ignored` signals."""
    parent = _parents.get(os.getpid())
    if parent is None:
        parent = _parents[os.getpid()] = _Parent()
    request = {"words": words, "environment": environment, "folder": os.fspath(folder)}
    return parent.fork({**request, "ignored": ignored, "terminal": terminal}, streams, text=text)


class _Parent:
    """The process that has loaded the programs; it ends with this one."""

    def __init__(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                # the last word is what ps shows of each program
                [sys.executable, "-m", "tools.harness.forking", str(theirs.fileno()), "wstpserver"],
                cwd=ROOT, env=_parent_environment(), pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self._control = ours
        self._lock = threading.Lock()
        atexit.register(self._end, os.getpid())

    def _end(self, owner):
        if os.getpid() == owner:
            self._control.close()
            self._process.wait(10)

    def fork(self, request, streams, *, text):
        """The ForkedProcess; `text` as for `subprocess.Popen`."""
        with contextlib.ExitStack() as failed, contextlib.ExitStack() as theirs:

            def own(descriptor, stack):
                stack.callback(os.close, descriptor)
                return descriptor

            def end(number, name):
                """(the program's descriptor, this side's or None)."""
                wanted = streams.get(name)
                if wanted is None:
                    return number, None
                if wanted == subprocess.DEVNULL:
                    return own(os.open(os.devnull, os.O_RDWR), theirs), None
                if wanted != subprocess.PIPE:
                    return (wanted if isinstance(wanted, int) else wanted.fileno()), None
                reader, writer = os.pipe()
                its, other = (writer, reader) if number else (reader, writer)
                return own(its, theirs), own(other, failed)

            given, stdin = end(0, "stdin")
            output, stdout = end(1, "stdout")
            errors, stderr = (output, None) if streams.get("stderr") == subprocess.STDOUT else end(2, "stderr")
            reader, writer = os.pipe()
            own(reader, failed)
            own(writer, theirs)
            with self._lock:
                socket.send_fds(self._control, [json.dumps(request).encode()], [given, output, errors, writer])
                pid = _STATUS.unpack(self._control.recv(_STATUS.size))[0]
            failed.pop_all()
        return ForkedProcess(request["words"], pid, reader, (stdin, stdout, stderr), text=text)


class ForkedProcess:
    """A program that was forked: what the tests use of `subprocess.Popen`."""

    def __init__(self, words, pid, status, streams, *, text):
        self.args = words
        self.pid = pid
        self.returncode = None
        self.stdin, self.stdout, self.stderr = (
            None if descriptor is None else _opened(descriptor, mode, text=text)
            for descriptor, mode in zip(streams, "wrr", strict=True)
        )
        self._status = status
        self._lock = threading.Lock()
        self._reading = {}

    def poll(self):
        """The exit code (negative: the signal that ended it), None while it runs."""
        return self._look(0)

    def wait(self, timeout=None):
        """The same at its end. Raises subprocess.TimeoutExpired."""
        if self._look(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def _look(self, timeout):
        poll = select.poll()
        with self._lock:
            if self.returncode is None:
                poll.register(self._status, select.POLLIN)
                if poll.poll(None if timeout is None else timeout * 1000):
                    data = os.read(self._status, _STATUS.size)
                    os.close(self._status)
                    # without a status, the parent was killed, and there is nobody to say how the program ended
                    self.returncode = _STATUS.unpack(data)[0] if data else -signal.SIGKILL
            return self.returncode

    def communicate(self, input=None, timeout=None):  # noqa: A002
        """(stdout, stderr) to their ends, and the end of the program. Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for stream in (self.stdout, self.stderr):
            if stream is not None and stream not in self._reading:
                self._reading[stream] = _Reading(stream)
        if self.stdin is not None and not self.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                if input:
                    self.stdin.write(input)
            with contextlib.suppress(BrokenPipeError):
                self.stdin.close()
        for reading in self._reading.values():
            reading.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if reading.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout)
        self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        for stream in self._reading:
            stream.close()
        return tuple(
            None if stream is None else self._reading[stream].content for stream in (self.stdout, self.stderr)
        )

    def send_signal(self, number):
        """Send the signal, unless the process has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for stream in (self.stdout, self.stderr, self.stdin):
            if stream is not None and not (stream in self._reading and self._reading[stream].is_alive()):
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self.wait()

    def __del__(self):
        if self.returncode is None:
            with contextlib.suppress(OSError):
                os.close(self._status)


def _opened(descriptor, mode, *, text):
    """This side's end of a pipe, as `subprocess.Popen` opens it."""
    binary = open(descriptor, mode + "b")  # noqa: SIM115 (whoever has it closes it)
    return io.TextIOWrapper(binary, "utf-8", write_through=mode == "w") if text else binary


class _Reading(threading.Thread):
    """Reads a stream to its end."""

    def __init__(self, stream):
        super().__init__(daemon=True)
        self._stream = stream
        self.content = None
        self.start()

    def run(self):
        self.content = self._stream.read()


# -- in the parent -----------------------------------------------------------------------------------------------


def _serve_requests(control):
    """Fork programs, and say when and how they end, until the other side has ended.

    Returns in each fork its request, and in this process None.
    """
    children = {}
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in children:
                poll.unregister(descriptor)
                _report(descriptor, *children.pop(descriptor))
                continue
            data, descriptors, _, _ = socket.recv_fds(control, _LARGEST_REQUEST, 4)
            if not data:
                for watched in children:  # whoever asked for them was killed
                    signal.pidfd_send_signal(watched, signal.SIGKILL)
                return None
            *streams, status = descriptors
            pid = os.fork()
            if not pid:
                control.close()
                for number in (status, *children, *(status for _, status in children.values())):
                    os.close(number)
                return json.loads(data), streams
            for number in streams:
                os.close(number)
            watched = os.pidfd_open(pid)
            children[watched] = pid, status
            poll.register(watched, select.POLLIN)
            control.send(_STATUS.pack(pid))


def _report(watched, pid, status):
    """Say how a child has ended; its number is not free for another process before that."""
    found = os.waitid(os.P_PIDFD, watched, os.WEXITED | os.WNOWAIT)
    code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
    with contextlib.suppress(BrokenPipeError):
        os.write(status, _STATUS.pack(code))
    os.close(status)
    os.waitpid(pid, 0)
    os.close(watched)


#: The exit code of a fork whose program has ended; negative: the signal that is to end it.
_code = None


def _end():
    """What a fork does last of all, when its threads have ended and all else that waits for the end has been called.

    It does not take apart what it has loaded, which would take longer than most programs run.
    """
    if _code is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        if _code < 0:
            signal.signal(-_code, signal.SIG_DFL)
            os.kill(os.getpid(), -_code)
        os._exit(_code)


def _become_program(request, streams):
    """Be the program, to its end; of the parent there is only what importing leaves."""
    global _code
    code = 1
    try:
        os.setsid()
        for number, usual in zip(_INTERRUPTS, (signal.default_int_handler, signal.SIG_DFL), strict=True):
            signal.signal(number, signal.SIG_IGN if number in request["ignored"] else usual)
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
        for descriptor in streams:
            os.close(descriptor)
        if request["terminal"]:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        os.environ.clear()
        os.environ.update(request["environment"])
        _open_streams()
        os.chdir(request["folder"])
        tempfile.tempdir = None
        code = _run(request["words"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException as error:  # noqa: BLE001 - the last place that can report it
        traceback.print_exc()
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    finally:
        _code = code


def _open_streams():
    """Open the standard streams as Python does at its start: those of the parent know what its own files are."""
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        was = getattr(sys, name)
        mode = "wb" if number else "rb"
        binary = open(number, mode, 0 if number and unbuffered else -1, closefd=False)  # noqa: SIM115
        stream = io.TextIOWrapper(
            binary, was.encoding, was.errors, newline="\n" if number else None,
            line_buffering=number == 2 or binary.isatty(), write_through=bool(number) and unbuffered,
        )  # fmt: skip
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _run(words):
    """Run what `python` would with these words; the option -m or -c is the first of them."""
    sys.orig_argv = [sys.executable, *words]
    option, program, *arguments = words
    if option == "-m":
        sys.path[0] = os.getcwd()
        sys.argv = [program, *arguments]
        sys.modules.pop(program, None)  # it has another name now
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = ""
        sys.argv = ["-c", *arguments]
        exec(program, {"__name__": "__main__"})
    return 0


def _main():
    atexit.register(_end)  # before anybody else does, so that it is called last
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    for name in _LOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection would write to what the children share with this process
    fork = _serve_requests(control)
    if fork is not None:
        _become_program(*fork)


if __name__ == "__main__":
    _main()
