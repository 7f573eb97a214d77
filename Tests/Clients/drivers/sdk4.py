"""Drives deepgram-sdk 4.x: event handlers, threads of its own."""

import json

from deepgram import DeepgramClient, DeepgramClientOptions, LiveTranscriptionEvents

import streaming


class Driver:
    def __init__(self, arguments, log):
        self.log = log
        self.options = arguments.options
        config = DeepgramClientOptions(url=arguments.url, options={"termination_exception_connect": True})
        client = DeepgramClient(
            api_key=arguments.key or "", access_token=arguments.access_token or "", config=config
        )
        self.connection = client.listen.websocket.v("1")
        for event in LiveTranscriptionEvents.__members__.values():
            self.connection.on(event, self.handler(event))

    def handler(self, event):
        def handle(_connection, *arguments, **named):
            # Results come by name (`result=`), errors of the SDK's own by position.
            value = next(iter([*arguments, *named.values()]), None)
            details = value.to_dict() if hasattr(value, "to_dict") else value
            if event == LiveTranscriptionEvents.Open:
                self.log.write("open")
            elif event == LiveTranscriptionEvents.Close:
                pass  # comes before the SDK has closed; wait_closed tells the code
            elif event in (LiveTranscriptionEvents.Error, LiveTranscriptionEvents.Unhandled):
                self.log.write("error", where="sdk", type=str(event), text=details)
            else:
                self.log.write("message", type=type(value).__name__, value=details)

        return handle

    def open(self):
        # A dictionary is passed on as it is; LiveOptions knows no parameter newer than the SDK.
        if not self.connection.start(self.options):
            raise ConnectionError("start() returned False")
        self.socket = self.connection._socket

    def audio(self, data):
        self.connection.send(data)

    def keep_alive(self):
        self.connection.keep_alive()

    def finalize(self):
        self.connection.finalize()

    def close_stream(self):
        # finish() would close half a second after its CloseStream, whether the last results have come or not.
        self.connection.send(json.dumps({"type": "CloseStream"}))

    def wait_closed(self):
        self.connection._listen_thread.join(streaming.WAIT_SECONDS)
        self.log.write("close", code=self.socket.close_code, reason=self.socket.close_reason)

    def finish(self):
        self.connection.finish()
        self.log.write("close", code=self.socket.close_code, reason=self.socket.close_reason)


if __name__ == "__main__":
    streaming.run(Driver)
