import Foundation
import Testing

@testable import Hansard

@Suite struct TranscriptTests {
    static func document(_ transcript: Transcript) throws -> [String: Any] {
        let encoder = JSONEncoder()
        encoder.dateEncodingStrategy = .iso8601
        return try #require(try JSONSerialization.jsonObject(with: encoder.encode(transcript)) as? [String: Any])
    }

    @Test func theDocumentHasTheNamesOfTheAPI() throws {
        let document = try Self.document(Fixtures.transcript([Fixtures.final(0, "go", through: 1_500)]))
        #expect(
            document.keys.sorted() == [
                "audio_ms", "channels", "complete", "ended_at", "engine", "engine_ms", "ignored_parameters", "key_id",
                "language", "model", "region", "results", "sample_rate", "schema", "session_id", "started_at", "state",
                "tags", "tenant_id",
            ]
        )
        let result = try #require((document["results"] as? [[String: Any]])?.first)
        #expect(
            result.keys.sorted() == [
                "channel", "confidence", "end", "engine", "sequence", "speech_final", "start", "transcript", "words",
            ]
        )
        #expect(result["end"] as? Double == 1.5)
        let word = try #require((result["words"] as? [[String: Any]])?.first)
        #expect(word.keys.sorted() == ["confidence", "end", "start", "word"])
        #expect(document["session_id"] as? String == Fixtures.session.description)
        #expect(document["tenant_id"] as? String == Fixtures.tenantID.description)
    }

    @Test(arguments: SessionState.allCases) func onlyACompletedSessionIsComplete(state: SessionState) throws {
        let document = try Self.document(Fixtures.transcript([], state: state))
        #expect(document["complete"] as? Bool == (state == .completed))
        #expect(document["state"] as? String == state.rawValue)
    }

    @Test func itRoundTrips() throws {
        let finals = [
            Fixtures.final(0, "go forward", through: 1_501),
            Fixtures.final(1, "ten", channel: 1, from: 7, through: 3_999),
        ]
        let transcript = Fixtures.transcript(finals, channels: 2)
        #expect(try JSONDecoder().decode(Transcript.self, from: JSONEncoder().encode(transcript)) == transcript)
    }

    @Test func engineTimeIsWhatWasAdmittedUnlessSaid() throws {
        var transcript = Fixtures.transcript([])
        #expect(transcript.engineMilliseconds == 60_000)
        transcript.engineMilliseconds = 75_000
        #expect(try Self.document(transcript)["engine_ms"] as? Int == 75_000)
        // A document of before it was kept.
        transcript.engineMilliseconds = nil
        #expect(try Self.document(transcript)["engine_ms"] == nil)
        #expect(try JSONDecoder().decode(Transcript.self, from: JSONEncoder().encode(transcript)) == transcript)
    }

    @Test func timesAreRoundedToTheMillisecondAndStillTile() throws {
        var first = Fixtures.final(0, "a", through: 1_000)
        var second = Fixtures.final(1, "b", from: 1_000, through: 2_000)
        first.end = AudioTime(microseconds: 1_000_500)
        second.start = first.end
        let read = try JSONDecoder().decode([FinalResult].self, from: JSONEncoder().encode([first, second]))
        #expect(read[0].end == .milliseconds(1_001) && read[0].end == read[1].start)
    }

    @Test func aWordKeepsItsWrittenFormItsSpeakerAndItsLanguage() throws {
        let word = Word(
            text: "hello", start: .zero, end: .milliseconds(400), confidence: 0.5, punctuated: "Hello,", speaker: 2,
            language: "en-US")
        let object = try #require(
            try JSONSerialization.jsonObject(with: JSONEncoder().encode(word)) as? [String: Any])
        #expect(object["punctuated_word"] as? String == "Hello,")
        #expect(object["speaker"] as? Int == 2)
        #expect(object["language"] as? String == "en-US")
        #expect(try JSONDecoder().decode(Word.self, from: JSONEncoder().encode(word)) == word)
    }

    /// As it was written before words had more than that.
    @Test func olderWordsAreStillRead() throws {
        let read = try JSONDecoder().decode(Word.self, from: Data(#"{"word":"go","start":0.5,"end":1}"#.utf8))
        #expect(read == Word(text: "go", start: .milliseconds(500), end: .milliseconds(1_000)))
    }

    @Test func anAbsentConfidenceStaysAbsent() throws {
        var final = Fixtures.final(0, "go", through: 1_000)
        final.confidence = nil
        final.words[0].confidence = nil
        let data = try JSONEncoder().encode(final)
        #expect(!String(decoding: data, as: UTF8.self).contains("confidence"))
        #expect(try JSONDecoder().decode(FinalResult.self, from: data) == final)
    }
}

@Suite struct TranscriptFormatTests {
    @Test func contentTypes() {
        #expect(
            TranscriptFormat.allCases.map(\.contentType) == [
                "application/json", "text/plain; charset=utf-8", "application/x-subrip; charset=utf-8",
                "text/vtt; charset=utf-8",
            ]
        )
    }

    static let two = Fixtures.transcript([
        Fixtures.final(0, "go forward", from: 500, through: 1_500),
        Fixtures.final(1, "ten meters", from: 3_600_000, through: 3_601_234),
    ])

    @Test func plainText() {
        #expect(Self.two.plainText == "go forward\nten meters\n")
        #expect(Fixtures.transcript([]).plainText.isEmpty)
    }

    @Test func subRip() {
        #expect(
            Self.two.subRip == """
                1
                00:00:00,500 --> 00:00:01,500
                go forward

                2
                01:00:00,000 --> 01:00:01,234
                ten meters


                """
        )
        #expect(Fixtures.transcript([]).subRip.isEmpty)
    }

    @Test func webVTT() {
        #expect(
            Self.two.webVTT == """
                WEBVTT

                00:00:00.500 --> 00:00:01.500
                go forward

                01:00:00.000 --> 01:00:01.234
                ten meters


                """
        )
        #expect(Fixtures.transcript([]).webVTT == "WEBVTT\n\n")
    }

    @Test func markupIsEscapedInWebVTTOnly() {
        let transcript = Fixtures.transcript([Fixtures.final(0, "a<b>&amp; --> c", through: 1_000)])
        #expect(transcript.webVTT.contains("a&lt;b&gt;&amp;amp; --&gt; c\n"))
        #expect(transcript.subRip.contains("a<b>&amp; --> c\n"))
    }

    /// An empty line would end a cue, and a line break an utterance.
    @Test func lineBreaksBecomeSpaces() {
        var final = Fixtures.final(0, "one", through: 1_000)
        final.transcript = "one\n\ntwo\r\nthree"
        final.words = []
        let transcript = Fixtures.transcript([final])
        #expect(transcript.plainText == "one two three\n")
        #expect(transcript.subRip.hasSuffix("\none two three\n\n"))
        #expect(transcript.webVTT.hasSuffix("\none two three\n\n"))
    }

    @Test func severalChannelsAreLabelledAndInOrderOfTime() {
        let transcript = Fixtures.transcript(
            [
                Fixtures.final(0, "left", channel: 0, from: 2_000, through: 3_000),
                Fixtures.final(1, "right", channel: 1, from: 1_000, through: 1_500),
            ],
            channels: 2
        )
        #expect(transcript.plainText == "[0] left\n[1] right\n")
        #expect(transcript.cues.map(\.text) == ["right", "left"])
        #expect(transcript.subRip.contains("1\n00:00:01,000 --> 00:00:01,500\n[1] right\n"))
        #expect(transcript.webVTT.contains("\n[0] left\n"))
    }

    static let written: Transcript = {
        var final = Fixtures.final(0, "Hello there. Yes?", through: 3_000)
        for (index, word) in [("hello", "Hello"), ("there", "there."), ("yes", "Yes?")].enumerated() {
            final.words[index].text = word.0
            final.words[index].punctuated = word.1
        }
        return Fixtures.transcript([final])
    }()

    @Test func everyFormHasTheWrittenWords() {
        #expect(Self.written.plainText == "Hello there. Yes?\n")
        #expect(Self.written.subRip == "1\n00:00:00,000 --> 00:00:03,000\nHello there. Yes?\n\n")
        #expect(Self.written.webVTT == "WEBVTT\n\n00:00:00.000 --> 00:00:03.000\nHello there. Yes?\n\n")
    }

    @Test func everyTurnOfASpeakerIsApart() {
        var transcript = Self.written
        for (index, speaker) in [0, 0, 1].enumerated() { transcript.results[0].words[index].speaker = speaker }
        #expect(transcript.plainText == "Speaker 0: Hello there.\nSpeaker 1: Yes?\n")
        #expect(
            transcript.subRip == """
                1
                00:00:00,000 --> 00:00:02,000
                Speaker 0: Hello there.

                2
                00:00:02,000 --> 00:00:03,000
                Speaker 1: Yes?


                """)
        #expect(transcript.webVTT.contains("\n<v Speaker 0>Hello there.</v>\n"))
        #expect(transcript.webVTT.hasSuffix("\n<v Speaker 1>Yes?</v>\n\n"))
    }

    @Test func moreThanAHundredHoursStillHaveAClock() {
        let transcript = Fixtures.transcript([Fixtures.final(0, "late", from: 360_000_000, through: 360_001_000)])
        #expect(transcript.subRip.contains("100:00:00,000 --> 100:00:01,000"))
    }

    @Test func longFinalsAreCutAtWords() {
        let text = Array(repeating: "word", count: 200).joined(separator: " ")
        let cues = Fixtures.transcript([Fixtures.final(0, text, through: 100_000)]).cues
        #expect(cues.map(\.text).joined(separator: " ") == text)
        #expect(cues.allSatisfy { $0.text.count <= Cue.maximumCharacters && $0.end - $0.start <= Cue.maximumDuration })
        #expect(zip(cues, cues.dropFirst()).allSatisfy { $0.end <= $1.start })
    }

    @Test func aCueIsNeverWithoutLength() {
        var final = Fixtures.final(0, "go", through: 1_000)
        final.words[0].end = final.words[0].start
        #expect(Fixtures.transcript([final]).cues.allSatisfy { $0.start < $0.end })
    }
}
