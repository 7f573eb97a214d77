"""Servers with the engines that the listen protocol's tests run with; each is started when the first test asks for it."""

from contextlib import ExitStack

import speech
from server import Server
from transcribe import TranscribeStandIn

LOCAL, SYNTHETIC, TRANSCRIBE = "pocketsphinx", "synthetic", "amazon-transcribe"
# Live would do as well, but audio that tests send at once should not wait for its time.
TRANSCRIBE_SPEED = 8


class EngineServers:
    """One server for each engine, for as long as this lives."""

    def __init__(self, **settings: str):
        self._settings = settings
        self._servers: dict[str, Server] = {}
        self._started = ExitStack()

    def __getitem__(self, engine: str) -> Server:
        if engine not in self._servers:
            # With room for as many sessions as any one test opens.
            specific = {"HANSARD_ENGINE_SLOTS": "4"} if engine == LOCAL else {}
            if engine == TRANSCRIBE:
                stand_in = self._started.enter_context(TranscribeStandIn(mode="words", lead_seconds=None))
                specific = {"HANSARD_ENGINE_SPEED": str(TRANSCRIBE_SPEED), **stand_in.environment()}
            server = Server(HANSARD_ENGINE=engine, **self._settings, **specific)
            self._servers[engine] = self._started.enter_context(server)
        return self._servers[engine]

    def close(self) -> None:
        self._started.close()


def engine_of(server: Server) -> str:
    return server.settings["HANSARD_ENGINE"]


def check_text(server: Server, text: str, name: str) -> None:
    """What was heard of a recording that the local engine hears without a mistake; others may mistake a word."""
    spoken, heard = speech.words(speech.transcripts()[name]), speech.words(text)
    if engine_of(server) == LOCAL:
        assert heard == spoken
    else:
        assert len(heard) == len(spoken) and speech.word_errors(spoken, heard) <= 1, heard
