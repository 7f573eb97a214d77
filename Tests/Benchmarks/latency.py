"""How soon text comes: audio between the end of an utterance's first word and its first interim result, and the time
between CloseStream and the last final. At real-time pace, one session at a time."""

import statistics
import time

import speech
from listen import LINEAR16, ListenSession, transcript_of
from places import RELEASE_BINARY
from server import Server

PAUSE = 1.5
CHUNK_MS = 20


def first_interims(session: ListenSession) -> list[float]:
    """For each final with words: seconds of audio from its first word's end to the first interim result about it."""
    found = []
    for final in (one for one in session.finals() if one["channel"]["alternatives"][0]["words"]):
        first_word_end = final["channel"]["alternatives"][0]["words"][0]["end"]
        about = [
            one.audio_sent
            for one in session.received
            if one.message["type"] == "Results"
            and transcript_of(one.message)
            and abs(one.message["start"] - final["start"]) < 0.011
        ]
        found.append(about[0] - first_word_end)
    return found


def measure(server: Server, name: str) -> tuple[list[float], float]:
    """The latencies of the utterances of one session, and milliseconds from CloseStream to the last final."""
    clip = speech.joined(name, PAUSE, name)
    with ListenSession(server, LINEAR16 | {"interim_results": "true", "endpointing": "300"}) as session:
        session.send(clip.tobytes(), pace=1, milliseconds=CHUNK_MS)
        closing = time.monotonic()
        session.finish()
        last_final = max(one.at for one in session.received if one.message.get("is_final"))
        return first_interims(session), (last_final - closing) * 1000


def main() -> None:
    firsts, laters, closings = [], [], []
    print("Latency at real-time pace (wanted: later utterances 0.5 s, a session's first 1.5 s, last final 300 ms)")
    print(f"{'audio':<20} {'first word of session':>22} {'of later utterances':>20} {'CloseStream to last final':>26}")
    with Server(RELEASE_BINARY, HANSARD_ENGINE="pocketsphinx") as server:
        for name in sorted(speech.transcripts()):
            (first, *later), closing = measure(server, name)
            firsts.append(first)
            laters += later
            closings.append(closing)
            print(f"{name:<20} {first:20.2f} s {max(later, default=float('nan')):18.2f} s {closing:23.0f} ms")
    print(f"{'median':<20} {statistics.median(firsts):20.2f} s {statistics.median(laters):18.2f} s {statistics.median(closings):23.0f} ms")
    print(f"{'largest':<20} {max(firsts):20.2f} s {max(laters):18.2f} s {max(closings):23.0f} ms")
    print()


if __name__ == "__main__":
    main()
