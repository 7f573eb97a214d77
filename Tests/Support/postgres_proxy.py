"""A proxy before a Postgres cluster that does to statements what networks do: it loses them, their answers, or time.

Bytes are passed on as they come. A statement is known by its text, which libpq sends whole and in one piece
(PQsendQueryParams); what is not chosen by a rule passes.
"""

import random
import socket
import struct
import threading
from pathlib import Path
from typing import Callable

CHUNK = 1 << 16
REPLY_SECONDS = 20

Fault = Callable[["Passage", bytes], None]
Condition = Callable[[bytes], bool]


def holding(*texts: str) -> Condition:
    """Statements with any of these texts."""
    return lambda data: any(text.encode() in data for text in texts)


# Faults


def lose_request(passage: "Passage", data: bytes) -> None:
    """It never reaches Postgres; the connection is reset."""
    passage.drop()


def lose_reply(passage: "Passage", data: bytes) -> None:
    """Postgres has done it, and the client does not learn so: the connection is reset."""
    passage.forward_unanswered(data)
    passage.drop()


def hang_after_commit(seconds: float) -> Fault:
    """Postgres has done it; the client waits in vain, then the connection is reset."""

    def fault(passage: "Passage", data: bytes) -> None:
        passage.forward_unanswered(data)
        passage.wait(seconds)
        passage.drop()

    return fault


def late_request(seconds: float) -> Fault:
    """Done late, even if the client has long given up: what a tombstone is there for."""

    def fault(passage: "Passage", data: bytes) -> None:
        passage.wait(seconds)
        passage.forward(data)

    return fault


def swallow(passage: "Passage", data: bytes) -> None:
    """It never reaches Postgres, and nobody is told: a network that loses everything."""


def deafen(passage: "Passage", data: bytes) -> None:
    """For `LISTEN`: whoever believes to be told of changes listens where nobody speaks. The length stays as it is."""
    passage.forward(data.replace(b"hansard_access", b"hansard_nobody"))


def pass_on(passage: "Passage", data: bytes) -> None:
    """Nothing befalls it: for what is to be counted."""
    passage.forward(data)


def recording(statements: list[bytes]) -> Fault:
    """Nothing befalls it: each is written down."""

    def fault(passage: "Passage", data: bytes) -> None:
        # Parse or Query, in which a statement's text is; what opens and ends connections has none.
        if data[:1] in (b"P", b"Q"):
            statements.append(data)
        passage.forward(data)

    return fault


class FaultyPostgres:
    """Listens on a free port of 127.0.0.1 and forwards to a cluster's Unix socket, faults permitting."""

    def __init__(self, folder: Path):
        self.upstream = str(folder / ".s.PGSQL.5432")
        self._rules: list[tuple[Fault, Condition]] = []
        self.hits = 0
        self.stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        self._passages: list[Passage] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def fault(self, fault: Fault, when: Condition) -> None:
        """Of several that fit a statement, the first given befalls it."""
        self._rules.append((fault, when))

    def clear(self) -> None:
        """No more faults; those that have begun go on."""
        self._rules = []

    def fault_for(self, data: bytes) -> Fault | None:
        found = next((fault for fault, condition in self._rules if condition(data)), None)
        self.hits += found is not None
        return found

    def _accept(self) -> None:
        while not self.stopped.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._passages.append(Passage(self, client))

    def __enter__(self) -> "FaultyPostgres":
        return self

    def __exit__(self, *_) -> None:
        self.stopped.set()
        # Closing alone does not end an `accept` that has begun.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for passage in self._passages:
            passage.drop()


class Passage:
    """One connection on its way through; two threads carry its bytes."""

    def __init__(self, proxy: FaultyPostgres, client: socket.socket):
        self._proxy = proxy
        self._client = client
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(proxy.upstream)
        self._is_muted = False
        self._replied = threading.Event()
        for carry in (self._up, self._down):
            threading.Thread(target=carry, daemon=True).start()

    def forward(self, data: bytes) -> None:
        self._server.sendall(data)

    def forward_unanswered(self, data: bytes) -> None:
        """Has Postgres do it, and keeps its answer from the client."""
        self._is_muted = True
        self.forward(data)
        self._replied.wait(REPLY_SECONDS)

    def wait(self, seconds: float) -> None:
        self._proxy.stopped.wait(seconds)

    def drop(self) -> None:
        """Resets the client's connection and ends Postgres's."""
        # A connection lives on while a thread waits for it, even if it is closed: hence the shutdowns.
        for end, how in ((self._client, socket.SHUT_RD), (self._server, socket.SHUT_RDWR)):
            try:
                if end is self._client:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(how)
            except OSError:
                pass  # it is closed already
            end.close()

    def _up(self) -> None:
        try:
            while data := self._client.recv(CHUNK):
                if fault := self._proxy.fault_for(data):
                    fault(self, data)
                else:
                    self.forward(data)
            self._server.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one end has gone; the other follows
        self._end(self._server)

    def _down(self) -> None:
        is_there = True
        try:
            while data := self._server.recv(CHUNK):
                if self._is_muted:
                    self._replied.set()
                    continue
                try:
                    if is_there:
                        self._client.sendall(data)
                except OSError:
                    # What the client has asked for goes on without it.
                    is_there = False
        except OSError:
            pass
        self._end(self._client)

    @staticmethod
    def _end(end: socket.socket) -> None:
        try:
            end.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is closed already


def one_in(number: int, chance: random.Random, among: Condition) -> Condition:
    """Befalls about one of so many of those."""
    lock = threading.Lock()

    def condition(data: bytes) -> bool:
        with lock:
            return among(data) and chance.randrange(number) == 0

    return condition
