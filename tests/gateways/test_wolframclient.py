"""The vendor's Python client, as it is on PyPI, with `wstpserver-kernel` as its kernel."""

import asyncio
import concurrent.futures
import json
import logging
import os
import signal
import subprocess
import sys

import pytest

from tools.harness import processes
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_for

from .conftest import write_program

numpy = pytest.importorskip("numpy")
zmq = pytest.importorskip("zmq", reason="wstpserver[wolframclient] is not installed")
pytest.importorskip("wolframclient", reason="wstpserver[wolframclient] is not installed")

from wolframclient.deserializers import binary_deserialize  # noqa: E402
from wolframclient.evaluation import WolframEvaluatorPool, WolframLanguageSession  # noqa: E402
from wolframclient.exception import WolframKernelException  # noqa: E402
from wolframclient.language import wl, wlexpr  # noqa: E402
from wolframclient.serializers import export  # noqa: E402

PROGRAM = "import sys; from wstpserver.cli.kernel import main; sys.exit(main())"
#: Tests of wolframclient that hold for Wolfram kernels only: there Range gives a packed array, however short it is.
VENDOR_ONLY = ("test_valid_evaluate_wxf",)
#: Seconds for what takes one at most on a computer that has nothing else to do.
DEADLINE = 100
pytestmark = pytest.mark.timeout(300)

#: Those whose subject is tested here in less time.
SLOW = ("restart", "auto_start", "loglevel", "multiple_async")


def session_of(program, **options):
    """A session that starts this program, also on a computer that is at work."""
    return WolframLanguageSession(program, STARTUP_TIMEOUT=DEADLINE, **options)


@pytest.fixture(scope="module")
def kernel(served, tmp_path_factory):
    """The path of a program for a session of wolframclient."""
    return write_program(tmp_path_factory.mktemp("kernel"), PROGRAM, WSTPSERVER=served.address)


@pytest.fixture(scope="module")
def session(kernel):
    with session_of(kernel) as session:
        yield session


def test_what_the_documentation_shows(session):
    assert session.evaluate(wl.StringReverse("abc")) == "cba"
    assert session.evaluate("Table[Prime[i], {i, 3}]") == (2, 3, 5)
    assert session.evaluate(wlexpr("x^2 /. x -> 3")) == 9
    assert session.evaluate(wl.Map(wlexpr("#^2 &"), [1, 2, 3])) == (1, 4, 9)
    assert session.function(wl.Composition(wl.Total, wl.Range))(5) == 15
    assert session.function("StringReverse")("hello") == "olleh"
    assert session.evaluate(wl.f(wl.x, wl.Global.y)) == wl.f(wl.x, wl.Global.y)
    assert session.evaluate("{a, q`b, True, Null, 1/3, 2^100, <|1 -> \"x\"|>}") == (
        wl.Global.a, wl.q.b, True, None, wl.Rational(1, 3), 2**100, {1: "x"},
    )  # fmt: skip


def test_what_the_documentation_shows_of_data(session, tmp_path):
    image = pytest.importorskip("PIL.Image")
    assert session.evaluate(wl.MinMax([4, -2, 7])) == (-2, 7)
    assert session.evaluate(wl.AssociationMap(wl.FromLetterNumber, [2, 4])) == {2: "b", 4: "d"}
    assert session.evaluate(wl.ArrayPad([[0]], 1, Padding=2)) == ((2, 2, 2), (2, 0, 2), (2, 2, 2))
    path = tmp_path / "chart.png"
    assert session.evaluate(wl.Export(str(path), wl.BarChart([1, 2.5, 2]), "PNG")) == str(path)
    with image.open(path) as chart:
        assert session.evaluate(wl.ImageDimensions(chart)) == chart.size
    for mode in ("L", "RGB", "RGBA", "CMYK", "F", "1", "P"):
        drawn = image.new(mode, (7, 4), 1 if mode in "F1L" else None)
        drawn.format = "PNG"
        assert session.evaluate(wl.ImageDimensions(drawn)) == (7, 4), mode
    session.evaluate("longest[s : List[__String]] := MaximalBy[s, StringLength]")
    assert session.evaluate(wl.Global.longest(["a", "abc", "ab"])) == ("abc",)
    assert session.evaluate(wl.longest(["a"])) == wl.longest(("a",)), "a symbol of System"
    assert session.evaluate(wl.Eigenvalues([[2, 1], [1, 2]])) == (3, 1)
    assert session.evaluate(wlexpr("NIntegrate[x y, {x, 0, 1}, {y, 0, 1}]")) == pytest.approx(0.25, abs=1e-6)
    assert session.evaluate(wl.TimeConstrained(wl.Pause(100), 0.05)).name == "$Aborted"


def test_wxf_in_the_kernel(session):
    value = [1, "a", {"k": wl.f(wl.Global.x)}, 2**70]
    data = session.evaluate(wl.BinarySerialize(value))
    assert binary_deserialize(data) == (1, "a", {"k": wl.f(wl.Global.x)}, 2**70)
    assert session.evaluate(wl.BinaryDeserialize(data)) == binary_deserialize(data)
    small = session.evaluate(wl.BinarySerialize([7] * 1000, PerformanceGoal="Size"))
    assert len(small) < 200 and tuple(binary_deserialize(small)) == (7,) * 1000
    assert session.evaluate(wl.BinaryDeserialize(export(wl.Plus(1, 2), target_format="wxf"), wl.Hold)) == wl.Hold(
        wl.Plus(1, 2)
    )
    wrong = session.evaluate_wrap(wl.BinaryDeserialize(b"8:\xff"))
    assert wrong.result.name == "$Failed" and "not WXF" in wrong.messages[0]


def test_state_and_contexts_stay_between_evaluations(session):
    assert session.evaluate("Clear[z]; z = 5; Context[z]") == "Global`"
    assert session.evaluate('Begin["tests`"]') == "tests`"
    assert session.evaluate("new = z + 1") == 6
    assert session.evaluate("{$Context, new, other}") == ("tests`", 6, wl.tests.other)
    assert session.evaluate("End[]") == "tests`"
    assert session.evaluate("Throw[2]") == wl.Hold(wl.Throw(2))  # which skips whatever was to follow
    assert session.evaluate("{$Context, v}") == ("Global`", wl.Global.v)


def test_messages_and_output(session):
    result = session.evaluate_wrap('Print["one\ntwo"]; Print[3]; 1/0')
    assert not result.success and result.is_message_failure
    assert result.get() == wl.DirectedInfinity()
    assert result.messages == ("Infinite expression Power[0, -1] encountered.",)
    assert tuple(result.iter_messages_name()) == (wl.MessageName(wl.Power, "infy"),)
    assert result.output == ("one\ntwo", "3")
    assert session.evaluate_wrap("Quiet[1/0]").success


def test_arrays_both_ways(session):
    for array in (
        numpy.arange(6).reshape(2, 3), numpy.arange(200, dtype="uint8"), numpy.arange(-3, 3, dtype="int8"),
        numpy.linspace(0, 1, 500), numpy.ones((2, 2), "float32"),
    ):  # fmt: skip
        assert numpy.array_equal(numpy.array(session.evaluate(wl.Plus(array, 1))), array + 1)
    packed = session.evaluate("N[Range[1000]]")
    assert isinstance(packed, numpy.ndarray) and packed.dtype == "float64" and packed[-1] == 1000
    assert session.evaluate(wl.Total(numpy.array([1 + 2j, 3j]))) == wl.Complex(1.0, 5.0)


def test_large_values(session):
    text = session.evaluate(wl.StringRepeat("0123456789", 10_000_000))
    assert len(text) == 100_000_000 and text.endswith("6789")


def test_futures(session):
    future = session.evaluate_future("Pause[0.01]; 6*7")
    assert future.result(DEADLINE) == 42
    assert binary_deserialize(session.evaluate_wxf("{1, 2}")) == (1, 2)


def test_a_timeout_and_termination(served, kernel):
    session = session_of(kernel)
    session.start()
    future = session.evaluate_future("While[True]")
    wait_for(lambda: any(each.busy for each in served.in_use().values()), DEADLINE, "a kernel to be busy")
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(timeout=0.1)
    session.terminate()
    served_again = session_of(kernel)
    with served_again:
        assert served_again.evaluate("1 + 1") == 2


def test_a_client_that_is_killed_leaves_nothing(served, kernel, session, tmp_path):
    before = set(served.in_use())
    program = (
        "import sys; from wolframclient.evaluation import WolframLanguageSession\n"
        f"session = WolframLanguageSession({kernel!r}); session.start()\n"
        "print(session.kernel_controller.pid, flush=True); session.evaluate('While[True]')"
    )
    client = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        gateway = int(client.stdout.readline())
        wait_for(lambda: any(each.busy for each in served.in_use().values()), DEADLINE, "the evaluation to run")
    finally:
        client.kill()
        client.wait()
        client.stdout.close()
    wait_for(lambda: not processes.alive(gateway), DEADLINE, "the gateway to end")
    wait_for(lambda: set(served.in_use()) <= before, DEADLINE, "its kernel to be taken away")


def test_the_log(kernel, caplog):
    with caplog.at_level(logging.DEBUG), session_of(kernel, kernel_loglevel=logging.INFO) as session:
        session.evaluate('Print["printed"]; ClientLibrary`info["a", 1 + 1]; ClientLibrary`debug["not this"]; 1/0')
        session.evaluate('ClientLibrary`SetErrorLogLevel[]; ClientLibrary`warn["nor this"]; ClientLibrary`error["b"]')
        assert session.evaluate("ClientLibrary`Private`$LogLevel == ClientLibrary`Private`$ERROR")

        def lines():
            return [record.getMessage() for record in caplog.records if record.name.startswith("WolframKernel-")]

        wanted = ["printed", "a 2", "Infinite expression Power[0, -1] encountered.", "b"]
        wait_for(lambda: lines() == wanted, DEADLINE, lambda: f"{wanted} in the log: {lines()}")


def test_several_evaluations_at_a_time(kernel, tmp_path):
    """Each waits until all have begun."""
    names = [str(tmp_path / str(number)) for number in range(4)]

    async def run():
        async with WolframEvaluatorPool(kernel, poolsize=len(names), STARTUP_TIMEOUT=DEADLINE) as pool:
            begin = '(Export[#, "", "Text"]; While[! AllTrue[#2, FileExistsQ], Pause[0.02]]; $ProcessID) &'
            tasks = [pool.evaluate(wl.Apply(wlexpr(begin), [name, names])) for name in names]
            return await asyncio.wait_for(asyncio.gather(*tasks), DEADLINE)

    assert len(set(asyncio.run(run()))) == len(names)


def test_quit_ends_the_session(kernel):
    with session_of(kernel) as session:
        first = session.evaluate("$ProcessID")
        assert first == session.kernel_controller.pid
        with pytest.raises(WolframKernelException, match="not running"):
            session.evaluate("Quit[]")
        session.terminate()
        assert session.evaluate("$ProcessID") not in (first, None)


def test_a_kernel_that_is_killed(served, kernel, session, caplog):
    before = set(served.in_use())
    with session_of(kernel, kernel_loglevel=logging.FATAL) as other:
        other.evaluate("1")
        future = other.evaluate_future("While[True]")
        mine = served.in_use().keys() - before
        wait_for(lambda: served.kernels()[next(iter(mine))].busy, DEADLINE, "the evaluation to run")
        os.kill(served.kernels()[mine.pop()].process, signal.SIGKILL)
        with pytest.raises(WolframKernelException, match="not running"):
            future.result(DEADLINE)
        told = "the kernel has ended"
        wait_for(lambda: told in caplog.text, DEADLINE, lambda: f"{told!r} in the log: {caplog.text}")


def test_the_vendors_own_tests(kernel, tmp_path):
    """Those of its tests of an evaluation that do not need a Wolfram kernel."""
    configuration = tmp_path / "configuration.json"
    configuration.write_text(json.dumps({"kernel": kernel}))
    environment = {**os.environ, "WOLFRAMCLIENT_PY_JSON_CONFIG": str(configuration)}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # they take as long to load as the tests
    chosen = f"(TestCase or TestSession) and not ({' or '.join((*VENDOR_ONLY, *SLOW))})"
    words = ["-q", "-p", "no:cacheprovider", "-k", chosen, "--pyargs", "wolframclient.tests.evaluation.test_kernel"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], env=environment, cwd=tmp_path, capture_output=True, text=True,
        timeout=280
    )  # fmt: skip
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout


# A client that is none


class Client:
    """The client's side of the two sockets, in the hands of a test."""

    def __init__(self, program):
        self.context = zmq.Context()
        self.requests, self.answers = self.context.socket(zmq.PUSH), self.context.socket(zmq.PULL)
        ports = [socket.bind_to_random_port("tcp://127.0.0.1") for socket in (self.requests, self.answers)]
        self.answers.setsockopt(zmq.RCVTIMEO, 1000 * DEADLINE)
        addresses = ", ".join(f'"tcp://127.0.0.1:{port}"' for port in ports)
        self.process = subprocess.Popen([program, "-run", f"ClientLibrary`Private`KernelPrivateStart[{addresses}];"])
        assert self.answers.recv() == b"OK"

    def ask(self, request):
        self.requests.send(request)
        return binary_deserialize(self.answers.recv())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.requests.close(0)
        self.answers.close(0)
        self.context.term()
        try:
            self.process.wait(DEADLINE)
        finally:
            self.process.kill()


def test_garbage(kernel):
    with Client(kernel) as client:
        for garbage in (b"", b"\x00\xff" * 1000, b"8:f\x05s\x04Plus", b"8C:xxx", b"8:\xc1\x23\x01\x7f", b"8:-CaCb"):
            answer = client.ask(garbage)
            assert not answer["Success"] and "not WXF" in answer["MessagesText"][0], answer
        assert binary_deserialize(client.ask(export(wl.Plus(1, 2), target_format="wxf"))["Result"]) == 3
    assert client.process.returncode == 0


def test_ctrl_c_aborts_the_evaluation(kernel, served, session):
    before = set(served.in_use())
    with Client(kernel) as client:
        client.ask(export(wl.Set(wl.x, 7), target_format="wxf"))
        client.requests.send(export(wlexpr("While[True]"), target_format="wxf"))
        mine = (served.in_use().keys() - before).pop()
        wait_for(lambda: served.kernels()[mine].busy, DEADLINE, "the evaluation to run")
        client.process.send_signal(signal.SIGINT)
        answer = binary_deserialize(client.answers.recv())
        assert binary_deserialize(answer["Result"]) == wl.Symbol("$Aborted") or not answer["Success"]
        assert binary_deserialize(client.ask(export(wl.x, target_format="wxf"))["Result"]) == 7


# A kernel that reads and writes WXF itself


def test_a_kernel_with_wxf(tmp_path, caplog):
    """It evaluates the client's initialization file, and gets each request as it is."""
    (tmp_path / "kernel").mkdir()
    kernel = write_program(tmp_path / "kernel", "import runpy; runpy.run_module('tests.gateways.binary_kernel', "
                           "run_name='__main__')")  # fmt: skip
    with ServerProcess(tmp_path, {"Pools": {"Main": pool(kernel)}}) as server:
        program = write_program(tmp_path, PROGRAM, WSTPSERVER=f"{server.port}@127.0.0.1")
        with caplog.at_level(logging.INFO), session_of(program, kernel_loglevel=logging.INFO) as session:
            assert session.evaluate(wl.Plus(1, 2)) == 3
            assert session.evaluate_wrap(wl.Plus(20, 3)).success
            wait_for(lambda: caplog.text.count("adding") == 2, DEADLINE, "two lines in the log")
