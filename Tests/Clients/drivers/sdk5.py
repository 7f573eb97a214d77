"""Drives deepgram-sdk 5.x: as 6.x, but control messages are one model."""

from deepgram.extensions.types.sockets import ListenV1ControlMessage

import sdk6
import streaming


class Driver(sdk6.Driver):
    def keep_alive(self):
        self.connection.send_control(ListenV1ControlMessage(type="KeepAlive"))

    def finalize(self):
        self.connection.send_control(ListenV1ControlMessage(type="Finalize"))

    def close_stream(self):
        self.connection.send_control(ListenV1ControlMessage(type="CloseStream"))


if __name__ == "__main__":
    streaming.run(Driver)
