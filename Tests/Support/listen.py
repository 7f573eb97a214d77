"""A client of /v1/listen that checks every message it receives, and one that breaks the rules of WebSocket on demand."""

import base64
import contextlib
import http.client
import json
import os
import socket
import struct
import threading
import time
import urllib.parse
from dataclasses import dataclass

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from schemas import check_message

LINEAR16 = {"model": "nova-3", "encoding": "linear16", "sample_rate": "16000"}
SAMPLE_BYTES_PER_SECOND = 32_000


def token(key: str) -> dict[str, str]:
    return {"Authorization": f"Token {key}"}


def listen_path(parameters) -> str:
    """The path and query; parameters may be a list of pairs, to repeat a name."""
    return "/v1/listen?" + urllib.parse.urlencode(parameters)


@dataclass(frozen=True)
class Received:
    """A message, and how much audio had been sent when it came, in seconds."""

    message: dict
    audio_sent: float
    at: float


class ListenSession:
    """A session over the `websockets` package; a thread receives while the test sends."""

    def __init__(self, server, parameters=None, key: str | None = None, headers=None, subprotocols=None):
        self.bytes_per_second = SAMPLE_BYTES_PER_SECOND
        headers = headers if headers is not None else ({} if subprotocols else token(key or server.key))
        self._connection = connect(
            f"ws://127.0.0.1:{server.port}{listen_path(LINEAR16 if parameters is None else parameters)}",
            additional_headers=headers,
            subprotocols=subprotocols,
            proxy=None,
            close_timeout=30,
        )
        self.socket = self._connection.__enter__()
        self.request_id = self.socket.response.headers.get("dg-request-id")
        self.received: list[Received] = []
        self.failure: BaseException | None = None
        self.audio_sent = 0.0
        # By the monotonic clock.
        self.closed_at: float | None = None
        self._arrived = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            for text in self.socket:
                message = json.loads(text)
                check_message(message, len(text))
                with self._arrived:
                    self.received.append(Received(message, self.audio_sent, time.monotonic()))
                    self._arrived.notify_all()
        except ConnectionClosed:
            pass
        except BaseException as failure:
            self.failure = failure
        finally:
            self.closed_at = time.monotonic()
            with self._arrived:
                self._arrived.notify_all()

    # Sending

    def send(self, audio: bytes, pace: float = 0, milliseconds: int = 100) -> None:
        """Sends audio in pieces; pace 1 is real time, 0 as fast as it goes."""
        size = self.bytes_per_second * milliseconds // 1000
        start = time.monotonic()
        for offset in range(0, len(audio), size):
            piece = audio[offset : offset + size]
            self.socket.send(piece)
            self.audio_sent += len(piece) / self.bytes_per_second
            if pace:
                due = start + (offset + len(piece)) / self.bytes_per_second / pace
                time.sleep(max(0, due - time.monotonic()))

    def send_text(self, text: str) -> None:
        self.socket.send(text)

    def keep_alive(self) -> None:
        self.send_text('{"type": "KeepAlive"}')

    def finalize(self) -> None:
        self.send_text('{"type": "Finalize"}')

    def close_stream(self) -> None:
        self.send_text('{"type": "CloseStream"}')

    # Receiving

    def wait_for(self, condition, seconds: float = 30) -> dict:
        """The first message that meets the condition."""
        deadline = time.monotonic() + seconds
        with self._arrived:
            while True:
                for one in self.received:
                    if condition(one.message):
                        return one.message
                if self.failure:
                    raise self.failure
                if not self._reader.is_alive() or time.monotonic() > deadline:
                    raise AssertionError(f"no such message in {self.kinds()}, close {self.close()}")
                self._arrived.wait(0.1)

    def wait_closed(self, seconds: float = 60) -> tuple[int, str]:
        """The server's close code and reason."""
        self._reader.join(seconds)
        assert not self._reader.is_alive(), f"the server did not close within {seconds} s; got {self.kinds()}"
        if self.failure:
            raise self.failure
        return self.close()

    def close(self) -> tuple[int, str]:
        return self.socket.close_code, self.socket.close_reason

    def finish(self, seconds: float = 60) -> list[dict]:
        """Ends the session in good order; all its messages."""
        self.close_stream()
        code, reason = self.wait_closed(seconds)
        assert code == 1000, f"closed {code} {reason!r}"
        return self.messages()

    def messages(self, kind: str | None = None) -> list[dict]:
        return [one.message for one in list(self.received) if kind in (None, one.message["type"])]

    def kinds(self) -> list[str]:
        return [message["type"] for message in self.messages()]

    def finals(self) -> list[dict]:
        return [message for message in self.messages("Results") if message["is_final"]]

    def text(self) -> str:
        return text_of(self.finals())

    def abort(self) -> None:
        """Drops the connection with a TCP reset, as the kernel does for a killed process with unread data."""
        raw = self.socket.socket
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()

    def __enter__(self) -> "ListenSession":
        return self

    def __exit__(self, *_) -> None:
        self.socket.close_timeout = 1
        self._connection.__exit__(None, None, None)


def transcript_of(result: dict) -> str:
    return result["channel"]["alternatives"][0]["transcript"]


def text_of(results: list[dict]) -> str:
    return " ".join(filter(None, map(transcript_of, results)))


def live(nodes: list, key: str | None = None) -> list[ListenSession]:
    """A session on each, which may be the same, once all have their slots."""
    sessions = [ListenSession(node, LINEAR16 | {"interim_results": "true"}, key=key) for node in nodes]
    for session in sessions:
        session.send(bytes(32_000))
    for session in sessions:
        session.wait_for(lambda message: message["type"] == "Results")
    return sessions


def outcome(server, key: str) -> tuple[int, str]:
    """What becomes of one more who has nothing to say: its close, or the handshake's refusal."""
    try:
        with ListenSession(server, key=key) as session:
            with contextlib.suppress(ConnectionClosed):
                session.close_stream()
            return session.wait_closed(30)
    except InvalidStatus as refused:
        return refused.response.status_code, refused.response.headers["dg-error"]


# Handshakes that should be refused


@dataclass(frozen=True)
class Answer:
    """An HTTP answer to a WebSocket handshake."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict:
        return json.loads(self.body)


def handshake_headers() -> dict[str, str]:
    return {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    }


def handshake(server, parameters=None, headers=None) -> Answer:
    """Asks for a session and gives it up at once; whatever the server answers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        path = listen_path(LINEAR16 if parameters is None else parameters)
        connection.request("GET", path, headers=handshake_headers() | (headers or {}))
        response = connection.getresponse()
        body = b"" if response.status == 101 else response.read()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
    finally:
        connection.close()


def refusal(answer: Answer, status: int) -> dict:
    """Checks that a handshake was refused in the way Deepgram's SDKs read, and returns the body."""
    assert answer.status == status, f"{answer.status}, not {status}: {answer.body!r}"
    body = answer.json()
    assert set(body) >= {"err_code", "err_msg", "request_id"}, body
    assert answer.headers.get("dg-error") and answer.headers.get("dg-request-id") == body["request_id"], answer.headers
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 0
    return body


# Frames as they are


class RawSession:
    """A WebSocket connection without a library between the test and the wire."""

    CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

    def __init__(self, server, parameters=None, receive_buffer: int | None = None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(30)
        self.socket.connect(("127.0.0.1", server.port))
        path = listen_path(LINEAR16 if parameters is None else parameters)
        headers = handshake_headers() | token(server.key) | {"Host": f"127.0.0.1:{server.port}"}
        request = f"GET {path} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers.items()) + "\r\n"
        self.socket.sendall(request.encode())
        self.stream = self.socket.makefile("rb")
        status = self.stream.readline()
        assert b" 101 " in status, status
        self.request_id = ""
        while (line := self.stream.readline().strip()) != b"":
            name, _, value = line.decode().partition(":")
            if name.lower() == "dg-request-id":
                self.request_id = value.strip()

    def send(self, opcode: int, payload: bytes, final: bool = True) -> None:
        self.socket.sendall(self.frame(opcode, payload, final))

    @staticmethod
    def frame(opcode: int, payload: bytes, final: bool = True) -> bytes:
        """A masked frame (RFC 6455 section 5.2); its mask is zero, so the payload stays as it is."""
        first = (0x80 if final else 0) | opcode
        if len(payload) < 126:
            header = struct.pack("!BB", first, 0x80 | len(payload))
        elif len(payload) < 65536:
            header = struct.pack("!BBH", first, 0x80 | 126, len(payload))
        else:
            header = struct.pack("!BBQ", first, 0x80 | 127, len(payload))
        return header + bytes(4) + payload

    def receive(self) -> tuple[int, bytes] | None:
        """The next frame's opcode and payload; None when the connection has ended."""
        try:
            header = self.stream.read(2)
            if len(header) < 2:
                return None
            length = header[1] & 0x7F
            if length == 126:
                (length,) = struct.unpack("!H", self.stream.read(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", self.stream.read(8))
            return header[0] & 0x0F, self.stream.read(length)
        except ConnectionResetError:
            return None

    def wait_closed(self) -> tuple[int, str] | None:
        """The server's close code and reason; None if the connection ended without."""
        while frame := self.receive():
            opcode, payload = frame
            if opcode == self.CLOSE:
                return (struct.unpack("!H", payload[:2])[0], payload[2:].decode()) if payload else (1005, "")
            if opcode == self.TEXT:
                check_message(json.loads(payload), len(payload))
        return None

    def __enter__(self) -> "RawSession":
        return self

    def __exit__(self, *_) -> None:
        self.stream.close()
        self.socket.close()
