"""The vendor's library, which is no part of this project: WSTP_LIBRARY names it. Compiling C programs against it."""
import os
import subprocess
from pathlib import Path

#: Where wstp_min.h is, which declares what the programs use of the library.
FOLDER = Path(__file__).parent


def library_path():
    """The library that WSTP_LIBRARY names, None without one."""
    path = os.environ.get("WSTP_LIBRARY")
    return Path(path) if path and Path(path).is_file() else None


def uses_old_names(library):
    """Whether the library has the ML... names, from before they became WS...."""
    return b"\0WSInitialize\0" not in library.read_bytes()


def compile_program(source, library, folder, name=None):
    """Compile a C file which includes "wstp.h" against the library; returns the path of the program.

    "wstp.h" is wstp_min.h here. The library's folder becomes the program's rpath.
    """
    include = Path(folder) / "include"
    include.mkdir(exist_ok=True)
    (include / "wstp.h").write_text('#include "wstp_min.h"\n')
    program = Path(folder) / (name or Path(source).stem)
    library = Path(library).resolve()
    command = [
        "gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-std=gnu99",
        *(["-DUSE_ML"] if uses_old_names(library) else []),
        f"-I{include}", f"-I{FOLDER}", os.fspath(source), os.fspath(library), f"-Wl,-rpath,{library.parent}",
        # the library needs it; older ones do not say so
        "-Wl,--no-as-needed", "-l:libuuid.so.1", "-lpthread", "-o", os.fspath(program),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return program
