import AWS
import Foundation
import Hansard
import Testing
import Web

@testable import HansardServer

@Suite struct TranscribeDialectTests {
    private static func result(partial: Bool = false) -> TranscribeResult {
        var result = TranscribeResult()
        (result.startTime, result.endTime, result.isPartial) = (1.65, 4.165, partial)
        (result.channelID, result.languageCode) = ("ch_1", "en-US")
        var alternative = TranscribeAlternative()
        alternative.transcript = "Welcome, Amazon."
        alternative.items = [
            item("Welcome", 1.65, 2.4225, confidence: 0.9, speaker: "spk_1"), mark(","),
            item("Amazon", 2.5, 4.1, confidence: 0.8, speaker: "0"), mark("."),
        ]
        result.alternatives = [alternative]
        return result
    }

    private static func item(
        _ content: String, _ start: Double?, _ end: Double?, confidence: Double? = nil, speaker: String? = nil
    ) -> TranscribeItem {
        var item = TranscribeItem()
        (item.content, item.startTime, item.endTime) = (content, start, end)
        (item.confidence, item.speaker) = (confidence, speaker)
        return item
    }

    private static func mark(_ content: String) -> TranscribeItem {
        var item = TranscribeItem()
        (item.kind, item.content) = (.punctuation, content)
        return item
    }

    @Test func aFinalIsBareWordsAndWrittenText() {
        let upstream = UpstreamResult(Self.result())
        #expect(upstream.isFinal && !upstream.answersFlush)
        let result = upstream.result
        #expect(result.channel == 1)
        #expect(result.through == .milliseconds(4_165))
        #expect(result.transcript == "welcome amazon")
        #expect(result.punctuatedTranscript == "Welcome, Amazon.")
        #expect(result.words.map(\.text) == ["welcome", "amazon"])
        #expect(result.words.map(\.punctuated) == ["Welcome,", "Amazon."])
        #expect(result.words.map(\.speaker) == [1, 0])
        #expect(result.words.map(\.language) == ["en-US", "en-US"])
        #expect(result.words[0].start == .milliseconds(1_650))
        #expect(result.words[0].end == AudioTime(microseconds: 2_422_500))
        #expect(result.confidence.map { ($0 * 100).rounded() } == 85)
    }

    @Test func aPartialHasNoConfidence() {
        let upstream = UpstreamResult(Self.result(partial: true))
        #expect(!upstream.isFinal)
        #expect(upstream.result.confidence == nil)
    }

    @Test func whatIsMissingTakesTheNearestTime() {
        var result = TranscribeResult()
        (result.startTime, result.endTime) = (2, 3)
        var alternative = TranscribeAlternative()
        alternative.items = [Self.mark("."), Self.item("a", nil, nil), Self.item("b", 2.5, 2.2)]
        result.alternatives = [alternative]
        let words = UpstreamResult(result).result.words
        #expect(words.map(\.start) == [.milliseconds(2_000), .milliseconds(2_500)])
        #expect(words.allSatisfy { $0.end >= $0.start })
        #expect(UpstreamResult(TranscribeResult()).result.words.isEmpty)
    }

    @Test func exceptionsAreEndsOfTheirKind() {
        func end(_ name: String, _ message: String) -> UpstreamEnd {
            UpstreamEnd(TranscribeException(name: name, message: message))
        }
        let idle = "Your request timed out because no new audio was received for 15 seconds."
        #expect(end("BadRequestException", idle) == .failed("BadRequestException: \(idle)"))
        #expect(end("BadRequestException", "no") == .refused("BadRequestException: no"))
        #expect(end("LimitExceededException", "") == .limited("LimitExceededException"))
        #expect(end("InternalFailureException", "") == .failed("InternalFailureException"))
        #expect(end("ServiceUnavailableException", "") == .failed("ServiceUnavailableException"))
        #expect(end("UnrecognizedClientException", "") == .refused("UnrecognizedClientException"))
    }

    @Test func whatMakesNoSenseEndsTheStream() {
        let dialect = TranscribeDialect(signer: nil, date: { .now })
        for bytes in [[], [1, 2, 3], [UInt8](repeating: 0, count: 16)] as [[UInt8]] {
            guard case .end(.failed) = bytes.withUnsafeBytes({ dialect.read(binary: $0) }) else {
                Issue.record("\(bytes) were taken for a message")
                continue
            }
        }
        #expect([UInt8]("{}".utf8).withUnsafeBytes { dialect.read(text: $0) } != .nothing)
    }

    @Test func audioAndItsEndAreTheServicesFrames() throws {
        var dialect = TranscribeDialect(signer: nil, date: { .now })
        var bytes: [UInt8] = []
        [UInt8]([1, 2, 3, 4]).withUnsafeBytes { dialect.append(audio: $0, to: &bytes) }
        let audio = try EventStreamMessage(decoding: bytes)
        #expect(audio.payload == [1, 2, 3, 4])
        guard case .binary(let end) = dialect.message(.endStream) else {
            Issue.record("a text")
            return
        }
        #expect(try EventStreamMessage(decoding: end).payload.isEmpty)
    }

    @Test func optionsAreTheServicesParameters() throws {
        var options = SessionOptions()
        options.wantsDiarization = true
        options.redactions = [.paymentCards, .socialSecurityNumbers]
        let audio = EngineAudio(sampleRate: 16_000, channels: 1, isMultichannel: false)
        let request = EngineRequest(audio: audio, language: "en-gb", options: options)
        let items = try AmazonTranscribe.streamRequest(for: request, languages: []).queryItems()
        let values = Dictionary(uniqueKeysWithValues: items.map { ($0.name, $0.value) })
        #expect(values["language-code"] == "en-GB")
        #expect(values["sample-rate"] == "16000")
        #expect(values["show-speaker-label"] == "true")
        #expect(values["content-redaction-type"] == "PII")
        #expect(values["pii-entity-types"] == "CREDIT_DEBIT_NUMBER,CREDIT_DEBIT_CVV,CREDIT_DEBIT_EXPIRY,SSN")
        #expect(values["number-of-channels"] == nil)
    }

    @Test func twoChannelsApartAndManyLanguages() throws {
        let audio = EngineAudio(sampleRate: 8_000, channels: 2, isMultichannel: true)
        let request = EngineRequest(audio: audio, language: "multi", options: SessionOptions())
        let items = try AmazonTranscribe.streamRequest(for: request, languages: ["en-US", "de-DE"]).queryItems()
        let values = Dictionary(uniqueKeysWithValues: items.map { ($0.name, $0.value) })
        #expect(values["enable-channel-identification"] == "true")
        #expect(values["number-of-channels"] == "2")
        #expect(values["identify-multiple-languages"] == "true")
        #expect(values["language-options"] == "en-US,de-DE")
        #expect(values["language-code"] == nil)
    }

    @Test(arguments: [
        ("en", "en-US"), ("EN-us", "en-US"), ("en-CA", "en-US"), ("de", "de-DE"), ("pt-PT", "pt-PT"),
        ("zh-Hant", "zh-CN"),
    ]) func aTagIsTheServicesCode(_ tag: String, _ code: String) {
        #expect(TranscribeLanguages.code(for: tag) == code)
    }
}

@Suite struct ListenDialectTests {
    private let dialect = ListenDialect(isMultichannel: false)

    private func read(_ text: String) -> UpstreamSaying {
        Array(text.utf8).withUnsafeBytes { dialect.read(text: $0) }
    }

    @Test func resultsAreRead() {
        let said = read(
            #"""
            {"type":"Results","channel_index":[1,2],"duration":1.5,"start":2.0,"is_final":true,"speech_final":true,
             "from_finalize":true,"channel":{"alternatives":[{"transcript":"Go, on.","confidence":0.5,"words":[
              {"word":"go","start":2.1,"end":2.4,"confidence":0.4,"punctuated_word":"Go,","speaker":3},
              {"word":"on","start":2.5,"end":3.0,"confidence":0.6,"punctuated_word":"on.","language":"en"}]}]},
             "metadata":{"request_id":"x","model_info":{"name":"n","version":"v","arch":"a"},"model_uuid":"u"}}
            """#)
        let words = [
            Word(
                text: "go", start: .milliseconds(2_100), end: .milliseconds(2_400), confidence: 0.4, punctuated: "Go,",
                speaker: 3),
            Word(
                text: "on", start: .milliseconds(2_500), end: .milliseconds(3_000), confidence: 0.6, punctuated: "on.",
                language: "en"),
        ]
        let result = EngineResult(
            channel: 1, through: .milliseconds(3_500), transcript: "go on", words: words, confidence: 0.5,
            punctuatedTranscript: "Go, on.")
        #expect(said == .results([UpstreamResult(result, isFinal: true, answersFlush: true)]))
    }

    @Test func whatIsNoResultIsPassedOver() {
        #expect(read(#"{"type":"Metadata","duration":1}"#) == .nothing)
        #expect(read(#"{"type":"SpeechStarted","channel":[0,1],"timestamp":1.0}"#) == .nothing)
        #expect(read(#"{"type":"Results"}"#) == .nothing)
    }

    @Test(arguments: ["", "{", "[]", #"{"type":1}"#, #"{"no":"type"}"#]) func whatIsNoMessageEndsTheStream(
        _ text: String
    ) {
        guard case .end(.failed) = read(text) else {
            Issue.record("'\(text)' was taken for a message")
            return
        }
    }

    @Test func theQueryHandsOnWhatWasAsked() {
        var options = SessionOptions()
        options.model = "nova 3"
        options.wantsPunctuation = true
        options.endpointing = nil
        options.redactions = [.numbers, .all]
        options.engineParameters = [ListenParameter(name: "keyterm", value: "a&b")]
        let audio = EngineAudio(sampleRate: 16_000, channels: 2, isMultichannel: true)
        let query = DeepgramService.query(for: EngineRequest(audio: audio, language: "en", options: options))
        #expect(
            query == "encoding=linear16&sample_rate=16000&channels=2&interim_results=true&model=nova%203&language=en"
                + "&endpointing=false&multichannel=true&punctuate=true&redact=numbers&redact=true&keyterm=a%26b")
    }

    @Test func controlsAreTheProtocols() {
        var dialect = ListenDialect(isMultichannel: true)
        #expect(dialect.message(.askForFinals(channel: 1)) == .text(#"{"type": "Finalize", "channel": 1}"#))
        #expect(dialect.message(.keepAlive) == .text(#"{"type": "KeepAlive"}"#))
        #expect(dialect.message(.endStream) == .text(#"{"type": "CloseStream"}"#))
    }

    /// A limit or a revoked key is not a matter of one stream.
    @Test func closesAndRefusalsAreEndsOfTheirKind() throws {
        let url = try #require(WebSocketURL("ws://127.0.0.1:1"))
        let service = DeepgramService(base: url, key: Secret("k"), speed: 1, authorities: nil)
        func end(_ code: UInt16?, _ cause: WebSocketClosure.Cause = .peer) -> UpstreamEnd {
            service.end(after: WebSocketClosure(cause: cause, code: code, reason: "why"))
        }
        #expect(end(1000) == .clean)
        #expect(end(1008) == .refused("why"))
        #expect(end(1011) == .failed("closed with 1011 why"))
        #expect(end(nil, .connectionLost) == .failed("the connection was lost: why"))
        func refused(_ status: Int) -> UpstreamEnd {
            service.end(after: WebSocketConnectError(.refused(status: status), "no"))
        }
        #expect(refused(429) == .limited("no"))
        #expect([400, 401, 402, 403, 404].allSatisfy { refused($0) == .refused("no") })
        #expect(refused(503) == .failed("no"))
        #expect(service.end(after: WebSocketConnectError(.timedOut, "late")) == .failed("late"))
    }
}
