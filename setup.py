"""Build script: everything declarative is in pyproject.toml, the C module is named here."""
from setuptools import setup

setup(cffi_modules=["cext/build_native.py:ffibuilder"])
