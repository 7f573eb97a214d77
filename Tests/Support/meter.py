"""A meter elsewhere that is sent usage events, with all the manners that such a one can have."""

import json
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cloudevents.core.formats.json import JSONFormat
from standardwebhooks import Webhook

from contract import check

COUNTERS = ("audio_ms", "connected_ms", "engine_ms", "sessions")
# What a request may meet instead of being taken: a status, with fields; silence, for so many seconds; or the end of the
# connection once everything is stored.
LOST = "lost"


def check_event(event: dict, source: str) -> None:
    """It is what CloudEvents and the document say that it should be, and what ours say about themselves."""
    check(event, {"$ref": "#/components/schemas/UsageEvent"}, event["id"])
    read = JSONFormat().read(None, json.dumps(event))
    assert read.get_specversion() == "1.0" and read.get_type() == "hansard.usage" and read.get_source() == source
    data = read.get_data()
    numbers = ("segment", "revision", "channels", *COUNTERS)
    assert all(type(data[name]) is int for name in numbers), data
    start = data["start_time"]
    assert event["id"] == f"{data['session_id']}.{data['segment']}.{start[:13].replace('-', '')}.{data['revision']}"
    assert start <= event["time"] < data["end_time"] and len(event["id"]) <= 100


class Meter:
    """Counts each event once, by its source and id, and remembers what it was sent how often."""

    def __init__(self, secret: str, source: str, authorization: str):
        self.secret, self.source, self.authorization = secret, source, authorization
        self.manners: deque = deque()
        # Decides what else becomes of events: a status, or None.
        self.judge: Callable[[list[dict]], int | None] = lambda events: None
        self.events: dict[str, dict] = {}
        self.arrivals: Counter = Counter()
        self.statuses: Counter = Counter()
        self.faults: list[str] = []
        self.port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1/events?via=hansard"

    def open(self) -> "Meter":
        """Takes requests, on the port that it had before."""
        meter = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                meter.take(self, body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def close(self) -> None:
        """Is not there any more."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def take(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        events = json.loads(body)
        try:
            self.check(handler, body, events)
        except Exception as fault:
            self.faults.append(f"{type(fault).__name__}: {fault}")
        manner = self.manners.popleft() if self.manners else self.judge(events)
        if isinstance(manner, float):
            time.sleep(manner)
        if manner is None or manner == LOST or isinstance(manner, float):
            for event in events:
                self.arrivals[event["id"]] += 1
                known = self.events.setdefault(event["id"], event)
                if known != event:
                    self.faults.append(f"two events are called {event['id']}: {known} and {event}")
        self.statuses[manner or 200] += 1
        handler.close_connection = True
        if manner == LOST or isinstance(manner, float):
            return
        status, fields = manner if isinstance(manner, tuple) else (manner or 204, {})
        handler.send_response(status)
        for name, value in ({"Content-Length": "0", "Connection": "close"} | fields).items():
            handler.send_header(name, value)
        handler.end_headers()

    def check(self, handler: BaseHTTPRequestHandler, body: bytes, events: list[dict]) -> None:
        assert handler.path == "/api/v1/events?via=hansard"
        assert handler.headers["Content-Type"] == "application/cloudevents-batch+json"
        assert handler.headers["Authorization"] == self.authorization
        Webhook(self.secret).verify(body, dict(handler.headers))
        assert events and len({event["id"] for event in events}) == len(events)
        for event in events:
            check_event(event, self.source)

    def sums(self) -> dict[str, dict[str, int]]:
        """What each subject has used, all events together."""
        sums: dict = defaultdict(Counter)
        for event in list(self.events.values()):
            for name in COUNTERS:
                sums[event["subject"]][name] += event["data"][name]
        return {subject: {name: sum[name] for name in COUNTERS} for subject, sum in sums.items()}
