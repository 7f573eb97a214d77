"""A proxy before an AWS emulator that does to calls what networks and AWS itself do; `aws_faults` says what that is.

Requests are forwarded as they came, so that their signatures stay true. A fault is a function of an `Exchange`; rules
say which exchanges it befalls and how often. Give each service a proxy of its own (`AWS_ENDPOINT_URL_DYNAMODB`,
`AWS_ENDPOINT_URL_S3`), so that one can be away while the other is there.
"""

import http.client
import http.server
import re
import socket
import struct
import threading
import time
import urllib.parse
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Callable

from server import free_port

REMEMBERED_REQUESTS = 10_000
UPSTREAM_SECONDS = 60
# Of the connection, not of the message (RFC 9110, section 7.6.1); `Expect` has been answered by then.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "proxy-connection", "te", "upgrade"}


S3_OPERATIONS_IN_PARTS = {
    "GET": "ListParts",
    "PUT": "UploadPart",
    "POST": "CompleteMultipartUpload",
    "DELETE": "AbortMultipartUpload",
}


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    at: float

    def header(self, name: str) -> str:
        return next((value for given, value in self.headers if given.lower() == name.lower()), "")

    @property
    def path(self) -> str:
        return urllib.parse.unquote(urllib.parse.urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.target).query, keep_blank_values=True))

    @property
    def service(self) -> str:
        if self.header("X-Amz-Target").startswith("DynamoDB"):
            return "dynamodb"
        if self.path.startswith(("/latest/", "/v2/credentials")):
            return "metadata"
        return "sts" if self.body.startswith(b"Action=") or b"&Action=" in self.body[:4096] else "s3"

    @property
    def operation(self) -> str:
        """The API's name of it, as policies and logs have it."""
        if self.service == "dynamodb":
            return self.header("X-Amz-Target").split(".")[-1]
        if self.service == "sts":
            return dict(urllib.parse.parse_qsl(self.body.decode()))["Action"]
        return self._s3_operation() if self.service == "s3" else f"{self.method} {self.path}"

    def _s3_operation(self) -> str:
        if "uploadId" in self.query:
            return S3_OPERATIONS_IN_PARTS[self.method]
        if "uploads" in self.query:
            return "CreateMultipartUpload" if self.method == "POST" else "ListMultipartUploads"
        of_a_bucket = "/" not in self.path.strip("/")
        if of_a_bucket and self.method == "GET":
            return "ListObjectsV2" if self.query.get("list-type") == "2" else "ListObjects"
        names = {"GET": "Get", "PUT": "Put", "HEAD": "Head", "DELETE": "Delete", "POST": "Post"}
        return names.get(self.method, self.method) + ("Bucket" if of_a_bucket else "Object")

    @property
    def credential(self) -> list[str]:
        """Of the signature: access key, day, region, service, `aws4_request`; empty if it is not signed."""
        scope = re.search(r"Credential=([^,\s]+)", self.header("Authorization"))
        text = scope.group(1) if scope else self.query.get("X-Amz-Credential", "")
        return text.split("/") if text else []

    @property
    def signed_at(self) -> datetime | None:
        text = self.header("X-Amz-Date") or self.query.get("X-Amz-Date", "")
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc) if text else None


@dataclass(frozen=True)
class Response:
    """What is sent back."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False, default=b"")


class Dropped(Exception):
    """The connection is to be reset without an answer."""


class Exchange:
    """A request on its way; a fault may forward it, answer it, wait, or drop it."""

    def __init__(self, request: Request, proxy: "FaultyAWS", ended: threading.Event):
        self.request = request
        self._proxy = proxy
        self._ended = ended

    def forward(self) -> Response:
        """Has the emulator do it, and gives its answer, which the client has not got yet."""
        return self._proxy.ask_upstream(self.request)

    def wait(self, seconds: float | None = None) -> bool:
        """Waits; true at once if meanwhile the fault has ended or the proxy has stopped."""
        return self._ended.wait(seconds)

    def drop(self) -> None:
        raise Dropped


Fault = Callable[[Exchange], Response]
Condition = Callable[[Request], bool]


@dataclass(eq=False)
class Rule:
    """A fault in force. `hits` is whom it has befallen."""

    fault: Fault
    condition: Condition
    times: int | None
    hits: list[Request] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


class FaultyAWS:
    """Listens on a free port of 127.0.0.1 and forwards to an emulator, faults permitting."""

    def __init__(self, upstream: str):
        self._upstream = urllib.parse.urlsplit(upstream)
        self.port = free_port()
        self.requests: deque[Request] = deque(maxlen=REMEMBERED_REQUESTS)
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # What befalls calls

    def fault(self, fault: Fault, when: Condition = lambda _: True, times: int | None = None) -> Rule:
        """Puts a fault in force. Of several that fit an exchange, the first given that is not used up befalls it."""
        rule = Rule(fault, when, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self, *rules: Rule) -> None:
        """Ends these faults, or all; whoever waits in them goes on."""
        with self._lock:
            ending = list(rules or self._rules)
            self._rules = [rule for rule in self._rules if rule not in ending]
        for rule in ending:
            rule.ended.set()

    def go_away(self) -> None:
        """Nobody listens any more, and open connections are reset."""
        if server := self._server:
            self._server = None
            server.end()

    def come_back(self) -> None:
        """Listens again, on the same port."""
        assert self._server is None, "it is there"
        self._server = _Server(self)

    def counts(self, since: float = 0) -> dict[str, int]:
        """How many requests came by operation, since a time of `time.monotonic()`."""
        counted: dict[str, int] = {}
        for request in list(self.requests):
            if request.at >= since:
                counted[request.operation] = counted.get(request.operation, 0) + 1
        return counted

    def __enter__(self) -> "FaultyAWS":
        self.come_back()
        return self

    def __exit__(self, *_) -> None:
        self.clear()
        self.go_away()

    # How it works

    def answer(self, request: Request) -> Response:
        self.requests.append(request)
        with self._lock:
            rule = next((one for one in self._rules if one.condition(request) and one.times != len(one.hits)), None)
            if rule:
                rule.hits.append(request)
        if rule is None:
            return self.ask_upstream(request)
        return rule.fault(Exchange(request, self, rule.ended))

    def ask_upstream(self, request: Request) -> Response:
        """One connection for each request: none is ever sent twice because a kept connection had been closed."""
        upstream = http.client.HTTPConnection(self._upstream.hostname, self._upstream.port, timeout=UPSTREAM_SECONDS)
        try:
            upstream.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers:
                if name.lower() not in HOP_BY_HOP | {"content-length"}:
                    upstream.putheader(name, value)
            if request.body or request.header("Content-Length"):
                upstream.putheader("Content-Length", str(len(request.body)))
            upstream.endheaders(request.body or None)
            answered = upstream.getresponse()
            body = answered.read()
        except OSError as failure:
            # The emulator is away: so is AWS, then.
            raise Dropped from failure
        finally:
            upstream.close()
        headers = tuple((n, v) for n, v in answered.getheaders() if n.lower() not in HOP_BY_HOP)
        return Response(answered.status, headers, body)


class _Server(http.server.ThreadingHTTPServer):
    """The listening socket and its connections; gone for good once it ends."""

    request_queue_size = 1024
    daemon_threads = True

    def __init__(self, proxy: FaultyAWS):
        self.proxy = proxy
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(("127.0.0.1", proxy.port), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self.shutdown()
        self._thread.join()
        with self._open_lock:
            for connection in self._open:
                _reset_on_close(connection)
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it is closed already
        # Without waiting for the connections' threads, some of which hang as they should.
        socket.socket.close(self.socket)

    def process_request(self, request, client_address) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        """Closes without a FIN of its own first, so that a reset is one."""
        with self._open_lock:
            self._open.discard(request)
        request.close()

    def handle_error(self, request, client_address) -> None:
        """A client that has gone is no error here."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # An answer leaves in one piece.
    wbufsize = -1

    def _exchange(self) -> None:
        body = self._body()
        request = Request(self.command, self.path, tuple(self.headers.items()), body, time.monotonic())
        try:
            response = self.server.proxy.answer(request)
        except Dropped:
            _reset_on_close(self.connection)
            self.close_connection = True
            return
        names = {name.lower() for name, _ in response.headers}
        self.send_response_only(response.status)
        for name, value in response.headers:
            self.send_header(name, value)
        if "content-length" not in names and response.status != 204:
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else response.body)

    def handle_expect_100(self) -> bool:
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def log_message(self, *_) -> None:
        """`FaultyAWS.requests` says more."""

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _exchange


def _reset_on_close(connection: socket.socket) -> None:
    """Has the kernel send RST, as it does for a process that dies with unread data (socket(7), SO_LINGER)."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass  # it is closed already
