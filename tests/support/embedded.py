"""The embedded kernel of this tree as an executable, for KernelPath."""
import sys
from pathlib import Path

import pytest

from wstpserver.embedded.main import missing_packages


def make_embedded_kernel(folder):
    """Write an executable that starts it into `folder`; returns its path. Skips the test where its packages lack."""
    if missing := missing_packages():
        pytest.skip(f"the embedded kernel's packages are not installed: {', '.join(missing)} (wstpserver[mathics])")
    path = Path(folder) / "wstpkernel"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m wstpserver.embedded.main "$@"\n')
    path.chmod(0o755)
    return path
