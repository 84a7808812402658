"""The embedded kernel: Mathics3 behind a WSTP link, as the program ``wstpkernel``.

`main` is the program. `engine` loads Mathics, `session` joins one loaded engine to one link and serves packets until
the link closes, `warm` forks kernels from a process that has everything loaded. Nothing here imports Mathics at the top
of a module that `main` imports, so that the program can say what is missing (docs/embedded-kernel.md).
"""
