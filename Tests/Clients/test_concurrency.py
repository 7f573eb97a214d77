"""Sessions at once do not disturb each other, nor what an engine slot heard before."""

import sdk
import speech

OPTIONS = {"model": "nova-3", "encoding": "linear16", "sample_rate": "16000", "interim_results": "true"}
FILES = ["librivox-0880.wav", "librivox-0930.wav", "librivox-0890.wav"]
STEPS = [{"audio": [0, None]}, "close"]


def finals(conversation: sdk.Transcription) -> list[dict]:
    """Text, words and times of the finals; what differs between sessions anyway is left out."""
    assert conversation.of("error") == [], conversation.errors
    assert conversation.close_code() == 1000
    return [
        {name: result[name] for name in ("start", "duration", "speech_final", "channel")}
        for result in conversation.raw()
        if result.get("is_final")
    ]


def test_three_sessions_at_once_give_the_finals_of_each_alone(own_server):
    server = own_server(HANSARD_ENGINE="pocketsphinx", HANSARD_ENGINE_SLOTS="3")
    alone = {}
    for name in FILES:
        alone[name] = finals(sdk.transcribe("7.17.0", server, speech.path(name), OPTIONS, STEPS, pace=2))
        assert any(result["channel"]["alternatives"][0]["transcript"] for result in alone[name])
    drivers = {
        name: sdk.start("7.17.0", server, speech.path(name), OPTIONS, STEPS, pace=0.4) for name in reversed(FILES)
    }
    together = {name: finals(sdk.result("7.17.0", driver)) for name, driver in drivers.items()}
    assert together == alone
