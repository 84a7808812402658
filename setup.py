"""Build script: everything declarative is in pyproject.toml, the C module and the tag of its wheel are named here."""

import platform
import sysconfig

from setuptools import setup

#: cffi writes C of Python's stable interface, so that one wheel is for every CPython from the oldest on that the
#: project supports. Python without the global lock has no such interface.
STABLE_SINCE = "cp310"

is_stable = platform.python_implementation() == "CPython" and not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    cffi_modules=["cext/build_native.py:ffibuilder"],
    options={"bdist_wheel": {"py_limited_api": STABLE_SINCE}} if is_stable else {},
)
