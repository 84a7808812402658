"""The image that `Containerfile` describes: built and run where there is buildah and an image to begin with.

WSTPSERVER_PYTHON_IMAGE names that image as buildah knows it, such as `docker.io/library/python:3.12-slim`, or
`oci-archive:FILE`. Everything is kept in a temporary folder, and nothing needs more than a chroot.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.harness.waiting import wait_for
from wstpserver.client import Session

ROOT = Path(__file__).parents[2]
CONTAINERFILE = (ROOT / "Containerfile").read_text()
IMAGE = os.environ.get("WSTPSERVER_PYTHON_IMAGE")
DEADLINE = 600


def test_everything_that_the_wheel_is_built_of_is_copied():
    copied = re.search(r"^COPY (pyproject.*) /source/$", CONTAINERFILE, re.MULTILINE)[1].split()
    assert all((ROOT / name).is_file() for name in copied)
    mentioned = re.findall(r'^(?:readme = "(.*)"|license-files = .*)$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert {"setup.py", "LICENSE", *mentioned} <= set(copied)
    assert {"cext", "wstpserver"} == set(re.findall(r"^COPY (\w+) /source/\w+$", CONTAINERFILE, re.MULTILINE))


@pytest.mark.skipif(shutil.which("buildah") is None, reason="there is no buildah")
@pytest.mark.skipif(IMAGE is None, reason="WSTPSERVER_PYTHON_IMAGE names no image")
@pytest.mark.timeout(2 * DEADLINE)
def test_the_image(tmp_path):
    environment = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
    command = ["buildah", "--root", str(tmp_path / "root"), "--runroot", str(tmp_path / "run")]

    def buildah(*words):
        return subprocess.run(
            [*command, *words], env=environment, cwd=ROOT, check=True, timeout=DEADLINE, stdout=subprocess.PIPE,
            text=True,
        ).stdout.strip()  # fmt: skip

    buildah("bud", "--format", "docker", "--build-arg", f"PYTHON_IMAGE={IMAGE}", "--tag", "wstpserver", ".")
    container = buildah("from", "--pull-never", "localhost/wstpserver")
    log = tmp_path / "log"
    with log.open("w") as file:
        running = subprocess.Popen(
            [*command, "run", container, "--", "wstpserver", "--port", "0", "--interface", "localhost"],
            env=environment, stdout=file, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(lambda: re.search(r"on port (\d+)", log.read_text()), DEADLINE)
        port = re.search(r"on port (\d+)", log.read_text())[1]
        healthy = ("env", f"WSTPSERVER={port}", "wstpserver-admin", "wait", "--timeout", "200")
        buildah("run", container, "--", *healthy)
        with Session(f"{port}@127.0.0.1", DEADLINE) as session:
            assert session.evaluate("{6*7, $UserName}", DEADLINE) == [42, "wstpserver"]
    finally:
        os.killpg(running.pid, 15)
        assert running.wait(DEADLINE) is not None
        buildah("rm", container)
        buildah("rmi", "--all", "--force")
