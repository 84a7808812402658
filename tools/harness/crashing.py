"""Sessions whose server is killed again and again: each has a value of its own in a kernel of its own, and must find it
again by the kernel's ID, with the answer to what was under way.
"""
import collections
import concurrent.futures
import contextlib
import json
import random
import signal
import threading
import time

from tools.harness import rawlink
from tools.harness.fake_kernel.codec import Function, Symbol
from tools.harness.fake_kernel.joining import LinkClosed
from tools.harness.server import ServerProcess, pool

#: Seconds that a kernel may take for anything.
DEADLINE = 60.0

SUCCESS = '{"status":"ExecutionSuccess"}'
GONE = (OSError, LinkClosed)


class Lost(Exception):
    """A session that was not found again; the text says what of it."""


class Session:
    """One client and its kernel, which is of the pool. `kind` is what it does: "computing", "idle", or "reserved" (it
    is not connected).
    """

    def __init__(self, number, kind, pool_name):
        self.kind, self.pool_name = kind, pool_name
        self.value = f"value {number}"
        self.link = self.id = None
        #: The number of the last evaluation, whether its answer has come, and how many answers did.
        self.count, self.answered, self.answers = 0, True, 0
        #: How its last evaluation was found after the last kill: "" if none was under way.
        self.outcome = ""

    def begin(self, port):
        """Get a kernel and leave the value in it."""
        self.link = rawlink.connect(port, timeout=DEADLINE)
        assert self.link.command("ConnectKernel", self.pool_name) == SUCCESS
        assert self.link.get_packet()[0] == "InputNamePacket"
        self.id = json.loads(self.link.command("GetKernelID"))["result"]
        assert self.link.command("SetKeepAlive", Symbol("True")) == SUCCESS
        assert self.link.command("SetReserveKernel", Symbol("True")) == SUCCESS
        self._set("x", self.value)
        self._set("n", 0)
        if self.kind == "reserved":
            self.link.close(politely=True)
            self.link = None

    def _set(self, name, value):
        self.link.evaluate(Function("Set", Symbol(name), value))

    def answer_to(self, count):
        return f"{self.value} {count} " + "." * (37 * count % 20000)

    def ask(self):
        """Send the next evaluation."""
        self.count, self.answered = self.count + 1, False
        setting = Function("Set", Symbol("n"), self.count)
        self.link.put("EvaluatePacket", Function("CompoundExpression", setting, self.answer_to(self.count)))

    def take(self):
        """Take its answer."""
        head, value = self.link.get_packet()
        if (head, value) != ("ReturnPacket", self.answer_to(self.count)):
            raise AssertionError(f"a wrong answer to {self.count} of {self.value!r}: {head} {value!r:.80}")
        self.answered = True
        self.answers += 1

    def come_back(self, port):
        """Find the kernel again, with the value and with the answer that was on its way; raises Lost."""
        self.outcome = "" if self.answered else "delivered before the end"
        with contextlib.suppress(*GONE):
            if self.link is not None and not self.answered:
                self.take()  # it was on its way when the server was killed
        if self.link is not None:
            self.link.close()
        if not self.answered:
            self.outcome = "written to the next client"
        self.link = rawlink.connect(port, timeout=DEADLINE)
        if (text := self.link.command("ConnectKernel", self.id)) != SUCCESS:
            raise Lost(f"kernel {self.id} is not found: {text}")
        self._skip_to_prompt()
        while not self.answered and self.link.command("GetKernelBusyStatus") != '{"result":"False"}':
            self._wait_for_answer()
        missed = self.link.command("GetMissedOutput").args[1].args
        found = self.link.evaluate(Function("List", Symbol("x"), Symbol("n")))
        value, count = found.args
        if value != self.value or count not in (self.count, self.count - (not self.answered)):
            raise Lost(f"kernel {self.id} has {found!r:.200}, not {self.value!r} and {self.count}")
        if not self.answered:
            self.outcome = "not begun"
            if count == self.count:
                self._check_missed(missed)
                self.outcome = "missed output"
        self.count, self.answered = count, True
        if self.kind == "reserved":
            self.link.close(politely=True)
            self.link = None

    def _skip_to_prompt(self):
        head, *arguments = self.link.get_packet()
        if head == "ReturnPacket":
            self._check_answer(arguments[0])
            head = self.link.get_packet()[0]
        assert head == "InputNamePacket", head

    def _wait_for_answer(self):
        head, value = self.link.get_packet()
        assert head == "ReturnPacket", head
        self._check_answer(value)

    def _check_answer(self, value):
        if value != self.answer_to(self.count):
            raise Lost(f"kernel {self.id} answers {value!r:.80}")
        self.answered = True

    def _check_missed(self, missed):
        answers = [packet.args[0] for packet in missed if packet.head.short == "ReturnPacket"]
        if self.answer_to(self.count) not in answers:
            raise Lost(f"kernel {self.id} has evaluated {self.count}, and the answer is nowhere: {missed!r:.200}")


class Report:
    """What came out of a run."""

    def __init__(self):
        self.kills = self.found = self.answers = 0
        self.lost = []
        #: How often the answer to what was under way was found where.
        self.outcomes = collections.Counter()
        #: Seconds from the start of each server until it listened.
        self.starts = []
        #: Sessions whose server was killed in the middle of a frame to their kernel.
        self.in_frame = 0

    def __str__(self):
        total = self.found + len(self.lost)
        return (
            f"{self.kills} kills, {self.found} of {total} sessions found again"
            f" ({100 * self.found / max(total, 1):.3f} %), {self.in_frame} of the others in the middle of a frame to"
            f" their kernel; {self.answers} answers; under way: {dict(self.outcomes)}; ready after"
            f" {max(self.starts):.2f} s"
        )


def run(folder, kernel, *, sessions, kills, threads=4, rest=0.3, seed=0, told=lambda text: None, elsewhere=None):
    """Kill the server of so many sessions so often; returns a `Report`.

    folder: for files. kernel: KernelPath. threads: that play the computing sessions. rest: most seconds between two
    kills. seed: of the random moments. told: hears how far it has come. elsewhere: keys of a pool from which the first
    third of the sessions have their kernels, if there is to be one.
    """
    rng, report = random.Random(seed), Report()
    far = sessions // 3 if elsewhere else 0
    sizes = {"Main": sessions - far, **({"Far": far} if far else {})}
    configuration = {
        "EnableAutomaticKernelConnection": False,
        "KernelsOutliveServer": 120,
        "KernelWaitTimeout": DEADLINE,
        "Pools": {
            name: pool(
                kernel, MinimumKernelNumber=size, MaximumKernelNumber=2 * size, KeepAlive=True,
                **(elsewhere if name == "Far" else {}),
            )
            for name, size in sizes.items()
        },
    }  # fmt: skip
    kinds = ("computing", "idle", "reserved")
    players = [
        Session(number, kinds[number % 3], "Far" if number < far else "Main") for number in range(sessions)
    ]
    port = "0"
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(threads) as executor:
        for kill in range(kills + 1):
            server = ServerProcess(
                folder, configuration, "--port", port, "--interface", "127.0.0.1", usual_address=False,
                stop_deadline=DEADLINE,
            )  # fmt: skip
            began = time.monotonic()
            stack.callback(server.kill)
            server.start(DEADLINE)
            report.starts.append(time.monotonic() - began)
            port = str(server.port)
            if not kill:
                for player in players:
                    player.begin(server.port)
                told(f"{sessions} sessions have begun")
            else:
                report.kills = kill
                report.answers = sum(player.answers for player in players)
                _find_again(executor, players, server, report)
                told(f"kill {kill}: {report}")
            if kill < kills:
                _compute_until_killed(executor, players, server, threads, rng.uniform(0, rest))
        code = server.stop()
        assert code == 0, server.log
        server.assert_no_process_left()
    return report


def _find_again(executor, players, server, report):
    in_frame = server.log.count("in the middle of a packet to it when the server was killed")

    def find(player):
        try:
            player.come_back(server.port)
        except Lost as lost:
            return f"{player.kind}: {lost}"
        return None

    for player, lost in zip(tuple(players), executor.map(find, players), strict=True):
        if lost is None:
            report.found += 1
            report.outcomes[player.outcome] += bool(player.outcome)
        else:
            report.lost.append(lost)
            players.remove(player)
    report.in_frame += in_frame


def _compute_until_killed(executor, players, server, threads, seconds):
    computing = [player for player in players if player.kind == "computing"]
    stop = threading.Event()
    playing = [executor.submit(_compute, computing[number::threads], stop) for number in range(threads)]
    time.sleep(seconds)  # what happens meanwhile is what the server is killed in the middle of
    server.stop(signal.SIGKILL)
    stop.set()
    for one in playing:
        one.result()


def _compute(players, stop):
    while players and not stop.is_set():
        try:
            for player in players:
                if player.answered:
                    player.ask()
            for player in players:
                if not player.answered:
                    player.take()
        except GONE:
            return
