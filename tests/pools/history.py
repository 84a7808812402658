"""Plays the server around a registry, at random: the machinery of the test of random histories."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable

from tests.support.settings import make_settings
from wstpserver.pools.registry import Registry
from wstpserver.pools.states import (
    Admission,
    AnswerAwaited,
    Bridged,
    Client,
    Close,
    Effect,
    Kernel,
    MoveFailed,
    Purpose,
    Reset,
    Settled,
    Start,
    Unbridged,
    WaitingClient,
)

STEPS = 80

#: Each history has some of these; its clock goes forward by up to `LONGEST_PAUSE` seconds at a time.
LIMITS = {
    "MaximumKernelUses": 3,
    "MaximumKernelEvaluations": 4,
    "MaximumKernelAge": 100,
    "ReservedKernelTimeout": 30,
    "ResetCode": "code",
}
LONGEST_PAUSE = 20.0

RULES: list[tuple[Callable, Callable]] = []
INVARIANTS: list[Callable] = []


def when(condition):
    """Mark a method as something that can happen while *condition* holds."""

    def mark(method):
        RULES.append((condition, method))
        return method

    return mark


def invariant(method):
    """Mark a method as something that must hold after each step."""
    INVARIANTS.append(method)
    return method


class History:
    """Plays the server: keeps what the effects ask for, and reports readiness, ends and activity."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        #: Kernels that neither read nor exit.
        self.stuck: set[Kernel] = set()
        self.begin(
            minimum=self.random.randint(0, 2),
            extra=self.random.randint(0, 1),
            **{name: self.chance() for name in ("keep", "reserve", "stealing", "replacement")},
            limits={key: value for key, value in LIMITS.items() if self.chance()},
            seats=self.random.choice([0, 0, 2, 4]),
        )

    def chance(self) -> bool:
        return self.random.random() < 0.5

    def run(self) -> None:
        for _ in range(STEPS):
            rules = [method for condition, method in RULES if condition(self)]
            self.random.choice(rules)(self)
            for check in INVARIANTS:
                check(self)

    def begin(self, minimum, extra, keep, reserve, stealing, replacement, limits, seats):
        pool = {
            "KernelPath": "/k",
            "MinimumKernelNumber": minimum,
            "MaximumKernelNumber": max(1, minimum + extra),
            "KeepAlive": keep,
            "ReservePreviouslyConnectedKernels": reserve,
            **limits,
        }
        numbers = itertools.count()
        self.used_ids: list[str] = []

        def new_id() -> str:
            self.used_ids.append(f"{next(numbers):012x}")
            return self.used_ids[-1]

        build = make_settings(
            pools=[{"name": "A", **pool}, {"name": "B", **pool, "ReservePreviouslyConnectedKernels": not reserve}],
            AllowStealingKernels=stealing,
            AllowSilentKernelReplacement=replacement,
            MaximumKernels=seats,
        )
        self.now = 0.0
        self.clients: list[Client] = []
        self.starting: list[Kernel] = []
        self.closing: list[Kernel] = []
        self.resetting: list[Kernel] = []
        #: Kernels whose link has ended and whose end is not settled.
        self.dying: list[Kernel] = []
        #: Who waits, and who was told what has become of it.
        self.waiting: list[WaitingClient] = []
        self.settled: list[WaitingClient] = []
        #: The clients that waited, and those to which another kernel was granted, when a pool was last closed.
        self.admitted: set[Client] = set()
        self.moving: set[Client] = set()
        #: Kernels in which a client has been since they were reset.
        self.used: set[Kernel] = set()
        #: Who is bridged to what, by the effects alone: what the sockets would say.
        self.bridges: dict[Client, Kernel] = {}
        self.order: dict[str, list[Client]] = {"A": [], "B": []}
        self.make_registry = lambda: Registry(build, new_id, self.carry_out, lambda: self.now)
        self.registry = self.make_registry()
        self.registry.start()
        self.all_kernels_become_ready()

    def restart(self) -> tuple[dict, dict]:
        """Another process goes on with what this one has recorded; returns that, and what that one records."""
        before, present = self.registry, self.present()
        record = json.loads(json.dumps(before.record(present)))
        self.starting.clear()
        self.resetting.clear()
        self.waiting = [one for one in self.waiting if one not in {client.waiting for client in present}]
        self.registry = self.make_registry()
        clients = dict(zip(present, self.registry.restore(record), strict=True))
        self.clients = [clients.get(client, client) for client in self.clients]
        known = self.registry.kernels
        kernels = {kernel: known[kernel.id] for kernel in before.kernels.values() if kernel.id in known}
        assert all(one.pool is None for one in before.kernels.values() if one not in kernels)
        self.admitted = {clients.get(client, client) for client in self.admitted}
        self.moving = {clients.get(client, client) for client in self.moving}
        self.bridges = {clients[client]: kernels[kernel] for client, kernel in self.bridges.items()}
        self.closing = [kernels[kernel] for kernel in self.closing]
        self.used = {kernels[kernel] for kernel in self.used if kernel in kernels}
        self.waiting += [client.waiting for client in self.clients if client.waiting in self.lines()]
        again = self.registry.record(self.present())
        self.registry.start()
        return record, again

    def lines(self) -> list[WaitingClient]:
        """Those that wait."""
        registry = self.registry
        return [one for target in (*registry.pools.values(), *registry.kernels.values()) for one in target.waiting]

    # -- the server's part ---------------------------------------------------------------------------------------

    def carry_out(self, effect: Effect):
        if isinstance(effect, Start):
            self.starting.append(effect.kernel)
        elif isinstance(effect, Close):
            assert effect.kernel not in self.bridges.values()
            for phase in (self.starting, self.resetting):
                if effect.kernel in phase:
                    phase.remove(effect.kernel)
            if effect.kernel not in self.dying:  # else whoever settles its end goes on with it
                self.closing.append(effect.kernel)
        elif isinstance(effect, Bridged):
            assert effect.client not in self.bridges, "bridged twice"
            assert effect.kernel not in self.bridges.values(), "a kernel with two clients"
            assert effect.kernel not in self.dying, "a dying kernel was given away"
            waits_for_an_answer = effect.kernel.evaluation.awaiting and effect.named
            assert waits_for_an_answer or not effect.kernel.busy, "a busy kernel was given away"
            assert effect.named or self.is_fit_for_strangers(effect.kernel)
            assert self.may_be_bridged(effect), "a client got in although its pool is closed"
            self.bridges[effect.client] = effect.kernel
            self.used.add(effect.kernel)
        elif isinstance(effect, Reset):
            assert effect.kernel in self.used and not effect.kernel.busy
            self.resetting.append(effect.kernel)
        elif isinstance(effect, Unbridged):
            assert self.bridges.pop(effect.client) is effect.kernel
        elif isinstance(effect, Settled):
            assert effect.waiting not in self.settled, "settled twice"
            self.settled.append(effect.waiting)
        else:
            assert isinstance(effect, MoveFailed | AnswerAwaited)

    def may_be_bridged(self, effect: Bridged):
        """Whether the client was admitted: a move that was granted before its pool was paused is completed."""
        pool = effect.kernel.pool
        admission = self.registry.admission if pool is None else pool.admission
        if admission is Admission.OPEN or effect.client in self.moving:
            return True
        admitted = effect.client in self.admitted or effect.purpose is Purpose.REPLACEMENT
        return admission is Admission.DRAINING and admitted

    def is_fit_for_strangers(self, kernel):
        """Whether a client that did not name the kernel's ID may be bridged to it (the effect has been applied)."""
        limits = kernel.pool.settings
        return (
            not (limits.reset_code and kernel in self.used)
            and (not limits.maximum_kernel_uses or kernel.uses <= limits.maximum_kernel_uses)
            and (not limits.maximum_kernel_evaluations or kernel.evaluations < limits.maximum_kernel_evaluations)
        )

    def pick(self, things):
        things = list(things)
        return self.random.choice(things) if things else None

    def present(self):
        """The clients that are there, in the order of their coming (a set's order would not repeat)."""
        return [client for client in self.clients if client in self.registry.clients]
