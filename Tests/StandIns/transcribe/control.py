"""The control port: plain HTTP and JSON, by which a test orders faults and asks what was seen.

    GET    /ready       the WebSocket's port, and the settings
    GET    /streams     a report of each handshake since the start or the last reset, in their order
    GET    /streams/N   the N-th of them
    GET    /faults      those ordered, and how often each has befallen a stream
    POST   /faults      orders one; the fields are those of faults.Fault
    DELETE /faults      takes all back
    PATCH  /settings    changes those of settings.Settings for streams to come
    POST   /reset       resets all connections, and forgets all that was ordered, changed and seen
"""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .faults import Fault
from .server import StandIn

ANSWER_SECONDS = 30


class Control:
    """Answers on threads of its own; whatever touches the stand-in is done on its event loop."""

    def __init__(self, stand_in: StandIn, port: int):
        self._stand_in = stand_in
        self._loop = asyncio.get_running_loop()
        control = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body in one segment: apart, the second waits 40 ms for the client's delayed acknowledgement.
            wbufsize = -1

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                status, value = control.answer(self.command, self.path, body)
                text = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any

            def log_message(self, *_):
                """Tests ask often."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="control", daemon=True).start()

    def close(self) -> None:
        """Stops taking requests. Waits for its thread, so it must not be called on the event loop."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict | list]:
        """On a thread of the control port."""
        try:
            value = json.loads(body) if body else {}
            if not isinstance(value, dict):
                raise ValueError("the body must be an object")
            done = asyncio.run_coroutine_threadsafe(self._do(method, path, value), self._loop)
            return 200, done.result(ANSWER_SECONDS)
        except LookupError:
            return 404, {"error": f"nothing at {method} {path}"}
        except ValueError as error:
            return 400, {"error": str(error)}

    async def _do(self, method: str, path: str, value: dict) -> dict | list:
        stand_in = self._stand_in
        match method, path.strip("/").split("/"):
            case "GET", ["ready"]:
                return {"port": stand_in.port, "settings": stand_in.settings.public()}
            case "GET", ["streams"]:
                return [report.public() for report in stand_in.reports]
            case "GET", ["streams", number] if number.isdecimal() and int(number) > 0:
                return stand_in.reports[int(number) - 1].public()
            case "GET", ["faults"]:
                return [fault.public() for fault in stand_in.faults.ordered]
            case "POST", ["faults"]:
                return stand_in.faults.order(Fault.ordered(value)).public()
            case "DELETE", ["faults"]:
                stand_in.faults.clear()
            case "PATCH", ["settings"]:
                await stand_in.change(value)
            case "POST", ["reset"]:
                stand_in.reset()
            case _:
                raise LookupError
        return {"settings": stand_in.settings.public()}
