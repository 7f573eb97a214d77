import Foundation
import Testing
import Yams

@testable import Hansard
@testable import HansardServer

/// Section 4 of the listen protocol: every field that the published schemas require, of the type that they say.
@Suite struct ListenMessagesTests {
    static let engine = EngineDescription(
        name: "synthetic", modelName: "name \"q\"", modelVersion: "1", architecture: "arch", languages: [],
        maxMultichannel: 1)
    static let session = Sample.session(7)

    private func message(
        _ message: SessionMessage, options: SessionOptions = SessionOptions()
    ) throws -> [String: Any] {
        let messages = ListenMessages(
            session: Self.session, startedAt: Date(timeIntervalSince1970: 1_724_970_475.202), engine: Self.engine,
            options: options)
        var text = JSONText()
        messages.write(message, sha256: { "abc123" }, into: &text)
        return try JSONTextTests.parsed(text.bytes)
    }

    static let result = SessionResult(
        channel: 1, channels: 2, start: .milliseconds(1_500), end: .milliseconds(2_750), isFinal: true,
        isSpeechFinal: true,
        isFromFinalize: false, transcript: "go \"forward\"\n", words: [Sample.word("go", 1_600, 1_900)],
        confidence: 0.875)

    @Test func aResultSaysEverything() throws {
        let object = try message(.result(Self.result))
        #expect(object["type"] as? String == "Results")
        #expect(object["channel_index"] as? [Int] == [1, 2])
        #expect(object["start"] as? Double == 1.5)
        #expect(object["duration"] as? Double == 1.25)
        #expect(object["is_final"] as? Bool == true)
        #expect(object["speech_final"] as? Bool == true)
        #expect(object["from_finalize"] as? Bool == false)
        let channel = try #require(object["channel"] as? [String: Any])
        let alternatives = try #require(channel["alternatives"] as? [[String: Any]])
        #expect(alternatives.count == 1)
        #expect(alternatives[0]["transcript"] as? String == "go \"forward\"\n")
        #expect(alternatives[0]["confidence"] as? Double == 0.875)
        let words = try #require(alternatives[0]["words"] as? [[String: Any]])
        #expect(words.count == 1)
        #expect(words[0]["word"] as? String == "go")
        #expect(words[0]["start"] as? Double == 1.6)
        #expect(words[0]["end"] as? Double == 1.9)
        #expect(words[0]["confidence"] as? Double == 0.5)
        #expect(words[0]["punctuated_word"] == nil)
        let metadata = try #require(object["metadata"] as? [String: Any])
        #expect(metadata["request_id"] as? String == Self.session.description)
        #expect(metadata["extra"] == nil)
        let model = try #require(metadata["model_info"] as? [String: Any])
        #expect(model["name"] as? String == "name \"q\"")
        #expect(model["version"] as? String == "1")
        #expect(model["arch"] as? String == "arch")
        #expect(UUID(uuidString: try #require(metadata["model_uuid"] as? String)) != nil)
    }

    @Test func anEmptyResultIsWhole() throws {
        var empty = Self.result
        empty.transcript = ""
        empty.words = []
        empty.confidence = nil
        let channel = try #require(try message(.result(empty))["channel"] as? [String: Any])
        let alternative = try #require((channel["alternatives"] as? [[String: Any]])?.first)
        #expect(alternative["transcript"] as? String == "")
        #expect(alternative["confidence"] as? Double == 0)
        #expect((alternative["words"] as? [Any])?.isEmpty == true)
    }

    @Test func punctuatedWordsComeIfAskedFor() throws {
        var options = SessionOptions()
        options.wantsPunctuation = true
        let channel = try #require(try message(.result(Self.result), options: options)["channel"] as? [String: Any])
        let alternative = try #require((channel["alternatives"] as? [[String: Any]])?.first)
        #expect((alternative["words"] as? [[String: Any]])?.first?["punctuated_word"] as? String == "go")
    }

    @Test func wordsSayAsMuchAsWasAskedFor() throws {
        var result = Self.result
        result.words[0].punctuated = "Go,"
        result.words[0].speaker = 1
        result.words[0].language = "en"
        result.words += [result.words[0], result.words[0], result.words[0]]
        result.words[1].language = "de"
        result.words[2].language = nil
        result.words[2].speaker = nil
        func alternative(_ options: SessionOptions) throws -> [String: Any] {
            let channel = try #require(try message(.result(result), options: options)["channel"] as? [String: Any])
            return try #require((channel["alternatives"] as? [[String: Any]])?.first)
        }
        var options = SessionOptions()
        let bare = try #require((try alternative(options)["words"] as? [[String: Any]])?.first)
        #expect(bare["punctuated_word"] == nil && bare["speaker"] == nil)
        #expect(bare["language"] as? String == "en")
        options.wantsPunctuation = true
        options.wantsDiarization = true
        let full = try alternative(options)
        let words = try #require(full["words"] as? [[String: Any]])
        #expect(words[0]["word"] as? String == "go")
        #expect(words[0]["punctuated_word"] as? String == "Go,")
        #expect(words.map { $0["speaker"] as? Int } == [1, 1, nil, 1])
        #expect(words.map { $0["language"] as? String } == ["en", "de", nil, "en"])
        #expect(full["languages"] as? [String] == ["en", "de"])
    }

    @Test func aResultSaysWhichEngineSpoke() throws {
        var result = Self.result
        let other = SyntheticEngine().description
        result.spokenBy = other
        let metadata = try #require(try message(.result(result))["metadata"] as? [String: Any])
        #expect((metadata["model_info"] as? [String: Any])?["name"] as? String == "synthetic")
        #expect(metadata["model_uuid"] as? String == other.modelUUID)
    }

    @Test func extraIsEchoed() throws {
        var options = SessionOptions()
        options.extra = ["a\"": "b\\", "c": "", "\u{1}": "é"]
        let metadata = try #require(
            try message(.result(Self.result), options: options)["metadata"] as? [String: Any])
        #expect(metadata["extra"] as? [String: String] == options.extra)
    }

    @Test func metadataIsWhole() throws {
        let object = try message(.metadata(duration: .milliseconds(12_345), channels: 2))
        #expect(object["type"] as? String == "Metadata")
        #expect(object["transaction_key"] as? String == "deprecated")
        #expect(object["request_id"] as? String == Self.session.description)
        #expect(object["sha256"] as? String == "abc123")
        #expect(object["created"] as? String == "2024-08-29T22:27:55.202Z")
        #expect(object["duration"] as? Double == 12.345)
        #expect(object["channels"] as? Int == 2)
    }

    /// It says what is billed: of 15,998 samples of 16 kHz 999 ms are.
    @Test(arguments: [(15_998, 0.999), (15, 0), (16_000, 1)]) func theDurationIsThatOfTheLedger(
        frames: Int64, seconds: Double
    ) throws {
        let duration = AudioTime(frames: frames, sampleRate: 16_000)
        #expect(try message(.metadata(duration: duration, channels: 1))["duration"] as? Double == seconds)
        #expect(Double(duration.milliseconds) / 1_000 == seconds)
    }

    @Test func speechEventsAreWhole() throws {
        let started = try message(.speechStarted(channel: 0, channels: 1, at: .milliseconds(420)))
        #expect(started["type"] as? String == "SpeechStarted")
        #expect(started["channel"] as? [Int] == [0, 1])
        #expect(started["timestamp"] as? Double == 0.42)
        let ended = try message(.utteranceEnd(channel: 1, channels: 2, lastWordEnd: .milliseconds(2_395)))
        #expect(ended["type"] as? String == "UtteranceEnd")
        #expect(ended["channel"] as? [Int] == [1, 2])
        #expect(ended["last_word_end"] as? Double == 2.395)
    }

    /// The types of numbers: parsers with types tell 0 from 0.0.
    @Test func secondsAreNeverIntegers() throws {
        let messages = ListenMessages(
            session: Self.session, startedAt: moment(0), engine: Self.engine, options: SessionOptions())
        var text = JSONText()
        messages.write(.metadata(duration: .zero, channels: 0), sha256: { "" }, into: &text)
        let line = String(decoding: text.bytes, as: UTF8.self)
        #expect(line.contains(#""duration":0.0,"channels":0}"#))
    }

    @Test func aModelHasOneUUIDForEver() {
        // Written down: a change of it would be seen by clients as another model.
        let uuid = Self.engine.modelUUID
        #expect(uuid == Self.engine.modelUUID)
        #expect(UUID(uuidString: uuid)?.uuidString.lowercased() == uuid)
        let characters = Array(uuid)
        #expect(characters[14] == "8", "version 8 of RFC 9562")
        #expect("89ab".contains(characters[19]), "the variant of RFC 9562")
        var other = Self.engine
        other.modelVersion = "2"
        #expect(other.modelUUID != uuid)
        #expect(SyntheticEngine().description.modelUUID == SyntheticEngine().description.modelUUID)
    }

    /// Against the document that Deepgram publishes, where it lies beside the project.
    @Test(.enabled(if: PublishedSchemas.isThere)) func everyMessageHasWhatThePublishedSchemasRequire() throws {
        let schemas = try PublishedSchemas()
        let messages: [(String, SessionMessage)] = [
            ("Results", .result(Self.result)), ("Metadata", .metadata(duration: .zero, channels: 0)),
            ("UtteranceEnd", .utteranceEnd(channel: 0, channels: 1, lastWordEnd: .zero)),
            ("SpeechStarted", .speechStarted(channel: 0, channels: 1, at: .zero)),
        ]
        for (name, sent) in messages {
            let object = try message(sent)
            try schemas.check(object, against: "ListenV1_ListenV1\(name)", path: name)
        }
    }
}

/// The AsyncAPI document of the protocol, as far as objects, arrays and required fields go.
struct PublishedSchemas {
    static let file = StoreFixture.migrationsDirectory + "/../../shared/vectors/deepgram-asyncapi.yml"
    static var isThere: Bool { FileManager.default.fileExists(atPath: file) }

    private let schemas: [String: [String: Any]]

    init() throws {
        let text = try String(contentsOfFile: Self.file, encoding: .utf8)
        let document = try #require(try Yams.load(yaml: text) as? [String: Any])
        let components = try #require(document["components"] as? [String: Any])
        schemas = try #require(components["schemas"] as? [String: [String: Any]])
    }

    func check(_ value: Any, against name: String, path: String) throws {
        try check(value, try #require(schemas[name]), path)
    }

    private func check(_ value: Any, _ schema: [String: Any], _ path: String) throws {
        if let reference = schema["$ref"] as? String {
            let name = try #require(reference.split(separator: "/").last.map(String.init))
            return try check(value, against: name, path: path)
        }
        if let allowed = schema["enum"] as? [String] { #expect(allowed.contains(value as? String ?? ""), "\(path)") }
        switch schema["type"] as? String {
        case "object":
            let object = try #require(value as? [String: Any], "\(path)")
            for name in schema["required"] as? [String] ?? [] { #expect(object[name] != nil, "\(path).\(name)") }
            for (name, property) in schema["properties"] as? [String: [String: Any]] ?? [:] {
                if let field = object[name] { try check(field, property, "\(path).\(name)") }
            }
        case "array":
            for item in try #require(value as? [Any], "\(path)") {
                try check(item, try #require(schema["items"] as? [String: Any]), path + "[]")
            }
        case "string": #expect(value is String, "\(path)")
        case "number": #expect(value is Double, "\(path)")
        case "integer": #expect(value is Int, "\(path)")
        case "boolean": #expect(value is Bool, "\(path)")
        default: break
        }
    }
}
