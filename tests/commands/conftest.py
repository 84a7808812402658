"""The tests of the command language use a server with light test kernels."""

from tests.support.serving import gate, serve  # noqa: F401
