"""Describes the C module ``wstpserver._wstpscan`` to cffi; setup.py names the ``ffibuilder`` below.

It holds the frame scanner (wstpscan), rounds of channels (wstpcopy, wstpepoll) and process start (wstpspawn). The
declarations are the parts of their headers between the two "cffi" lines, so that they are written down once. Paths are
relative to the root of the project, which is where a build backend runs.

cffi gives the interpreter lock up around every call. That costs about 30 of the 200 ns that the call for one small
frame takes (tools/bench-scan), and cffi offers no choice.
"""

import os
import re

from cffi import FFI

HERE = os.path.dirname(os.path.abspath(__file__))
DECLARATIONS = re.compile(r"/\* cffi: begin \*/(.*)/\* cffi: end \*/", re.DOTALL)

ffibuilder = FFI()


def declarations(name: str) -> str:
    with open(os.path.join(HERE, name), encoding="ascii") as header:
        match = DECLARATIONS.search(header.read())
    if match is None:
        raise RuntimeError(f"cext/{name} has lost its cffi lines")
    return match.group(1)


ffibuilder.cdef(declarations("wstpscan.h"))
ffibuilder.cdef(declarations("wstpcopy.h"))
ffibuilder.cdef(declarations("wstpepoll.h"))
ffibuilder.cdef(declarations("wstpspawn.h"))
ffibuilder.set_source(
    "wstpserver._wstpscan",
    '#include "wstpscan.h"\n#include "wstpepoll.h"\n#include "wstpspawn.h"',
    sources=[
        *(f"cext/wstpscan{part}.c" for part in ("", "_step", "_array", "_text", "_heads")),
        "cext/wstpcopy.c",
        "cext/wstpepoll.c",
        "cext/wstpspawn.c",
    ],
    include_dirs=["cext"],
    depends=[
        "cext/wstpscan.h",
        "cext/wstpscan_internal.h",
        "cext/wstpcopy.h",
        "cext/wstpepoll.h",
        "cext/wstpspawn.h",
        "cext/build_wstpscan.py",
    ],
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
