"""A registry with one pool and a clock that only the tests move."""

from __future__ import annotations

import itertools

from wstpserver.model import limits
from wstpserver.model.effects import Close, Start
from wstpserver.model.registry import Registry
from wstpserver.model.states import Client, Kernel
from wstpserver.settings import ServerSettings


class Scene:
    """A registry with one pool of one kernel (unless the keys say more) and a clock."""

    def __init__(self, **keys) -> None:
        self.now = 1000.0
        numbers = itertools.count()
        self.registry = Registry(
            settings(**keys), lambda: f"{next(numbers):04x}-0000-0000", lambda: self.now
        )
        self.pool = self.registry.pools["P"]
        self.registry.fill(self.pool)
        self.kernels = self.become_ready()
        self.kernel = self.kernels[0]

    def become_ready(self) -> list[Kernel]:
        kernels = [effect.kernel for effect in self.effects(Start)]
        for kernel in kernels:
            self.registry.ready(kernel)
        return kernels

    def effects(self, kind: type) -> list:
        return [effect for effect in self.registry.take_effects() if isinstance(effect, kind)]

    def client(self, name: str = "client") -> Client:
        record = Client(name)
        self.registry.add_client(record)
        return record

    def bridged(self, target: Kernel | None = None) -> Client:
        """A client that gets a kernel at once."""
        record = self.client()
        if target is not None:
            assert self.registry.connect_to_kernel(record, target) is target
        else:
            assert isinstance(self.registry.connect_to_pool(record, self.pool), Kernel)
        self.registry.take_effects()
        return record

    def evaluate(self, kernel: Kernel) -> None:
        self.registry.set_busy(kernel, True)
        self.registry.set_busy(kernel, False)

    def close_overdue(self) -> list[str]:
        """What the janitor does; returns the reasons."""
        found = list(limits.overdue(self.pool, self.now))
        for kernel, why in found:
            self.registry.close(kernel, why)
        return [why for _, why in found]


def settings(**keys) -> ServerSettings:
    pool = {"name": "P", "KernelPath": "/k", "MinimumKernelNumber": 1, "MaximumKernelNumber": 1}
    pool["ReservePreviouslyConnectedKernels"] = False
    return ServerSettings.build(pools=[pool | keys])


def closings(scene: Scene) -> list[tuple[Kernel, str]]:
    return [(effect.kernel, effect.why) for effect in scene.effects(Close)]
