"""The embedded kernel: Mathics3 behind a WSTP link, as the program `wstpkernel`.

`main` is the program. `engine` loads Mathics, `session` joins a loaded engine to a link and serves packets until the
link closes, `process` forks kernels from a process that has the engine loaded.
No module that `main` imports at its top imports Mathics, so that the program can name a missing package
(docs/embedded-kernel.md).
"""
