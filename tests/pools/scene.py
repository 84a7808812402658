"""Registries that record their effects, one with a pool and a clock that only the tests move."""

from __future__ import annotations

import itertools

from tests.support.settings import make_settings
from wstpserver.pools import limits
from wstpserver.pools.registry import Registry
from wstpserver.pools.states import (
    AnswerAwaited,
    Bridged,
    Client,
    Close,
    Effect,
    Kernel,
    Purpose,
    Settled,
    Start,
    WaitingClient,
    WaitState,
)
from wstpserver.settings import ServerSettings
from wstpserver.wire.packets import PacketHead


class RecordingRegistry(Registry):
    """Carries nothing out and keeps what it should."""

    def __init__(self, settings, new_id, clock=lambda: 0.0) -> None:
        self.recorded: list[Effect] = []
        super().__init__(settings, new_id, self.recorded.append, clock)

    def take_effects(self, *, all_of_them: bool = False) -> list[Effect]:
        """The effects since the last call; of those that only say that something changed, none."""
        effects = self.recorded[:]
        self.recorded.clear()
        return [effect for effect in effects if all_of_them or not isinstance(effect, Settled | AnswerAwaited)]


def begin(kernel: Kernel) -> None:
    kernel.evaluation.sent(PacketHead.EvaluatePacket)


def end(kernel: Kernel) -> None:
    kernel.evaluation.written(PacketHead.ReturnPacket)


def waits(waiting: WaitingClient) -> bool:
    return waiting.state is WaitState.WAITING and waiting.client.waiting is waiting


def bridged(client: Client, kernel: Kernel, *, named: bool = False) -> Bridged:
    return Bridged(client, kernel, Purpose.COMMAND, named)


class Scene:
    """A registry with one pool of one kernel (unless the keys say more) and a clock."""

    def __init__(self, **keys) -> None:
        self.now = 1000.0
        numbers = itertools.count()
        self.registry = RecordingRegistry(settings(**keys), lambda: f"{next(numbers):04x}-0000-0000", lambda: self.now)
        self.pool = self.registry.pools["P"]
        self.registry.start()
        self.kernels = self.become_ready()
        self.kernel = self.kernels[0]

    def become_ready(self) -> list[Kernel]:
        kernels = [effect.kernel for effect in self.effects(Start)]
        for kernel in kernels:
            self.registry.ready(kernel)
        return kernels

    def effects(self, kind: type) -> list:
        return [effect for effect in self.registry.take_effects(all_of_them=True) if isinstance(effect, kind)]

    def client(self, name: str = "client") -> Client:
        record = Client(name)
        self.registry.add_client(record)
        return record

    def bridged(self, target: Kernel | None = None) -> Client:
        """A client that gets a kernel at once."""
        record = self.client()
        if target is not None:
            assert self.registry.connect_to_kernel(record, target).kernel is target
        else:
            assert self.registry.connect_to_pool(record, self.pool).state is WaitState.GRANTED
        self.registry.take_effects()
        return record

    def evaluate(self, kernel: Kernel) -> None:
        begin(kernel)
        end(kernel)

    def close_overdue(self) -> list[str]:
        """What maintenance does; returns the reasons."""
        found = list(limits.overdue(self.pool, self.now))
        for kernel, why in found:
            self.registry.close(kernel, why)
        return [why for _, why in found]


def settings(**keys) -> ServerSettings:
    pool = {"name": "P", "KernelPath": "/k", "MinimumKernelNumber": 1, "MaximumKernelNumber": 1}
    pool["ReservePreviouslyConnectedKernels"] = False
    return make_settings(pools=[pool | keys])


def closings(scene: Scene) -> list[tuple[Kernel, str]]:
    return [(effect.kernel, effect.why) for effect in scene.effects(Close)]
