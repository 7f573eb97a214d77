"""What the drivers share: the steps of a session, the pace, and the JSON lines they print.

A driver runs in the virtual environment of one SDK version, so this file uses nothing but the standard library and the
`websockets` package that every one of those SDKs brings.

    python sdk7.py --url http://127.0.0.1:8080 --key KEY --wav FILE --options '{"model": "nova-3"}' --steps STEPS

STEPS is a JSON list, carried out in order:
    {"audio": [from, to]}           sends this part of the recording, in seconds; `to` may be null
    {"keep_alive": s, "every": t}   sends no audio for s seconds, and KeepAlive every t seconds; none if t is null
    "finalize"                      sends Finalize and waits for its acknowledgement
    "close"                         sends CloseStream and waits until the server has closed
    "finish"                        what an application does that trusts its SDK to end the session
Each line printed has `event` (open, raw, message, error, close, sent), `at` (seconds since the start) and
`audio` (seconds of audio sent so far). `raw` is a message as it came; `message` is what the SDK made of it.
"""

import argparse
import json
import sys
import threading
import time
import wave

import websockets.sync.connection

WAIT_SECONDS = 60


class Log:
    """Prints events, from any thread, and lets the steps wait for them."""

    def __init__(self):
        self.started = time.monotonic()
        self.audio_sent = 0.0
        self.events = []
        self._changed = threading.Condition()

    def write(self, event, **details):
        line = {"event": event, "at": time.monotonic() - self.started, "audio": self.audio_sent, **details}
        with self._changed:
            self.events.append(line)
            print(json.dumps(line, default=str), flush=True)
            self._changed.notify_all()

    def wait_for(self, condition):
        deadline = time.monotonic() + WAIT_SECONDS
        with self._changed:
            while not condition(self.events):
                if time.monotonic() > deadline or any(e["event"] == "close" for e in self.events):
                    return condition(self.events)
                self._changed.wait(0.1)
        return True


def tap_messages(log):
    """Logs every message before the SDK sees it. All SDKs receive through this one method of `websockets`."""
    Connection = websockets.sync.connection.Connection
    receive = Connection.recv

    def recv(self, *arguments, **named):
        message = receive(self, *arguments, **named)
        log.write("raw", message=json.loads(message) if isinstance(message, str) else repr(message))
        return message

    Connection.recv = recv


class Audio:
    """A recording's bytes, cut by time. Without `encoding` in the options the first cut brings the WAV header along."""

    def __init__(self, path, as_wav):
        with wave.open(path, "rb") as recording:
            frame = recording.getnchannels() * recording.getsampwidth()
            self.rate = recording.getframerate() * frame
            self.bytes = recording.readframes(recording.getnframes())
        self.header = b""
        if as_wav:
            with open(path, "rb") as file:
                self.header = file.read()[: -len(self.bytes)]
        self.frame = frame

    def cut(self, start, end):
        first = round(start * self.rate) // self.frame * self.frame
        last = len(self.bytes) if end is None else round(end * self.rate) // self.frame * self.frame
        header = self.header if first == 0 else b""
        return header + self.bytes[first:last]


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True, help="http://host:port")
    parser.add_argument("--key")
    parser.add_argument("--access-token")
    parser.add_argument("--wav", required=True)
    parser.add_argument("--options", type=json.loads, required=True)
    parser.add_argument("--steps", type=json.loads, required=True)
    parser.add_argument("--pace", type=float, default=1.0, help="1 is real time, 0 as fast as it goes")
    parser.add_argument("--chunk-ms", type=int, default=100)
    return parser.parse_args()


def run(driver_class):
    """Carries out the steps with a driver: open, audio, keep_alive, finalize, close_stream, finish, wait_closed."""
    arguments = parse_arguments()
    log = Log()
    tap_messages(log)
    audio = Audio(arguments.wav, as_wav="encoding" not in arguments.options)
    driver = driver_class(arguments, log)
    try:
        driver.open()
        for step in arguments.steps:
            carry_out(step, driver, audio, arguments, log)
    except Exception as failure:
        log.write("error", where="driver", type=type(failure).__name__, text=str(failure), status=status_of(failure))
        sys.exit(1)


def carry_out(step, driver, audio, arguments, log):
    if step == "finalize":
        before = acknowledgements(log.events)
        driver.finalize()
        log.write("sent", what="Finalize")
        log.wait_for(lambda events: acknowledgements(events) > before)
    elif step == "close":
        driver.close_stream()
        log.write("sent", what="CloseStream")
        driver.wait_closed()
    elif step == "finish":
        log.write("sent", what="finish")
        driver.finish()
    elif "audio" in step:
        send_audio(audio.cut(*step["audio"]), driver, audio.rate, arguments, log)
    elif "keep_alive" in step:
        pause(step["keep_alive"], step["every"], driver, log)
    else:
        raise ValueError(f"unknown step {step}")


def send_audio(data, driver, rate, arguments, log):
    size = rate * arguments.chunk_ms // 1000
    start = time.monotonic()
    for offset in range(0, len(data), size):
        piece = data[offset : offset + size]
        driver.audio(piece)
        log.audio_sent += len(piece) / rate
        if arguments.pace:
            time.sleep(max(0, start + (offset + len(piece)) / rate / arguments.pace - time.monotonic()))


def pause(seconds, every, driver, log):
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, every or left))
        if every and time.monotonic() < end:
            driver.keep_alive()
            log.write("sent", what="KeepAlive")


def acknowledgements(events):
    """How many finals that answer a Finalize have come, as they were on the wire."""
    return sum(e["event"] == "raw" and e["message"].get("from_finalize") is True for e in events)


def status_of(failure):
    """The HTTP status of a refused handshake, wherever the SDK and its `websockets` keep it."""
    response = getattr(failure, "response", None)
    return getattr(response, "status_code", None) or getattr(failure, "status_code", None)
