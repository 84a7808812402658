"""Compiles the C programs here, once for each state of their sources."""
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tools.harness.vendor import uses_old_names

FOLDER = Path(__file__).parent

#: Sources of each program besides the one that has its name, and options of the compiler.
PROGRAMS = {
    "kernel_host": (["kernel.c", "wire.c", "output.c", "pattern.c"], []),
    "light_kernel": (["output.c", "pattern.c"], ["-static"]),
    "load_client": (["load_link.c", "load_arguments.c", "wire.c", "output.c", "pattern.c"], []),
    "bench_client": (["wire.c", "output.c", "pattern.c"], []),
    "refused_client": ([], []),
    "no_nagle": ([], ["-shared", "-fPIC", "-ldl"]),
}
VENDOR_PROGRAMS = {
    "vendor_kernel": ["vendor_serve.c"],
    "vendor_client": [],
    "vendor_relay": ["vendor_serve.c"],
}
#: Where wstp_min.h is, which declares what the programs need of the vendor's library.
HEADERS = FOLDER.parents[1] / "harness"
FLAGS = ["-O2", "-Wall", "-Wextra", "-std=gnu11"]


class BuildError(Exception):
    """A program could not be compiled; the text says why."""


def program(name):
    """The path of the compiled program. Raises BuildError."""
    path = _cache(b"") / name
    if not path.exists():
        _compile(name, path, *PROGRAMS[name])
    return str(path)


def vendor_program(name, library):
    """The path of a program that is compiled against the vendor's library. Raises BuildError."""
    library = Path(library).resolve()
    path = _cache(bytes(library)) / name
    if not path.exists():
        options = [
            *(["-DUSE_ML"] if uses_old_names(library) else []), f"-I{HEADERS}", str(library),
            # the library needs libuuid, older ones do not say so
            f"-Wl,-rpath,{library.parent}", "-Wl,--no-as-needed", "-l:libuuid.so.1", "-lpthread",
        ]  # fmt: skip
        _compile(name, path, VENDOR_PROGRAMS[name], options)
    return str(path)


def _cache(more):
    """A folder of its own for each state of the sources, and of what else counts, in build/ of the project."""
    if shutil.which("gcc") is None:
        raise BuildError("gcc is needed to compile the clients and kernels (Debian: apt install gcc libc6-dev)")
    state = hashlib.sha256(more)
    for source in sorted(FOLDER.glob("*.[ch]")):
        state.update(source.read_bytes())
    folder = FOLDER.parents[2] / "build" / "measuring" / state.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _compile(name, path, sources, options):
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        output = os.path.join(folder, name)
        files = [str(FOLDER / source) for source in [f"{name}.c", *sources]]
        done = subprocess.run(["gcc", *FLAGS, *files, *options, "-o", output], capture_output=True, text=True)
        if done.returncode:
            raise BuildError(f"{name} could not be compiled:\n{done.stderr}")
        os.replace(output, path)  # in one step: several may compile at the same time
