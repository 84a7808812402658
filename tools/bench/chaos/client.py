"""A client that does random things and checks every answer it gets."""
import itertools
import json
import random
import re

from tools.harness.fake_kernel.codec import Function, Symbol, encode
from tools.harness.fake_kernel.joining import LinkClosed

SUCCESS = '{"status":"ExecutionSuccess"}'
REPLIES = re.compile(r'\{"(status":"Execution(Success|Error)"|result":.*)\}', re.DOTALL)

#: Every evaluation of a run has a number of its own, so an answer that belongs to somebody else is seen.
NUMBERS = itertools.count(1_000_000)


class WrongAnswer(AssertionError):
    """The client got what it did not ask for, or not what it asked for."""


class RandomClient:
    """One link. `run` returns how many answers were right; a lost link ends it early, which is no failure."""

    def __init__(self, link, seed, known):
        self.link = link
        self.random = random.Random(seed)
        self.known = known  # kernel ids that any client has seen, shared
        self.outstanding = []
        self.right = 0
        self.history = []  # what was done and read, for the report of a failure

    def run(self, steps):
        try:
            self.link.get_packet()
            for _ in range(steps):
                action = self.random.choice(ACTIONS)
                self.history.append(action.__name__)
                action(self)
                if self.link.data.fileno() == -1:
                    return self.right
            self.settle()
        except (LinkClosed, ConnectionError):
            pass
        except TimeoutError:
            raise WrongAnswer(f"no answer to {self.outstanding}; before: {self.history[-60:]}") from None
        finally:
            self.link.close()
        return self.right

    # -- reading -------------------------------------------------------------------------------------------------

    def read_reply(self):
        """The text of the next command's reply; answers to evaluations may come before it."""
        while True:
            head, *values = self.link.get_packet()
            if head == "ReturnPacket" and isinstance(values[0], str):
                if not REPLIES.fullmatch(values[0]):
                    raise WrongAnswer(f"no reply to a command: {values[0]!r}")
                self.history.append(("reply", values[0][:60]))
                return values[0]
            self.take(head, values)

    def take(self, head, values):
        self.history.append((head, *values))
        if head != "ReturnPacket":
            return
        value = values[0]
        if getattr(value, "short", "") == "$Aborted":  # of which evaluation cannot be told
            self.outstanding = [(number, True) for number, _ in self.outstanding]
            return
        while self.outstanding:
            number, may_be_lost = self.outstanding.pop(0)
            if value == number:
                self.right += 1
                return
            if not may_be_lost:
                break
        raise WrongAnswer(f"the answer {value!r} belongs to nothing that was asked; before: {self.history[-60:]}")

    def settle(self):
        """Read until everything is answered that must be."""
        while any(not may_be_lost for _, may_be_lost in self.outstanding):
            head, *values = self.link.get_packet()
            self.take(head, values)

    # -- doing ---------------------------------------------------------------------------------------------------

    def evaluate(self):
        number = next(NUMBERS)
        self.history.append(number)
        self.link.put("EvaluatePacket", Function("Plus", number, 0))
        self.outstanding.append((number, False))
        self.settle()

    def pipeline(self):
        for _ in range(self.random.randint(2, 6)):
            number = next(NUMBERS)
            self.history.append(number)
            self.link.put("EvaluatePacket", Function("Plus", number - 1, 1))
            self.outstanding.append((number, False))

    def flood(self):
        number, texts = next(NUMBERS), self.random.randint(1, 30)
        self.link.put("EvaluatePacket", Function("Plus", Function("Flood", texts), number - texts))
        self.outstanding.append((number, False))

    def ask(self):
        name = self.random.choice(["GetKernelID", "GetPoolName", "GetKernelBusyStatus", "GetServerInformation"])
        self.link.put("WSCommandPacket", Function(name))
        data = json.loads(self.read_reply())
        if name == "GetServerInformation":
            for pool in data["result"]["Pools"].values():
                if len(pool["Kernels"]) > pool["MaximumKernelNumber"]:
                    raise WrongAnswer("more kernels than the maximum")
                self.known.extend(kernel["ID"] for kernel in pool["Kernels"])
            del self.known[:-100]

    def set_something(self):
        name = self.random.choice(["SetKeepAlive", "SetReserveKernel", "SetAllowSilentKernelReplacement"])
        self.link.put("WSCommandPacket", Function(name, Symbol(self.random.choice(["True", "False"]))))
        self.read_reply()

    def connect(self):
        specifiers = ["Main", "Short", *self.known[-10:]]
        self.link.put("WSCommandPacket", Function("ConnectKernel", self.random.choice(specifiers), 0.2))
        self.changed(self.read_reply())

    def disconnect(self):
        self.link.put("WSCommandPacket", Function("DisconnectKernel"))
        self.changed(self.read_reply())

    def changed(self, reply):
        """After a change of kernels nothing of the old one comes any more (unless it was no change)."""
        if reply == SUCCESS:
            self.outstanding = [(number, True) for number, _ in self.outstanding]

    def abort(self):
        self.link.send_message(3)

    def kill_kernel(self):
        self.link.put("EvaluatePacket", Function(self.random.choice(["Die", "Quit"])))
        self.outstanding.append((object(), True))

    def pause(self):
        """Keep the kernel busy, so that those who want it by its ID wait, and give up."""
        number = next(NUMBERS)
        sleep = Function("Sleep", self.random.random())
        self.link.put("EvaluatePacket", Function("CompoundExpression", sleep, number))
        self.outstanding.append((number, False))

    def end_link(self):
        """The kernel's link ends and its process stays: its end is seen late."""
        self.link.put("EvaluatePacket", Function("CloseLink"))
        self.outstanding.append((object(), True))

    def close_kernel(self):
        """Close any kernel, also one that just becomes ready; that of another client is refused."""
        if self.known:
            self.link.put("WSCommandPacket", Function("CloseKernel", self.random.choice(self.known[-10:])))
            self.changed(self.read_reply())

    def leave(self):
        self.link.close(politely=self.random.random() < 0.5)

    def break_off(self):
        frame = encode(Function("EvaluatePacket", Function("StringLength", "x" * self.random.choice([50, 300_000]))))
        self.link.put_raw(frame[: self.random.randrange(1, len(frame))])
        self.link.reset()


ACTIONS = [
    *[RandomClient.evaluate] * 6,
    *[RandomClient.pipeline] * 3,
    *[RandomClient.flood] * 2,
    *[RandomClient.ask] * 3,
    RandomClient.set_something,
    *[RandomClient.connect] * 2,
    RandomClient.disconnect,
    RandomClient.abort,
    RandomClient.kill_kernel,
    RandomClient.pause,
    RandomClient.end_link,
    RandomClient.close_kernel,
    RandomClient.leave,
    RandomClient.break_off,
]
