"""The limits of pools are tested on a server with light test kernels."""

from tests.support.serving import gate, serve  # noqa: F401
