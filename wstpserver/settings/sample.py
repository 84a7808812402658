"""The default configuration file: the documented sample, with the extensions as further comments.

It is written where the server finds no configuration, and is ``conf.example`` at the top of the project.
"""

from __future__ import annotations

from collections.abc import Iterable

from wstpserver.settings.option import Option
from wstpserver.settings.options import POOL_OPTIONS, ROOT_OPTIONS

#: Name of the pool that the default configuration has.
DEFAULT_POOL_NAME = "KernelPoolOne"

_KERNEL_PATHS = (
    'Only uncomment one of the "KernelPath" lines below',
    "Make sure to change the value to reflect the actual location of your Wolfram kernel binary",
    r'"KernelPath":"C:\\Program Files\\Wolfram Research\\Mathematica\\13.2\\wolfram",',
    '"KernelPath":"/usr/local/Wolfram/Mathematica/13.2/Executables/WolframKernel",',
    '"KernelPath":"/Applications/Mathematica.app/Contents/MacOS/WolframKernel",',
)

_PARALLEL_POOL = ('"ParallelKernelDefault":true,', '"ParallelKernels":true,', *_KERNEL_PATHS)


def sample_text() -> str:
    """The text of the default configuration file. All it sets is the name of one pool."""
    lines = ["{"]
    lines += _comments(4, ["Lines that begin with # are comments"])
    lines += _comments(4, _samples(ROOT_OPTIONS, extension=False))
    lines += _comments(4, ["Extensions, see docs/configuration.md"])
    lines += _comments(4, _samples(ROOT_OPTIONS, extension=True))
    lines += ['    "Pools":', "        {", f'            "{DEFAULT_POOL_NAME}":', "                {"]
    pool = [*_samples(POOL_OPTIONS, extension=False), "Extensions, see docs/configuration.md"]
    pool += _samples(POOL_OPTIONS, extension=True)
    lines += _comments(20, _without_last_comma(pool))
    lines += ["                },"]
    lines += _comments(12, ['"KernelPoolTwo":'])
    lines += _comments(16, ["{"])
    lines += _comments(20, _without_last_comma(list(_PARALLEL_POOL)))
    lines += _comments(16, ["}"])
    lines += ["        }", "}"]
    return "\n".join(lines) + "\n"


def _samples(options: Iterable[Option], extension: bool) -> list[str]:
    """Each option with its sample value, except those that have none or stand in the second pool."""
    lines: list[str] = []
    for option in options:
        if option.extension is not extension or not option.sample or option.key == "ParallelKernelDefault":
            continue
        if option.key == "KernelPath":
            lines += _KERNEL_PATHS
        else:
            lines.append(f'"{option.key}":{option.sample},')
    return lines


def _comments(indent: int, lines: list[str]) -> list[str]:
    return ["#" + " " * indent + line for line in lines]


def _without_last_comma(lines: list[str]) -> list[str]:
    return [*lines[:-1], lines[-1].removesuffix(",")]
