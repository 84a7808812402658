"""What tests and measuring programs share: the server as a process, kernels, links, processes seen from outside.

`tests` import nothing else of `tools`, but for `tests/tools`, which test `tools.bench`; `tools` import nothing of
`tests`. The fake kernel runs from here without any installed package: this file imports nothing.
"""
