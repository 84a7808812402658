"""Run as ``python -S -E tests/support/testkernel/__main__.py`` by the script that make_kernel writes."""
import os
import sys

sys.path[0] = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3))

from tests.support.testkernel.program import main  # noqa: E402  (the path above leads there)

main(sys.argv[1:])
