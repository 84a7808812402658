"""Run as ``python -S -E tools/harness/fake_kernel/__main__.py`` by the script that make_kernel writes."""
import gc
import os
import sys

gc.disable()  # nothing of what is imported is garbage
sys.path[0] = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3))

from tools.harness.fake_kernel.program import main  # noqa: E402  (the path above leads there)

gc.freeze()
gc.enable()
main(sys.argv[1:])
