"""Parallel kernels: an executor whose workers are kernels of a WSTPServer.

from wstpserver.client.parallel import KernelExecutor

with KernelExecutor("31415@localhost", kernels=4) as executor:
list(executor.map("Prime", range(1, 101)))
executor.submit("FactorInteger", 2**64 + 1).result()
"""

from wstpserver.client.errors import KernelDied, ParallelError
from wstpserver.client.parallel.executor import KernelExecutor
from wstpserver.client.parallel.worker import KernelsGone

__all__ = ["KernelDied", "KernelExecutor", "KernelsGone", "ParallelError"]
