"""The load test: it counts what is right and notices what is wrong."""
import json
import re
import signal
import socket
import subprocess
import threading

import pytest

from tools.bench.load.__main__ import main
from tools.bench.load.engine import Load, run_load
from tools.bench.load.target import parse_address
from tools.harness import rawlink
from tools.harness.fake_kernel import joining
from tools.harness.fake_kernel.codec import Symbol
from tools.harness.kernels import make_kernel
from tools.harness.server import ROOT, ServerProcess, pool


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    settings = pool(make_kernel(folder), MinimumKernelNumber=3, ReservePreviouslyConnectedKernels=False)
    with ServerProcess(folder, {"Pools": {"Load": settings}}) as running:
        yield running


def test_counts_right_answers(server, capsys):
    options = ["--server", str(server.port), "--clients", "3", "--evaluations", "20", "--server-pid", str(server.pid)]
    assert main([*options, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["finished"]
    assert figures["clients with a kernel"] == 3
    assert figures["correct answers"] == figures["milliseconds"]["evaluation"]["count"] == 60
    assert figures["errors"] == {}
    assert figures["server"]["resident MB peak"] > 5
    assert main(options) == 0
    assert "no errors" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "address"),
    [("31415", ("127.0.0.1", 31415)), ("31415@host", ("host", 31415)), ("host:31415", ("host", 31415))],
)
def test_addresses(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["host", "@host", "31415@", "x@host"])
def test_what_is_no_address(text):
    with pytest.raises(ValueError, match="no address"):
        parse_address(text)


def test_a_server_of_its_own(capsys, tmp_path):
    """Light kernels, several processes, strings there and back, evaluations under way at the same time, a plot."""
    pytest.importorskip("matplotlib")
    plot = tmp_path / "plot.png"
    options = ["--clients", "6", "--evaluations", "30", "--size", "3000", "--depth", "3", "--processes", "2"]
    assert main([*options, "--json", "--plot", str(plot)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["correct answers"] == 180
    assert figures["clients with a kernel"] == figures["milliseconds"]["first prompt"]["count"] == 6
    milliseconds = figures["milliseconds"]["evaluation"]
    assert 0 < milliseconds["p50"] <= milliseconds["p90"] <= milliseconds["p99"] <= milliseconds["max"]
    assert figures["server"]["resident MB peak"] > 5
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_rate(server):
    """Evaluations are begun as often as the rate says, not as often as they could be."""
    result = run_load(Load(port=server.port, clients=2, evaluations=20, rate=200.0))
    assert result.finished
    assert result.answers == 40
    assert result.parts[0].evaluating >= 39 / 200


def test_a_duration(server):
    """Without a number of evaluations the time ends the run, and that is no error."""
    result = run_load(Load(port=server.port, clients=2, evaluations=10**9, duration=0.2))
    assert result.finished
    assert not result.errors
    assert result.answers == result.evaluation.total > 0
    assert sum(histogram.total for histogram in result.slots.values()) == result.answers


def test_nobody_listens(capsys):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        assert main(["--server", str(deaf.getsockname()[1]), "--clients", "2", "--json"]) == 1
    figures = json.loads(capsys.readouterr().out)
    assert figures["errors"] == {"connecting: cannot connect: Connection refused": 2}


class LyingServer(threading.Thread):
    """One client in UUID mode: a prompt, then `answers`, one for each packet that comes, then the end."""

    def __init__(self, *answers):
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._answers = answers
        self.start()

    def run(self):
        connections = {}
        for _ in range(2):
            connection, _ = self._listener.accept()
            line = joining.receive_exactly(connection, 55)
            connections[line[-4:]] = connection
        data = connections[b"data"]
        assert joining.receive_exactly(data, 16) == joining.WORDS
        data.sendall(joining.WORDS)
        _, framer = joining.greet(data, 4)
        with rawlink.RawLink(data, connections[b"mesg"], framer) as link:
            link.put("InputNamePacket", "In[1]:= ")
            for answer in self._answers:
                link.get_raw()
                link.put("ReturnPacket", answer)
        self._listener.close()


def test_silence_is_noticed(capsys):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = ["--server", str(silent.getsockname()[1]), "--clients", "2", "--timeout", "0.2", "--json"]
        assert main(options) == 1
    assert json.loads(capsys.readouterr().out)["errors"] == {"connecting: no answer in time": 2}


def test_garbage_is_noticed(capsys):
    def answer(listener):
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=answer, args=[listener], daemon=True)
        server.start()
        assert main(["--server", str(listener.getsockname()[1]), "--clients", "1", "--json"]) == 1
        server.join(10)
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert error.startswith("connecting: ")


@pytest.mark.parametrize(
    ("answers", "error"),
    [((-1,), "evaluating: wrong answer: -1 instead of 2"),
     ((Symbol("$Aborted"),), "evaluating: wrong answer: $Aborted"), ((), "evaluating: the server closed the link")],
)  # fmt: skip
def test_wrong_answers_are_noticed(capsys, answers, error):
    liar = LyingServer(*answers)
    assert main(["--server", str(liar.port), "--clients", "1", "--evaluations", "2", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["errors"] == {error: 1}
    liar.join(10)


def test_interrupted_it_tells_what_it_has(server):
    command = [ROOT / "tools" / "loadtest", "--server", str(server.port), "--clients", "2"]
    command += ["--evaluations", "100000000", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert any(re.search(r" [1-9]\d* answers", line) for line in process.stderr)  # stops at the first such line
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1
    figures = json.loads(output)
    assert not figures["finished"]
    assert figures["correct answers"] > 0
    assert figures["evaluations per second"] > 0
