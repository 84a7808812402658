"""Which measurements a comparison is made of, in which order, with how many repetitions."""
from tools.bench.compare import measures
from tools.bench.compare.pairs import MILLISECONDS, BesideBulk, RoundTrips, Throughput, VendorConnections

#: Bytes of the packed lists.
SIZES = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
CLIENTS = (1, 10, 100, 1000)

#: Larger lists are sent once in a sitting.
LARGE = 100_000_000


class Plan:
    """`light_pairs` and `vendor_pairs`: (key, title, measurement) for each measurement that is taken in `sittings`.
    `crowd` takes a function found(key, title, measurement), `growth` a function add(key, title, rows)."""

    def __init__(self, only=(), *, quick=False, trial=False, of_builds=False, largest=None):
        self._quick, self._trial, self._only, self._of_builds = quick or trial, trial, only, of_builds
        self._largest = largest or max(SIZES)
        self.sittings = 1 if of_builds or trial else 2 if quick else 8

    def wants(self, group):
        return not self._only or group in self._only

    def _times(self, count):
        return max(1, count // (40 if self._trial else 4)) if self._quick else count

    def _rounds(self, count, of_builds):
        """How many rounds a measurement has; where two builds are compared these are many, each of less, because the
        ratios are taken round by round."""
        return self._times(of_builds if self._of_builds else count)

    @property
    def most_clients(self):
        return 10 if self._trial else 100 if self._quick else max(CLIENTS)

    @property
    def _seconds(self):
        """How long active clients evaluate in a round."""
        return 0.1 if self._trial else 0.3 if self._quick or self._of_builds else 1.0

    @property
    def _connections(self):
        return 50 if self._trial else 100 if self._quick or self._of_builds else 500

    def light_pairs(self):
        """One client with light ends."""
        found = []
        if self.wants("latency"):
            found += self._latency("light", 5)
        if self.wants("throughput"):
            for size in SIZES[: 7 if self._quick else None]:
                if size > self._largest:
                    break
                rounds = self._rounds(1, 2) if size > LARGE else self._rounds(4, 20 if size < 10_000_000 else 8)
                found.append((f"packed {size}", f"Packed Real64, lists of {in_bytes(size)}", Throughput(size, rounds)))
        if self.wants("bulk"):
            bulk = BesideBulk(2_000_000, self._rounds(2, 8), self._times(400))
            found.append(("beside bulk", "A trivial evaluation beside a bulk transfer, µs", bulk))
        return found

    def vendor_pairs(self):
        """The same with both ends on the vendor's library."""
        if not self.wants("vendor"):
            return []
        found = self._latency("vendor", 3)
        found.append(("vendor connections", "Connection set-up, vendor's library", VendorConnections(self._times(8))))
        for size in (1_000_000, 16_000_000):
            title = f"Packed Real64, lists of {in_bytes(size)}, vendor's library"
            found.append((f"vendor packed {size}", title, Throughput(size, 1, 16_000_000)))
        return found

    def _latency(self, ends, rounds):
        where = "" if ends == "light" else ", vendor's library"
        return [
            (f"{ends} trivial", f"A trivial evaluation{where}, µs", RoundTrips("time", self._rounds(rounds, 24), 400)),
            (f"{ends} 100 KB", f"100 KB there and back{where}, µs", RoundTrips("echo 12500", self._rounds(2, 24), 10)),
            (f"{ends} 5 MB", f"5 MB there and back{where}, ms",
             RoundTrips("echo 625000", self._rounds(1, 8), 4, MILLISECONDS)),
        ]  # fmt: skip

    def needs_crowd(self):
        return any(map(self.wants, ("clients", "connections", "memory", "depth")))

    def crowd(self, legs, found):
        """Many light clients at the same time, and what one client does that opens or sends many things at once."""
        if self.wants("memory"):  # first: buffers that anything has needed once are there to be used again
            found("held", "Clients that do nothing", measures.held_clients(legs, self.most_clients))
        if self.wants("clients"):
            for count in CLIENTS:
                if count <= self.most_clients:
                    found(f"active {count}", f"{count} active clients",
                        measures.active_clients(legs, count, self._seconds, self._rounds(4, 8)))
        if self.wants("connections"):
            for opening in (1, 2, 50):
                found(f"connections {opening}", f"Connection set-up, {opening} at the same time",
                    measures.connections(legs, self._connections, opening,
                                             self._rounds(4, 12)))  # fmt: skip
        if self.wants("depth"):
            found("depth", "Pipelining: evaluations per second of one client",
                measures.pipelining(legs, self._rounds(2, 2), 0.1 if self._trial else 0.4))  # fmt: skip

    def growth(self, add, progress):
        """What one server needs as its pool and the number of its clients grow."""
        counts = (1, 10) if self._trial else (1, 10, 50) if self._quick else measures.counts()
        choosing, seconds = (20, 0.1) if self._trial else (200, 1.0)
        rows = measures.pools(counts, progress, choosing=choosing, seconds=seconds)
        add("growth", "Clients of one server, each with a kernel", rows)


def in_bytes(size):
    """1000000 -> "1 MB"."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"
