"""Describes the C module `wstpserver._native` to cffi; setup.py names the `ffibuilder` below.

The declarations are the parts of the headers between the two "cffi" lines, so that they are written down once. Paths
are relative to the root of the project, which is where a build backend runs.

cffi releases the interpreter lock around every call. That costs about 30 of the 200 ns that the call for one small
frame takes (tools/bench-scan), and cffi offers no choice.
"""

import os
import re

from cffi import FFI

HERE = os.path.dirname(os.path.abspath(__file__))
DECLARATIONS = re.compile(r"/\* cffi: begin \*/(.*)/\* cffi: end \*/", re.DOTALL)

#: The headers that declare what Python calls, each after those that it includes.
HEADERS = [
    "wstpscan.h",
    "wstpkeep.h",
    "wstplend.h",
    "wstpcopy.h",
    "wstpepoll.h",
    "wstpspawn.h",
    "wstppeer.h",
    "wstprelay.h",
    "wstpjoin.h",
]

SOURCES = [
    "wstpscan.c",
    "wstpkeep.c",
    "wstplend.c",
    "wstpcopy.c",
    "wstpepoll.c",
    "wstpspawn.c",
    "wstppeer.c",
    "wstprelay.c",
    "wstpjoin.c",
]

ffibuilder = FFI()


def declarations(name: str) -> str:
    """The declarations in the header cext/`name` for cffi."""
    with open(os.path.join(HERE, name), encoding="ascii") as header:
        match = DECLARATIONS.search(header.read())
    if match is None:
        raise RuntimeError(f"cext/{name} has no cffi lines")
    return match.group(1)


for header in HEADERS:
    ffibuilder.cdef(declarations(header))
ffibuilder.set_source(
    "wstpserver._native",
    "\n".join(f'#include "{header}"' for header in HEADERS),
    sources=[f"cext/{name}" for name in SOURCES],
    include_dirs=["cext"],
    depends=[f"cext/{name}" for name in [*HEADERS, "wstpsocket.h", "wstpstream.h", "build_native.py"]],
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
