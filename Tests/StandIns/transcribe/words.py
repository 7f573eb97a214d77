"""Real words of real speech: PocketSphinx with the American English model of its wheel.

Each utterance is decoded as if it were the first: its words follow from its own audio alone, whoever spoke before.
Decoding takes about a tenth of the audio's time, and is done by threads.
"""

import audioop
import re
import threading
import warnings

import pocketsphinx

from .hearing import BYTES_PER_SAMPLE, PIECES_BETWEEN_PARTIALS, Heard, Word

MODEL_RATE = 16_000
FRAMES_PER_SECOND = 100
ALTERNATIVE_PRONUNCIATION = re.compile(r"\(\d+\)$")


class Decoders:
    """Decoders are expensive to make and alike: one is lent to each utterance. May be called by any thread."""

    def __init__(self):
        self._idle: list[pocketsphinx.Decoder] = []
        self._making = threading.Lock()
        self._initial_means = ""

    def take(self) -> pocketsphinx.Decoder:
        with self._making:
            decoder = self._idle.pop() if self._idle else self._make()
            decoder.set_cmn(self._initial_means)
            with warnings.catch_warnings():
                # Deprecated as "unnecessary", but nothing else forgets the noise of the utterance before.
                warnings.simplefilter("ignore", DeprecationWarning)
                decoder.start_stream()
            return decoder

    def give_back(self, decoder: pocketsphinx.Decoder) -> None:
        with self._making:
            self._idle.append(decoder)

    def _make(self) -> pocketsphinx.Decoder:
        pocketsphinx.set_loglevel("FATAL")
        model = pocketsphinx.get_model_path
        decoder = pocketsphinx.Decoder(
            hmm=model("en-us/en-us"),
            lm=model("en-us/en-us.lm.bin"),
            dict=model("en-us/cmudict-en-us.dict"),
            samprate=MODEL_RATE,
            # The second pass costs much and gains nothing measurable here.
            fwdflat=False,
            maxwpf=5,
            maxhmmpf=3000,
        )
        self._initial_means = decoder.get_cmn(False)
        return decoder


class WordRecogniser:
    """One channel: utterances end where the end-pointer hears a pause, partials come every 500 ms within them."""

    def __init__(self, rate: int, decoders: Decoders):
        self._rate = rate
        self._decoders = decoders
        self._resampling = None
        self._endpointer = pocketsphinx.Endpointer(sample_rate=MODEL_RATE)
        self._decoder: pocketsphinx.Decoder | None = None
        self._pending = bytearray()
        self._segment = 0
        self._start = 0.0
        self._pieces = 0
        self._told: tuple[Word, ...] = ()

    def advance(self, piece: bytes) -> list[Heard]:
        self._pieces += 1
        heard = self._listen(piece)
        if self._decoder and self._pieces % PIECES_BETWEEN_PARTIALS == 0:
            words = self._words(with_confidence=False)
            if words and words != self._told:
                self._told = words
                heard.append(Heard(self._segment, False, words))
        return heard

    def finish(self, rest: bytes) -> list[Heard]:
        heard = self._listen(rest)
        if self._decoder:
            # It cannot end with nothing.
            if speech := self._endpointer.end_stream(bytes(self._pending) or bytes(BYTES_PER_SAMPLE)):
                self._decoder.process_raw(speech)
            heard += self._end_utterance()
        return heard

    def abandon(self) -> None:
        if self._decoder:
            self._decoder.end_utt()
            self._decoders.give_back(self._decoder)
            self._decoder = None

    def _listen(self, piece: bytes) -> list[Heard]:
        if self._rate != MODEL_RATE and piece:
            piece, self._resampling = audioop.ratecv(
                piece, BYTES_PER_SAMPLE, 1, self._rate, MODEL_RATE, self._resampling
            )
        self._pending += piece
        heard: list[Heard] = []
        while len(self._pending) >= self._endpointer.frame_bytes:
            frame = bytes(self._pending[: self._endpointer.frame_bytes])
            del self._pending[: len(frame)]
            heard += self._take_frame(frame)
        return heard

    def _take_frame(self, frame: bytes) -> list[Heard]:
        speech = self._endpointer.process(frame)
        if speech is None:
            return []
        if self._decoder is None:
            self._decoder = self._decoders.take()
            self._start = self._endpointer.speech_start
            self._decoder.start_utt()
        self._decoder.process_raw(speech)
        return [] if self._endpointer.in_speech else self._end_utterance()

    def _end_utterance(self) -> list[Heard]:
        self._decoder.end_utt()
        # In rare cases the search ends without a path that it had before.
        words = self._words(with_confidence=True) or self._told
        self._decoders.give_back(self._decoder)
        self._decoder, self._told = None, ()
        if not words:
            return []
        self._segment += 1
        return [Heard(self._segment - 1, True, words)]

    def _words(self, with_confidence: bool) -> tuple[Word, ...]:
        if self._decoder.hyp() is None:
            return ()
        found = []
        for part in self._decoder.seg() or ():
            if part.word[0] in "<[":
                continue
            found.append(
                Word(
                    ALTERNATIVE_PRONUNCIATION.sub("", part.word),
                    self._start + part.start_frame / FRAMES_PER_SECOND,
                    self._start + (part.end_frame + 1) / FRAMES_PER_SECOND,
                    # A posterior may exceed 1 by its rounding.
                    min(1.0, part.prob) if with_confidence else None,
                )
            )
        return tuple(found)
