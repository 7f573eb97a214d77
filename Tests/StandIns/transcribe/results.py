"""The service's JSON for what was heard."""

import uuid

from .hearing import Heard, Word
from .parameters import StreamParameters

FINAL_CONFIDENCE_UNKNOWN = 0.5


class Results:
    """Gives each segment of a stream its id, and a word its place in the service's format."""

    def __init__(self, parameters: StreamParameters, capitalised: bool):
        self._parameters = parameters
        self._capitalised = capitalised
        self._ids: dict[tuple[int, int], str] = {}

    def result(self, heard: Heard) -> dict:
        """One element of `Results`, for words that are at least one."""
        items = self._items(heard)
        result = {
            "ResultId": self._ids.setdefault((heard.channel, heard.segment), str(uuid.uuid4())),
            "StartTime": items[0]["StartTime"],
            "EndTime": items[-1]["EndTime"],
            "IsPartial": not heard.is_final,
            "Alternatives": [{"Transcript": transcript(items), "Items": items}],
        }
        if self._parameters.channels_apart:
            result["ChannelId"] = f"ch_{heard.channel}"
        if self._parameters.languages:
            first, *others = self._parameters.languages
            result["LanguageCode"] = first
            result["LanguageIdentification"] = [{"LanguageCode": first, "Score": 0.91}]
            result["LanguageIdentification"] += [{"LanguageCode": other, "Score": 0.03} for other in others]
        return result

    def _items(self, heard: Heard) -> list[dict]:
        items = []
        for index, word in enumerate(heard.words):
            item = self._item(word, heard.is_final, "pronunciation")
            if index == 0 and self._capitalised:
                item["Content"] = item["Content"].capitalize()
            if heard.is_final:
                item["Confidence"] = round(
                    FINAL_CONFIDENCE_UNKNOWN if word.confidence is None else word.confidence, 4
                )
            if self._parameters.stabilised:
                # The last words of a partial result may still change.
                item["Stable"] = heard.is_final or index < len(heard.words) - 2
            items.append(item)
        end = heard.words[-1].end
        full_stop = self._item(Word(".", end, end), heard.is_final, "punctuation")
        if self._parameters.stabilised:
            full_stop["Stable"] = heard.is_final
        return items + [full_stop]

    def _item(self, word: Word, is_final: bool, type: str) -> dict:
        item = {
            "Type": type,
            "Content": word.text,
            "StartTime": round(word.start, 4),
            "EndTime": round(word.end, 4),
            "VocabularyFilterMatch": False,
        }
        if self._parameters.speakers and is_final and type == "pronunciation":
            item["Speaker"] = "0"
        return item


def transcript(items: list[dict]) -> str:
    text = ""
    for item in items:
        text += item["Content"] if item["Type"] == "punctuation" or not text else " " + item["Content"]
    return text
