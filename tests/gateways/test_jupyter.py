"""The Jupyter kernel: what front ends ask of it, and what becomes of kernels of the pool."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from unittest import mock

import pytest

from tools.harness.waiting import wait_for

pytest.importorskip("ipykernel", reason="wstpserver[jupyter] is not installed")
# The grammars of addresses that jsonschema builds, if this is there, cost each process two seconds.
sys.modules.setdefault("rfc3987_syntax", None)
kernel_test = pytest.importorskip("jupyter_kernel_test")
numpy = pytest.importorskip("numpy")
from jupyter_client.manager import KernelManager  # noqa: E402

from tests.client.relay import Relay  # noqa: E402
from tests.gateways.conftest import ROOT  # noqa: E402
from tests.server.http.browser import Browser, start_browser  # noqa: E402
from wstpserver.gateways.jupyter import main  # noqa: E402

NAME = "wolfram-tests"
#: Seconds for what takes one at most on a computer that has nothing else to do.
TIMEOUT = 100
pytestmark = pytest.mark.timeout(300)


@contextlib.contextmanager
def folders_of_jupyter(prefix):
    """The environment of a user who has installed kernels below this folder."""
    variables = {
        "JUPYTER_PATH": str(prefix / "share" / "jupyter"), "PYTHONPATH": str(ROOT),
        "JUPYTER_RUNTIME_DIR": str(prefix / "runtime"), "IPYTHONDIR": str(prefix / "ipython"),
        "JUPYTER_CONFIG_DIR": str(prefix / "config"), "JUPYTER_DATA_DIR": str(prefix / "data"),
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def installed(served, tmp_path_factory):
    """The folder below which the kernel is installed."""
    prefix = tmp_path_factory.mktemp("prefix")
    words = ["install", "--prefix", str(prefix), "--name", NAME, "--server", served.address, "--pool", "Main"]
    assert main(words) == 0
    with folders_of_jupyter(prefix):
        yield prefix


class Notebook:
    """A front end with one kernel."""

    def __init__(self, name=NAME):
        self.manager = KernelManager(kernel_name=name)
        self.manager.start_kernel()
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=TIMEOUT)

    def begin(self, code):
        """Send an input; its message ID."""
        return self.client.execute(code, allow_stdin=True)

    def outputs(self, message, until=None):
        """What the input shows, up to its end, or to the first output of this type."""
        found = []
        while True:
            output = self.client.get_iopub_msg(timeout=TIMEOUT)
            if output["parent_header"].get("msg_id") != message:
                continue
            if output["msg_type"] == "status" and output["content"]["execution_state"] == "idle":
                return found
            if output["msg_type"] not in ("status", "execute_input"):
                found.append((output["msg_type"], output["content"]))
                if output["msg_type"] == until:
                    return found

    def run(self, code):
        """What an input shows, and the reply."""
        message = self.begin(code)
        found = self.outputs(message)
        return found, self.reply(message)

    def reply(self, message):
        while True:
            reply = self.client.get_shell_msg(timeout=TIMEOUT)
            if reply["parent_header"].get("msg_id") == message:
                return reply["content"]

    def text(self, code):
        """The text of the result."""
        found, reply = self.run(code)
        assert reply["status"] == "ok", (found, reply)
        return "".join(content["data"]["text/plain"] for kind, content in found if kind == "execute_result")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.stop_channels()
        self.manager.shutdown_kernel()
        self.manager.cleanup_resources()


@pytest.fixture(scope="module")
def notebook(installed):
    with Notebook() as notebook:
        yield notebook


def data(found):
    """The MIME bundle of the only result."""
    (bundle,) = [content["data"] for kind, content in found if kind in ("execute_result", "display_data")]
    return bundle


@pytest.fixture(scope="class")
def kernel_of_class(request, notebook):
    request.cls.km, request.cls.kc = notebook.manager, notebook.client


@pytest.mark.usefixtures("kernel_of_class")
class TestEveryCapability(kernel_test.KernelTests):
    """With the kernel of the other tests: a start of one takes longer than all of these."""

    setUpClass = tearDownClass = classmethod(lambda _: None)

    kernel_name = NAME
    language_name = "wolfram"
    file_extension = ".wl"
    code_hello_world = 'Print["hello, world"]'
    code_stderr = "1/0"
    completion_samples = [
        {"text": "StringRev", "matches": {"StringReverse"}},
        {"text": "f[PrimeN", "matches": {"PrimeNu"}},
        {"text": "1 + "},
    ]
    complete_code_samples = ["1 + 1", "f[x_] := x^2", '"a (* b"', "?Sin", ""]
    incomplete_code_samples = ["f[1, ", "1 +", "{1, 2", '"abc', "(* a"]
    invalid_code_samples = ["f[1)", "]", "{1]"]
    code_page_something = "?Sin"
    code_generate_error = "Range[5"
    code_execute_result = [
        {"code": "6*7", "result": "42"},
        {"code": "{1, 2}", "result": "{1, 2}"},
        {"code": "x^2/3", "mime": "text/latex", "result": "$\\displaystyle \\frac{x^2}{3}$"},
        {"code": "Graphics[{Disk[]}]", "mime": "image/svg+xml"},
        {"code": "Image[{{0., 1.}, {1., 0.}}]", "mime": "image/png"},
    ]
    code_display_data = [
        {"code": "Jupyter`Display[Graphics[{Disk[]}]]", "mime": "image/svg+xml"},
        {"code": "Jupyter`Display[a/b]; 1", "mime": "text/latex"},
    ]
    code_history_pattern = "6*7"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "Sin"
    code_clear_output = "Jupyter`ClearOutput[]"

    def execute_helper(self, *arguments, **options):
        """As inherited, where each output has to come within 0.1 s of the one before: a busy machine takes longer."""
        channel = self.kc.iopub_channel
        receive = channel.get_msg
        with mock.patch.object(channel, "get_msg", lambda **_: receive(timeout=TIMEOUT)):
            return super().execute_helper(*arguments, **options)


def test_several_results_of_an_input_are_shown_as_they_were(notebook):
    found, _ = notebook.run("Clear[q]; q^2\nq = 3; q")
    assert [content["data"]["text/plain"] for _, content in found] == ["q ^ 2", "3"]
    assert "q" in found[0][1]["data"]["text/latex"]
    counts = [content["execution_count"] for _, content in found]
    assert counts[1] == counts[0] + 1 and notebook.text(f"Out[{counts[1]}] + 1") == "4"


def test_print_comes_while_it_happens(notebook, tmp_path):
    gate = tmp_path / "gate"
    message = notebook.begin(f'Print["first"]; While[! FileExistsQ["{gate}"], Pause[0.02]]; Print["second"]; 1/0')
    first = notebook.outputs(message, until="stream")
    assert first == [("stream", {"name": "stdout", "text": "first\n"})]
    gate.touch()
    rest = notebook.outputs(message)
    assert rest[0] == ("stream", {"name": "stdout", "text": "second\n"})
    assert rest[1][1]["name"] == "stderr" and "\x1b[31mPower::infy" in rest[1][1]["text"]


def test_input_asks_the_user(notebook):
    message = notebook.begin('2 * Input["how many? "]')
    question = notebook.client.get_stdin_msg(timeout=TIMEOUT)
    assert question["content"]["prompt"] == "how many? "
    notebook.client.input("21")
    assert data(notebook.outputs(message))["text/plain"] == "42"


def test_an_interrupt_keeps_the_session(notebook):
    notebook.run("kept = 5")
    message = notebook.begin('Print["running"]; While[True]')
    notebook.outputs(message, until="stream")
    notebook.manager.interrupt_kernel()
    found = notebook.outputs(message)
    assert [kind for kind, _ in found] == ["error"]
    assert found[0][1]["ename"] == "$Aborted"
    assert notebook.text("kept") == "5"


def test_an_interrupt_of_a_question(notebook):
    message = notebook.begin("Input[]")
    notebook.client.get_stdin_msg(timeout=TIMEOUT)
    notebook.manager.interrupt_kernel()
    assert [kind for kind, _ in notebook.outputs(message)] == ["error"]
    assert notebook.text("1 + 1") == "2"


def test_user_expressions_and_silent_inputs(notebook):
    message = notebook.client.execute("u = 4", user_expressions={"a": "u + 1", "b": "f["})
    reply = notebook.reply(message)["user_expressions"]
    assert reply["a"]["data"]["text/plain"] == "5" and reply["b"]["status"] == "ok"
    message = notebook.client.execute("Print[1]; u = 9", silent=True)
    assert notebook.outputs(message) == []
    assert notebook.text("u") == "9"


def test_text_that_is_too_large_for_a_page(notebook):
    found, reply = notebook.run("StringRepeat[\"x\", 3000000]")
    assert reply["status"] == "ok" and data(found)["text/plain"].endswith("(2000000 more characters are not shown)")


def test_a_hundred_megabytes(notebook):
    found, reply = notebook.run('Print[StringRepeat["0123456789", 10^7]]; 3')
    assert found[0][1]["text"].endswith("(99000001 more characters are not shown)"), reply
    assert reply["status"] == "ok" and data(found[1:])["text/plain"] == "3"


def test_garbage(notebook):
    """What no front end sends, and what no front end can be sent."""
    notebook.client.shell_channel.socket.send_multipart([b"\xff\x00garbage"])
    notebook.client.shell_channel.socket.send_multipart([b"<IDS|MSG>", b"wrong signature", b"{", b"{", b"{", b"{"])
    assert notebook.text("FromCharacterCode[{55296, 65}]") == "\ufffdA"
    assert notebook.text("FromCharacterCode[Range[0, 255]]").endswith("\xff")
    found, reply = notebook.run("1 + \x00")
    assert reply["status"] == "error" and reply["ename"] == "Syntax", (found, reply)


def test_a_kernel_that_dies_is_replaced(served, notebook):
    message = notebook.begin('Print["running"]; While[True]')
    notebook.outputs(message, until="stream")
    (busy,) = [kernel for kernel in served.kernels().values() if kernel.busy]
    os.kill(busy.process, signal.SIGKILL)
    found = notebook.outputs(message)
    assert found[-1][0] == "error" and found[-1][1]["ename"] == "KernelLost", found
    assert notebook.text("1 + 1") == "2"


def test_the_way_to_the_server_and_the_end_of_a_kernel(served, installed):
    """The server is missing at first. Then the connection breaks between two inputs, and the session keeps its kernel.

    A restart has a new one, and that is closed when the process is killed.
    """
    with Relay(served.process.port) as relay:
        words = ["install", "--prefix", str(installed), "--name", "relayed", "--server", f"{relay.port}@127.0.0.1"]
        assert main(words) == 0
        relay.stop_listening()
        before = set(served.in_use())
        with Notebook("relayed") as notebook:
            found, reply = notebook.run("kept = 17")
            assert reply["status"] == "error" and "refused" in reply["evalue"] and len(found) == 1
            relay.listen_again()
            notebook.run("kept = 17")
            (first,) = set(served.in_use()) - before
            relay.break_all()
            assert notebook.text("kept + 1") == "18"
            notebook.manager.restart_kernel()
            notebook.client.wait_for_ready(timeout=TIMEOUT)
            assert notebook.text("kept") == "kept"
            wait_for(lambda: first not in served.kernels(), TIMEOUT, "the former kernel to be gone")
            (second,) = set(served.in_use()) - before
            notebook.manager.provisioner.process.kill()
            wait_for(lambda: second not in served.kernels(), TIMEOUT, "the second kernel to be closed")


def notebook_file(path, *inputs):
    """Write a notebook that has not been run yet."""
    cells = [
        {"cell_type": "code", "id": str(number), "source": code, "metadata": {}, "outputs": [], "execution_count": None}
        for number, code in enumerate(inputs)
    ]
    metadata = {"kernelspec": {"name": NAME, "display_name": "W", "language": "wolfram"}}
    path.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.mark.usefixtures("installed")
def test_jupyter_execute(tmp_path):
    NbClientApp = pytest.importorskip("nbclient.cli", reason="nbclient is not installed").NbClientApp
    path = notebook_file(tmp_path / "notebook.ipynb", "a = 6", "a * 7", "Plot[Sin[x], {x, 0, 6}]")
    NbClientApp().initialize(["--inplace", str(path)])  # what the program `jupyter execute` does
    outputs = [cell["outputs"] for cell in json.loads(path.read_text())["cells"]]
    assert outputs[1][0]["data"]["text/plain"] == ["42"]
    assert "<svg" in "".join(outputs[2][0]["data"]["image/svg+xml"])


#: JupyterLab, without the grammars (see above).
LAB = "import sys; sys.modules['rfc3987_syntax'] = None; from jupyterlab.labapp import main; sys.exit(main())"
#: Extensions of its server and of its page that no notebook needs, and that take seconds to load.
WITHOUT = ("jupyter_lsp", "jupyter_server_terminals")
WITHOUT_ON_THE_PAGE = (
    "console", "debugger", "extensionmanager", "fileeditor", "launcher", "lsp", "mermaid", "pdf", "pluginmanager",
    "running", "settingeditor", "terminal", "toc", "tooltip", "vega5", "workspaces",
)  # fmt: skip


@contextlib.contextmanager
def jupyterlab(folder, config):
    """JupyterLab with this root folder and that of its configuration: its address, with the token."""
    words = ["--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0", "--expose-app-in-browser",
             f"--ServerApp.root_dir={folder}", "--LabApp.news_url=", "--LabApp.check_for_updates_class="
             "jupyterlab.NeverCheckForUpdate"]  # fmt: skip
    for name in WITHOUT:
        words += ["--ServerApp.jpserver_extensions", f"{name}=False"]
    (config / "labconfig").mkdir(parents=True)
    disabled = {f"@jupyterlab/{name}-extension": True for name in WITHOUT_ON_THE_PAGE}
    (config / "labconfig" / "page_config.json").write_text(json.dumps({"disabledExtensions": disabled}))
    process = subprocess.Popen([sys.executable, "-c", LAB, *words], stderr=subprocess.PIPE, text=True)
    try:
        lines = (re.search(r"http://127\.0\.0\.1:\d+/lab\?token=\w+", line) for line in process.stderr)
        found = next(filter(None, lines))
        rest = threading.Thread(target=process.stderr.read)
        rest.start()
        yield found[0].split("?")
        process.terminate()
        process.wait(TIMEOUT)
        rest.join(TIMEOUT)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture
def browser(tmp_path):
    driver = start_browser("--window-size=1000,1000", f"--user-data-dir={tmp_path / 'chromium'}")
    yield Browser(driver)
    driver.quit()


#: Has the notebook run when its kernel is there.
RUN_ALL = """
const run = async (done) => {
    const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
    if (!(await kernel?.info)) return setTimeout(run, 100, done);
    window.jupyterapp.commands.execute('notebook:run-all-cells');
    done();
};
run(arguments[0]);
"""


def test_jupyterlab(served, installed, browser, tmp_path):
    """A plot is on the screen, a formula is typeset, a message is red."""
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
    before = set(served.in_use())
    (tmp_path / "root").mkdir()
    notebook_file(tmp_path / "root" / "notebook.ipynb", "Plot[Sin[x], {x, 0, 6}]", "Sqrt[x]/3", "1/0")
    with jupyterlab(tmp_path / "root", installed / "config") as (address, token):
        browser.driver.get(f"{address}/tree/notebook.ipynb?{token}")
        browser.driver.execute_async_script(RUN_ALL)

        def shown(selector, property_of="elements.length"):
            return browser.driver.execute_script(
                f"const elements = document.querySelectorAll('.jp-OutputArea-output {selector}');"
                f"return elements.length && {property_of}"
            )

        browser.wait_for(lambda: shown("img", "elements[0].naturalWidth"), "the plot")
        browser.wait_for(lambda: shown("mjx-container"), "the formula")
        red = ".ansi-red-fg"
        browser.wait_for(lambda: "Power::infy" in (shown(red, "elements[0].textContent") or ""), "a message")
        plot = browser.find(".jp-OutputArea-output img").screenshot_as_png
        if folder := os.environ.get("WSTPSERVER_TEST_SCREENSHOTS"):
            browser.driver.save_screenshot(os.path.join(folder, "jupyterlab.png"))
        browser.driver.execute_async_script(
            "window.jupyterapp.serviceManager.sessions.shutdownAll().then(arguments[0])"
        )
    assert _curve_columns(plot) > 100, "the curve goes from the left to the right"
    wait_for(lambda: set(served.in_use()) <= before, TIMEOUT, "its kernel to be gone")


def _curve_columns(png):
    """How many columns of a picture have a pixel in a colour, neither white nor grey nor black."""
    image = pytest.importorskip("PIL.Image")
    pixels = numpy.asarray(image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    return int(((pixels.max(2) - pixels.min(2)) > 40).any(0).sum())


def test_wrong_arguments(capsys):
    assert main(["install", "--server", "what is this"]) == 64
    assert main(["frobnicate"]) == 64
    assert main(["uninstall", "--name", "no-such-kernel-here"]) == 1
    assert "Traceback" not in capsys.readouterr().err
