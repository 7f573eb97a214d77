"""What the gateway alone costs: CPU per audio message and bytes per idle connection with the synthetic engine, and the
same for the least that a libwebsockets server can do (Tests/StandIns/sink.c). The ratio is what carries over to other
machines."""

import contextlib
import signal
import socket
import struct
import subprocess
import tempfile
import time
import urllib.parse
from pathlib import Path

from listen import LINEAR16
from places import RELEASE_BINARY, STAND_INS
from processes import cpu_seconds, resident_bytes, wait_until
from server import Server, free_port

CONNECTIONS, SECONDS = 200, 10
IDLE_CONNECTIONS = 1000
COUNTED_FRAMES, COUNTED_SIZES, COUNTED_INTERVAL_MS = 500, [64, 640, 6400], 10
FRAMES = [("100 ms", 3200, 100), ("20 ms", 640, 20)]
PATH = "/v1/listen?" + urllib.parse.urlencode(LINEAR16)


class Load:
    """Tests/StandIns/load.c at work."""

    def __init__(self, port: int, key: str, connections: int, size: int, interval_ms: int, frames: int, *kind: str):
        command = [STAND_INS / "load", port, PATH, key, connections, size, interval_ms, frames, *kind]
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        _, opened, _, refused = self.process.stdout.readline().split()
        assert int(refused) == 0, f"{refused} of {connections} connections refused"

    def wait_sent(self) -> int:
        return int(self.process.stdout.readline().split()[1])

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


def message_cost(pid: int, port: int, key: str, size: int, interval_ms: int) -> float:
    """Microseconds of CPU per message."""
    load = Load(port, key, CONNECTIONS, size, interval_ms, SECONDS * 1000 // interval_ms)
    before = cpu_seconds(pid)
    sent = load.wait_sent()
    used = cpu_seconds(pid) - before
    load.end()
    return used / sent * 1e6


def connection_cost(pid: int, port: int, key: str) -> float:
    """Bytes of memory per open connection that carries nothing."""
    # The first connections bring in what is shared by all.
    warm_up = Load(port, key, 50, 0, 100, 0)
    warm_up.end()
    time.sleep(2)
    before = resident_bytes(pid)
    load = Load(port, key, IDLE_CONNECTIONS, 0, 100, 0)
    time.sleep(2)
    after = resident_bytes(pid)
    load.end()
    return (after - before) / IDLE_CONNECTIONS


def measure(pid: int, port: int, key: str) -> list[float]:
    costs = [connection_cost(pid, port, key)]
    for _, size, interval_ms in FRAMES:
        time.sleep(1)
        costs.append(message_cost(pid, port, key, size, interval_ms))
    return costs


def counts_per_message(sizes: list[int]) -> tuple[float, list[tuple[float, float]]]:
    """Heap allocations a second of a node that has no sessions, and then heap allocations and signals to other threads for each
    message, by its size: the second of audio that each is part of costs some of its own, so that sessions of the same length are
    compared. What the node does anyway, in the same time, is taken off."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "counts"
        preload = {"LD_PRELOAD": str(STAND_INS / "counter.so"), "COUNTER_FILE": str(file)}
        with Server(RELEASE_BINARY, HANSARD_ENGINE="synthetic", HANSARD_EVENT_LOOPS="1", **preload) as server:

            def counts() -> tuple[int, int]:
                return struct.unpack("2Q", file.read_bytes())

            def counted(size: int, frames: int) -> tuple[int, int, int]:
                load = Load(server.port, server.key, 10, size, COUNTED_INTERVAL_MS, frames)
                before = counts()
                sent = load.wait_sent()
                after = counts()
                load.end()
                return sent, after[0] - before[0], after[1] - before[1]

            counted(sizes[0], 100)
            server.wait_for_quiet()
            seconds, before = COUNTED_FRAMES * COUNTED_INTERVAL_MS / 1_000, counts()
            time.sleep(seconds)
            idle = [after - at_first for at_first, after in zip(before, counts())]
            for size in sizes:
                sent, allocations, signals = counted(size, COUNTED_FRAMES)
                found.append(((allocations - idle[0]) / sent, (signals - idle[1]) / sent))
    return idle[0] / seconds, found


@contextlib.contextmanager
def sink():
    port = free_port()
    process = subprocess.Popen([STAND_INS / "sink", str(port)], stdout=subprocess.PIPE)
    try:
        wait_until(lambda: accepts(port), 10, "the sink listens")
        yield process.pid, port
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main() -> None:
    with sink() as (pid, port):
        least = measure(pid, port, "none")
    # One event loop, as the sink has: with more, each wakes more often for less.
    with Server(RELEASE_BINARY, HANSARD_ENGINE="synthetic", HANSARD_EVENT_LOOPS="1") as server:
        ours = measure(server.pid, server.port, server.key)
    names = [f"bytes per idle connection, of {IDLE_CONNECTIONS}"]
    names += [f"microseconds CPU per message of {name}, {CONNECTIONS} sessions" for name, _, _ in FRAMES]
    print("Gateway alone (synthetic engine) against a C sink")
    print(f"{'':<55} {'sink':>9} {'hansard':>9} {'added':>9} {'ratio':>6}")
    for name, sink_cost, cost in zip(names, least, ours):
        print(f"{name:<55} {sink_cost:9.1f} {cost:9.1f} {cost - sink_cost:9.1f} {cost / sink_cost:6.2f}")
    idle, counts = counts_per_message(COUNTED_SIZES)
    print(f"Counts for each message, 10 sessions, one message each {COUNTED_INTERVAL_MS} ms")
    print(f"(what a node without sessions does is taken off: {idle:,.0f} allocations a second)")
    for size, (allocations, signals) in zip(COUNTED_SIZES, counts):
        print(f"{size:6} bytes ({size / 32:g} ms of audio): {allocations:6.2f} allocations, {signals:5.2f} signals to threads")
    print()


if __name__ == "__main__":
    main()
