"""Drives deepgram-sdk 6.x and 7.x: a context manager, one call per control message."""

import inspect
import threading

from deepgram import DeepgramClient
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment

import streaming


def environment(url):
    """Base URLs of the server under test; 7.x has one more than 6.x."""
    websocket_url = url.replace("http", "ws", 1)
    urls = {"base": url, "production": websocket_url, "agent": websocket_url, "agent_rest": url}
    known = inspect.signature(DeepgramClientEnvironment.__init__).parameters
    return DeepgramClientEnvironment(**{name: value for name, value in urls.items() if name in known})


class Driver:
    def __init__(self, arguments, log):
        self.log = log
        self.options = arguments.options
        # An empty key, so that the SDK does not look for one in the environment.
        secret = {"access_token": arguments.access_token} if arguments.access_token else {"api_key": arguments.key or ""}
        self.client = DeepgramClient(environment=environment(arguments.url), **secret)

    def open(self):
        self.context = self.client.listen.v1.connect(**self.options)
        self.connection = self.context.__enter__()
        self.connection.on(EventType.OPEN, lambda _: self.log.write("open"))
        self.connection.on(EventType.MESSAGE, self.received)
        self.connection.on(EventType.ERROR, self.failed)
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()

    def listen(self):
        try:
            self.connection.start_listening()
        except Exception as failure:  # 5.x lets validation errors out of its loop
            self.failed(failure)

    def received(self, message):
        value = message.dict() if hasattr(message, "dict") else message
        self.log.write("message", type=type(message).__name__, value=value)

    def failed(self, failure):
        self.log.write("error", where="sdk", type=type(failure).__name__, text=str(failure))

    def audio(self, data):
        self.connection.send_media(data)

    def keep_alive(self):
        self.connection.send_keep_alive()

    def finalize(self):
        self.connection.send_finalize()

    def close_stream(self):
        self.connection.send_close_stream()

    def wait_closed(self):
        self.listener.join(streaming.WAIT_SECONDS)
        socket = self.connection._websocket
        self.log.write("close", code=socket.close_code, reason=socket.close_reason)
        self.context.__exit__(None, None, None)

    def finish(self):
        """Leaving the `with` block without CloseStream: the client closes, the server did not ask for it."""
        self.context.__exit__(None, None, None)
        self.wait_closed()


if __name__ == "__main__":
    streaming.run(Driver)
