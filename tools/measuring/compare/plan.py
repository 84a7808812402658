"""Which measurements a comparison is made of, in which order, with how many repetitions."""
from tools.measuring.compare import growth, measures

#: Bytes of the packed lists.
SIZES = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
CLIENTS = (1, 10, 100, 1000)


class Plan:
    """`vendor` and `light` take what is open (legs and clients by name) and a function add(key, title, rows)."""

    def __init__(self, quick=False, only=()):
        self._quick, self._only = quick, only

    def wants(self, group):
        return not self._only or group in self._only

    def _times(self, count):
        return max(1, count // 4) if self._quick else count

    @property
    def most_clients(self):
        return 100 if self._quick else max(CLIENTS)

    def needs_light(self):
        return any(map(self.wants, ("latency", "throughput", "bulk", "clients", "connections", "memory", "depth")))

    def light(self, legs, clients, add):
        """Everything with light clients and kernels."""
        if self.wants("memory"):  # first: buffers that anything has needed once are there to be used again
            add("held", "Clients that do nothing", measures.held_clients(legs, self.most_clients))
        if self.wants("latency"):
            self._latency(legs, clients, add, "light")
        if self.wants("throughput"):
            for size in SIZES[: 7 if self._quick else None]:
                rounds = self._times(4) if size < 1e8 else 1
                add(f"packed {size}", f"Packed Real64, lists of {in_bytes(size)}",
                    measures.throughput(legs, clients, size, rounds))  # fmt: skip
        if self.wants("bulk"):
            add("beside bulk", "A trivial evaluation beside a bulk transfer, µs",
                measures.beside_bulk(legs, clients, 2_000_000, self._times(8), 400))  # fmt: skip
        if self.wants("clients"):
            for count in CLIENTS:
                if count <= self.most_clients:
                    add(f"active {count}", f"{count} active clients",
                        measures.active_clients(legs, count, 0.3 if self._quick else 1.0, self._times(4)))  # fmt: skip
        if self.wants("connections"):
            for opening in (1, 2, 50):
                add(f"connections {opening}", f"Connection set-up, {opening} at the same time",
                    measures.connections(legs, 100 if self._quick else 500, opening, self._times(4)))  # fmt: skip
        if self.wants("depth"):
            add("depth", "Pipelining: evaluations per second of one client",
                growth.pipelining(legs, self._times(2)))  # fmt: skip

    def vendor(self, legs, clients, add):
        """The same with both ends on the vendor's library."""
        self._latency(legs, clients, add, "vendor")
        add("vendor connections", "Connection set-up, vendor's library",
            measures.vendor_connections(legs, 10 if self._quick else 50))  # fmt: skip
        for size in (1_000_000, 16_000_000):
            add(f"vendor packed {size}", f"Packed Real64, lists of {in_bytes(size)}, vendor's library",
                measures.throughput(legs, clients, size, self._times(3), 16_000_000))  # fmt: skip

    def _latency(self, legs, clients, add, ends):
        where = "" if ends == "light" else ", vendor's library"
        rounds = self._times(40)
        add(f"{ends} trivial", f"A trivial evaluation{where}, µs",
            measures.round_trips(legs, clients, "time", rounds, 100))  # fmt: skip
        add(f"{ends} 100 KB", f"100 KB there and back{where}, µs",
            measures.round_trips(legs, clients, "echo 12500", self._times(16), 10))  # fmt: skip
        add(f"{ends} 5 MB", f"5 MB there and back{where}, ms",
            measures.round_trips(legs, clients, "echo 625000", self._times(8), 4, measures.MILLISECONDS))  # fmt: skip

    def growth(self, add, progress):
        """What one server needs as its pool and the number of its clients grow."""
        counts = (1, 10, 50) if self._quick else growth.counts()
        add("growth", "Clients of one server, each with a kernel", growth.pools(counts, progress))


def in_bytes(size):
    """1000000 -> "1 MB"."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"
