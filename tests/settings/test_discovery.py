"""Discovery of kernels on made-up trees of the three systems."""

import os
import plistlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cases import for_all
from wstpserver.settings import discovery
from wstpserver.settings.discovery import find_embedded, find_kernel, home_folder, kernel_kind, working_folder

LINUX, MACOS, WINDOWS = "linux", "darwin", "win32"


def program(root, *places):
    """Executable files below the root, with their folders."""
    for place in places:
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)


def found(root, platform, **environ):
    """What is discovered on a made-up tree, relative to its root."""
    result = find_kernel(root, platform, environ, scripts=())
    return None if result is None else str(Path(result.path).relative_to(root))


@pytest.mark.parametrize("platform", [LINUX, MACOS, WINDOWS, "freebsd14"])
def test_an_empty_system_has_no_kernel(tmp_path, platform):
    assert found(tmp_path, platform) is None


@pytest.mark.parametrize(
    ("platform", "place"),
    [
        # The three places in the documentation's examples.
        (LINUX, "usr/local/Wolfram/Mathematica/12.2/Executables/WolframKernel"),
        (MACOS, "Applications/Mathematica.app/Contents/MacOS/WolframKernel"),
        (WINDOWS, "Program Files/Wolfram Research/Mathematica/12.2/wolfram.exe"),
        (LINUX, "usr/local/Wolfram/Wolfram/14.1/Executables/WolframKernel"),
        (LINUX, "usr/local/Wolfram/WolframDesktop/12.0/Executables/WolframKernel"),
        (LINUX, "usr/local/Wolfram/WolframEngine/13.1/Executables/WolframKernel"),
        (LINUX, "usr/local/Wolfram/Mathematica/8.0/Executables/MathKernel"),
        (LINUX, "opt/Wolfram/WolframEngine/13.0/Executables/wolfram"),
        (LINUX, "opt/Mathematica/Executables/WolframKernel"),
        (LINUX, "opt/mathematica/13.2/Executables/WolframKernel"),
        (LINUX, "opt/WolframEngine/13.2/Executables/WolframKernel"),
        (LINUX, "home/me/.Wolfram/Mathematica/13.3/Executables/WolframKernel"),
        ("freebsd14", "usr/local/Wolfram/Mathematica/12.2/Executables/WolframKernel"),
        (MACOS, "Applications/Wolfram.app/Contents/MacOS/WolframKernel"),
        (MACOS, "Applications/Wolfram Desktop.app/Contents/MacOS/WolframKernel"),
        (MACOS, "Applications/Mathematica 10.4.app/Contents/MacOS/MathKernel"),
        (MACOS, "Applications/Science/Mathematica.app/Contents/MacOS/WolframKernel"),
        (MACOS, "home/me/Applications/Mathematica.app/Contents/MacOS/WolframKernel"),
        (MACOS, "Applications/Wolfram Engine.app/Contents/Resources/Wolfram Player.app/Contents/MacOS/WolframKernel"),
        (WINDOWS, "Program Files/Wolfram Research/Wolfram/14.1/WolframKernel.exe"),
        (WINDOWS, "Program Files/Wolfram Research/Wolfram Engine/13.0/wolfram.exe"),
        (WINDOWS, "Program Files (x86)/Wolfram Research/Mathematica/9.0/MathKernel.exe"),
    ],
)
def test_where_products_are_installed(tmp_path, platform, place):
    program(tmp_path, place)
    assert found(tmp_path, platform, HOME="/home/me", USERPROFILE=r"C:\Users\me") == place


@pytest.mark.parametrize(
    ("platform", "places"),
    [
        (LINUX, [f"usr/local/Wolfram/{name}/Executables/WolframKernel" for name in
                 ("WolframEngine/14.1", "Mathematica/14.0", "Mathematica/13.10", "Mathematica/13.9.1")]),
        (WINDOWS, [f"Program Files/Wolfram Research/{name}/wolfram.exe" for name in
                   ("Wolfram Engine/14.1", "Mathematica/13.10", "Mathematica/9.0.1", "Mathematica/9.0")]),
        (LINUX, ["opt/Wolfram/Mathematica/14.0/Executables/wolfram",
                 "usr/local/Wolfram/Mathematica/13.0/Executables/WolframKernel",
                 "opt/Mathematica/Executables/WolframKernel"]),
    ],
)  # fmt: skip
def test_the_newest_version_comes_first(tmp_path, platform, places):
    for number, newest in enumerate(places):
        root = tmp_path / str(number)
        program(root, *reversed(places[number:]))
        assert found(root, platform) == newest


def test_among_equal_versions_the_larger_product_comes_first(tmp_path):
    products = ["Mathematica", "Wolfram", "WolframDesktop", "WolframEngine", "Another"]
    for number, product in enumerate(products):
        root = tmp_path / product
        program(root, *(f"usr/local/Wolfram/{p}/14.0/Executables/WolframKernel" for p in reversed(products[number:])))
        assert found(root, LINUX) == f"usr/local/Wolfram/{product}/14.0/Executables/WolframKernel"


def test_an_application_says_its_version_itself(tmp_path):
    for name, version in {"Mathematica": "13.0.1", "Wolfram Desktop": "14.1.0", "Mathematica 12.1": None}.items():
        app = tmp_path / "Applications" / f"{name}.app"
        program(app, "Contents/MacOS/WolframKernel")
        if version:
            (app / "Contents" / "Info.plist").write_bytes(plistlib.dumps({"CFBundleShortVersionString": version}))
    assert found(tmp_path, MACOS) == "Applications/Wolfram Desktop.app/Contents/MacOS/WolframKernel"
    (tmp_path / "Applications/Wolfram Desktop.app/Contents/Info.plist").write_bytes(b"\0 no property list")
    assert found(tmp_path, MACOS) == "Applications/Mathematica.app/Contents/MacOS/WolframKernel"
    (tmp_path / "Applications/Mathematica.app/Contents/Info.plist").unlink()
    assert found(tmp_path, MACOS) == "Applications/Mathematica 12.1.app/Contents/MacOS/WolframKernel"


def test_a_version_file_says_more_than_the_name_of_the_folder(tmp_path):
    program(tmp_path, *(f"opt/{name}/Executables/WolframKernel" for name in ("Mathematica", "Mathematica-13.0")))
    (tmp_path / "opt" / "Mathematica" / ".VersionID").write_text("14.2.0\n")
    assert found(tmp_path, LINUX) == "opt/Mathematica/Executables/WolframKernel"


def test_the_best_program_of_an_installation_is_taken(tmp_path):
    base = "usr/local/Wolfram/Mathematica/13.2/Executables"
    program(tmp_path, f"{base}/MathKernel", f"{base}/wolfram")
    assert found(tmp_path, LINUX) == f"{base}/wolfram"
    program(tmp_path, f"{base}/WolframKernel")
    assert found(tmp_path, LINUX) == f"{base}/WolframKernel"


@pytest.mark.parametrize(
    ("platform", "place"),
    [
        (LINUX, "usr/local/Wolfram/WolframPlayer/13.2/Executables/WolframKernel"),
        (LINUX, "opt/Wolfram/WolframScript/1.9/Executables/wolfram"),
        (MACOS, "Applications/Wolfram Player.app/Contents/MacOS/WolframKernel"),
        (MACOS, "Applications/Other.app/Contents/MacOS/Other"),
        (WINDOWS, "Program Files/Wolfram Research/Wolfram Player/13.2/WolframKernel.exe"),
        (LINUX, "usr/local/Wolfram/Mathematica/13.2/SystemFiles/WolframKernel"),
    ],
)
def test_what_is_not_taken_for_a_kernel(tmp_path, platform, place):
    program(tmp_path, place)
    assert found(tmp_path, platform) is None


def test_what_cannot_be_executed_is_no_kernel(tmp_path):
    places = [f"usr/local/Wolfram/Mathematica/{v}/Executables/WolframKernel" for v in ("14.0", "13.0", "12.0")]
    program(tmp_path, places[0], places[2])
    (tmp_path / places[0]).chmod(0o644)
    (tmp_path / places[1]).mkdir(parents=True)
    assert found(tmp_path, LINUX) == places[2]


def test_path_comes_before_the_installation_folders(tmp_path):
    program(tmp_path, "usr/local/Wolfram/Mathematica/14.0/Executables/WolframKernel", "usr/bin/wolfram")
    result = find_kernel(tmp_path, LINUX, {"PATH": "/bin:/usr/bin"}, scripts=())
    assert result.path == str(tmp_path / "usr/bin/wolfram")
    assert (result.kind, result.where) == ("wolfram", "found on PATH")


@pytest.mark.parametrize(
    ("platform", "path", "places"),
    [
        (LINUX, "/a::/b", ["b/WolframKernel", "a/wolfram", "b/wolfram", "b/MathKernel"]),
        (MACOS, "/a:/b", ["a/WolframKernel", "b/WolframKernel", "b/wolfram"]),
        (WINDOWS, r"C:\a;;D:\b", ["a/wolfram.exe", "b/WolframKernel.exe", "a/MathKernel.exe"]),
    ],
)
def test_order_on_path(tmp_path, platform, path, places):
    for number, best in enumerate(places):
        root = tmp_path / str(number)
        program(root, *places[number:])
        assert found(root, platform, PATH=path) == best


def test_a_loop_of_links_is_no_trouble(tmp_path):
    folder = tmp_path / "usr/local/Wolfram"
    folder.mkdir(parents=True)
    (folder / "Mathematica").symlink_to(folder / "Mathematica")
    (folder / "Self").symlink_to(folder)
    program(tmp_path, "usr/local/Wolfram/WolframEngine/13.0/Executables/WolframKernel")
    assert found(tmp_path, LINUX).endswith("WolframEngine/13.0/Executables/WolframKernel")


# The embedded kernel


@pytest.fixture
def embedded_installed(monkeypatch):
    monkeypatch.setattr(discovery, "EMBEDDED_DISTRIBUTION", "pytest")


def test_the_embedded_kernel_comes_last(tmp_path, embedded_installed):
    scripts = tmp_path / "scripts"
    program(scripts, "wstpkernel")
    result = find_kernel(tmp_path, LINUX, {}, [tmp_path / "nothing", scripts])
    assert (result.path, result.kind) == (str(scripts / "wstpkernel"), "embedded")
    program(tmp_path, "usr/local/Wolfram/Mathematica/9.0/Executables/math")
    assert find_kernel(tmp_path, LINUX, {}, [scripts]).kind == "embedded"
    program(tmp_path, "usr/local/Wolfram/Mathematica/9.0/Executables/MathKernel")
    assert find_kernel(tmp_path, LINUX, {}, [scripts]).kind == "wolfram"


def test_the_embedded_kernel_needs_its_program_and_its_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(discovery, "EMBEDDED_DISTRIBUTION", "no-such-distribution-is-installed")
    program(tmp_path, "wstpkernel")
    assert find_embedded(LINUX, [tmp_path]) is None
    monkeypatch.setattr(discovery, "EMBEDDED_DISTRIBUTION", "pytest")
    assert find_embedded(LINUX, [tmp_path]) is not None
    assert find_embedded(WINDOWS, [tmp_path]) is None
    assert find_embedded(LINUX, [tmp_path / "other"]) is None


def test_looking_for_it_imports_none_of_its_packages():
    code = "import sys; from wstpserver.settings.discovery import find_kernel; find_kernel(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert not {"mathics", "sympy", "numpy", "gevent"} & set(modules)


@for_all(
    ("path", "kind"),
    [
        ("/venv/bin/wstpkernel", "embedded"),
        ("wstpkernel", "embedded"),
        (r"C:\venv\Scripts\wstpkernel.exe", "embedded"),
        ("/usr/local/Wolfram/Mathematica/13.2/Executables/WolframKernel", "wolfram"),
        ("/home/me/wstpkernel/run", "wolfram"),
    ],
)
def test_kind_of_a_path(path, kind):
    assert kernel_kind(path) == kind


# The command


def run(arguments, tmp_path, with_kernel):
    folder = tmp_path / "bin"
    folder.mkdir()
    if with_kernel:
        program(folder, "WolframKernel")
    environ = {**os.environ, "PATH": str(folder), "HOME": str(tmp_path)}
    return subprocess.run(
        [sys.executable, "-m", "wstpserver.settings.discovery", *arguments],
        env=environ, capture_output=True, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [[], ["--any"]])
def test_the_command_prints_what_it_finds(tmp_path, arguments):
    done = run(arguments, tmp_path, with_kernel=True)
    assert done.stdout == f"{tmp_path / 'bin' / 'WolframKernel'} (wolfram, found on PATH)\n"
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_fails_without_a_wolfram_kernel(tmp_path):
    if find_kernel(environ={}, scripts=()):
        pytest.skip("this machine has a Wolfram kernel")
    embedded = find_embedded() is not None
    done = run([], tmp_path, with_kernel=False)
    assert done.returncode == 1
    assert done.stdout.endswith("(embedded, the embedded kernel)\n") if embedded else "no kernel" in done.stderr
    assert run(["--any"], tmp_path / "bin", with_kernel=False).returncode == (0 if embedded else 1)


def test_the_command_refuses_other_words(tmp_path):
    assert run(["--help"], tmp_path, with_kernel=False).returncode == 64


def test_a_working_folder_that_was_deleted(tmp_path, monkeypatch):
    assert working_folder() == Path.cwd()
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert working_folder() == Path("/")


def test_a_user_without_a_home(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert home_folder() == Path("/somewhere")

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert home_folder() is None
