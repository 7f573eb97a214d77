import Hansard
import Testing
import Web

@testable import HansardServer

/// Section 2 of the listen protocol: what each query parameter may be and what a bad one is answered with.
@Suite struct ListenParametersTests {
    static let english = EngineDescription(
        name: "english", modelName: "m", modelVersion: "1", architecture: "a", languages: ["en"], maxMultichannel: 2)
    static let any = SyntheticEngine().description

    private func options(_ query: String, _ engine: EngineDescription = english) throws(HansardError) -> SessionOptions
    {
        try ListenParameters(query: query, engine: engine).options
    }

    private func refusal(_ query: String, _ engine: EngineDescription = english) -> HansardError? {
        do {
            _ = try options(query, engine)
            return nil
        } catch {
            return error
        }
    }

    @Test func theDefaultsAreTheProtocols() throws {
        let options = try options("")
        #expect(options.model == "general")
        #expect(options.language == "en")
        #expect(options.source == .container(channels: nil))
        #expect(options.endpointing == .milliseconds(10))
        #expect(options.utteranceEnd == nil)
        #expect(!options.isMultichannel && !options.wantsInterim && !options.wantsSpeechStarted)
        #expect(!options.wantsPunctuation)
        #expect(options.tags.isEmpty && options.extra.isEmpty && options.ignoredParameters.isEmpty)
        #expect(options.engine == "english")
    }

    @Test func everyParameterIsRead() throws {
        let query =
            "model=nova-3&language=en-US&encoding=linear16&sample_rate=44100&channels=2&multichannel=true"
            + "&interim_results=true&endpointing=300&utterance_end_ms=1000&vad_events=true&hansard_events=true"
        let parameters = try ListenParameters(query: query, engine: Self.english)
        let options = parameters.options
        #expect(options.wantsHansardEvents)
        #expect(options.model == "nova-3")
        #expect(options.language == "en-US")
        #expect(options.source == .raw(encoding: "linear16", sampleRate: 44_100, channels: 2))
        #expect(options.isMultichannel && options.wantsInterim && options.wantsSpeechStarted)
        #expect(options.endpointing == .milliseconds(300))
        #expect(options.utteranceEnd == .milliseconds(1_000))
    }

    @Test(arguments: [
        ("endpointing=false", nil), ("endpointing=true", 10), ("endpointing=0", 0), ("endpointing=60000", 60_000),
    ])
    func endpointingIsAFlagOrMilliseconds(_ query: String, _ milliseconds: Int?) throws {
        #expect(try options(query).endpointing == milliseconds.map { .milliseconds($0) })
    }

    @Test(arguments: ["linear16", "linear32", "mulaw", "alaw"])
    func encodingsThatAreDecoded(_ encoding: String) throws {
        #expect(
            try options("encoding=\(encoding)&sample_rate=8000").source
                == .raw(encoding: encoding, sampleRate: 8_000, channels: 1))
    }

    /// Each with a part of what its answer must say.
    @Test(arguments: [
        ("sample_rate", "7999", "8000 to 48000"), ("sample_rate", "48001", "8000 to 48000"),
        ("sample_rate", "16k", "8000 to 48000"), ("sample_rate", "", "8000 to 48000"),
        ("sample_rate", "99999999999999999999999", "8000 to 48000"),
        ("channels", "0", "1 to 20"), ("channels", "21", "1 to 20"), ("channels", "-1", "1 to 20"),
        ("channels", "two", "1 to 20"),
        ("multichannel", "yes", "true, false"), ("interim_results", "1", "true, false"),
        ("vad_events", "", "true, false"), ("punctuate", "on", "true, false"), ("hansard_events", "0", "true, false"),
        ("smart_format", "x", "true, false"), ("numerals", "x", "true, false"), ("dictation", "x", "true, false"),
        ("profanity_filter", "x", "true, false"), ("diarize", "x", "true, false"),
        ("detect_entities", "x", "true, false"), ("mip_opt_out", "x", "true, false"),
        ("endpointing", "soon", "true, false, or milliseconds"), ("endpointing", "-1", "0 to 60000"),
        ("endpointing", "60001", "0 to 60000"),
        ("utterance_end_ms", "999", "1000 to 600000"), ("utterance_end_ms", "true", "1000 to 600000"),
        ("encoding", "opus", "linear16, linear32, mulaw, alaw"), ("encoding", "pcm", "linear16, linear32, mulaw, alaw"),
        ("encoding", "LINEAR16", "linear16, linear32, mulaw, alaw"), ("encoding", "", "linear16"),
        ("language", "de", "en"), ("language", "multi", "en"), ("language", "", "en"),
        ("language", "en-%3Cscript%3E", "en"), ("language", "en_US", "en"), ("language", "-en", "en"),
        ("language", "en-", "en"), ("language", "en--US", "en"),
        ("model", "", "1 to 256 characters"), ("tag", "", "1 to 256 characters"), ("keyterm", "", "1 to 256"),
        ("search", "", "1 to 256"), ("replace", "", "1 to 256"), ("keywords", "", "1 to 256"),
        ("language_hint", "", "1 to 256"), ("version", "", "1 to 256"),
        ("extra", "novalue", "key:value"), ("extra", ":value", "key:value"), ("extra", "", "key:value"),
        ("diarize_model", "v2", "latest, v1"),
        ("redact", "true", "leave it out"), ("redact", "pci", "leave it out"), ("redact", "", "leave it out"),
        ("callback", "https://example.com", "leave the parameter out"),
        ("callback_method", "PUT", "leave the parameter out"),
    ])
    func aBadValueIsNamedWithWhatWouldBeRight(_ name: String, _ value: String, _ right: String) throws {
        let error = try #require(refusal("model=x&\(name)=\(value)"))
        #expect(error.code == .invalid)
        #expect(error.field == name)
        #expect(error.message.contains(name))
        #expect(error.message.contains(right), "\(error.message)")
    }

    @Test(arguments: ["flac", "amr-nb", "amr-wb", "opus", "ogg-opus", "speex", "g729"])
    func encodingsOfTheProtocolThatAreNotDecodedAreSaidToBeUnsupported(_ encoding: String) throws {
        let error = try #require(refusal("encoding=\(encoding)&sample_rate=16000"))
        #expect(error.message.contains("not supported"))
    }

    @Test func aMalformedLanguageIsRefusedByAnEngineThatUnderstandsEverything() throws {
        #expect(try options("language=cy-GB", Self.any).language == "cy-GB")
        #expect(refusal("language=cy%0AGB", Self.any)?.field == "language")
        #expect(refusal("language=%2B%2B", Self.any)?.message.contains("BCP 47") == true)
        #expect(refusal("language=" + String(repeating: "a", count: 36), Self.any)?.field == "language")
    }

    @Test func whatBelongsTogether() throws {
        #expect(refusal("encoding=mulaw")?.field == "sample_rate")
        #expect(refusal("utterance_end_ms=1000")?.field == "utterance_end_ms")
        #expect(refusal("utterance_end_ms=1000&interim_results=false")?.field == "utterance_end_ms")
        // In whichever order: the query has none.
        #expect(refusal("interim_results=true&utterance_end_ms=1000") == nil)
        #expect(refusal("utterance_end_ms=1000&interim_results=true") == nil)
        // Without an encoding the container says what it is.
        #expect(try options("sample_rate=16000&channels=2").source == .container(channels: 2))
    }

    @Test func channelsApartAreLimitedByTheEngine() throws {
        let tooMany = try #require(refusal("encoding=linear16&sample_rate=8000&multichannel=true&channels=3"))
        #expect(tooMany.field == "channels")
        #expect(tooMany.message.contains("at most 2"))
        #expect(refusal("encoding=linear16&sample_rate=8000&multichannel=true&channels=2") == nil)
        #expect(refusal("encoding=linear16&sample_rate=8000&channels=3") == nil, "they are mixed")
        #expect(refusal("encoding=linear16&sample_rate=8000&multichannel=true&channels=20", Self.any) == nil)
    }

    @Test func tagsAndExtrasRepeat() throws {
        let options = try options("tag=one&tag=two&extra=a%3Ab&extra=c:d:e&extra=f:")
        #expect(options.tags == ["one", "two"])
        #expect(options.extra == ["a": "b", "c": "d:e", "f": ""])
    }

    @Test func listsAndTextsHaveALimit() throws {
        let tags = (0..<ListenParameters.maximumTags).map { "tag=\($0)" }
        #expect(try options(tags.joined(separator: "&")).tags.count == ListenParameters.maximumTags)
        #expect(refusal((tags + ["tag=more"]).joined(separator: "&"))?.field == "tag")
        let extras = (0..<ListenParameters.maximumTags).map { "extra=k\($0):v" }
        #expect(try options(extras.joined(separator: "&")).extra.count == ListenParameters.maximumTags)
        #expect(refusal((extras + ["extra=more:v"]).joined(separator: "&"))?.field == "extra")
        #expect(try options("tag=" + String(repeating: "é", count: 256)).tags[0].count == 256)
        #expect(refusal("tag=" + String(repeating: "x", count: 257))?.field == "tag")
        let long = try #require(refusal("model=" + String(repeating: "x", count: 5_000)))
        #expect(long.message.utf8.count < 200, "the answer does not repeat all of a long value")
    }

    @Test func whatHasNoEffectIsListed() throws {
        let query =
            "smart_format=true&numerals=true&numerals=true&keyterm=a&keyterm=b&diarize=false&punctuate=true&redact=false"
            + "&search=x&version=latest&diarize_model=v1&mip_opt_out=true"
        let ignored = try options(query).ignoredParameters
        #expect(
            ignored.sorted() == [
                "diarize_model", "keyterm", "mip_opt_out", "numerals", "punctuate", "search", "smart_format",
            ])
        #expect(try options(query).wantsPunctuation)
    }

    // MARK: What engines do

    static func engine(_ features: Set<EngineFeature>) -> EngineDescription {
        var engine = english
        engine.name = "able"
        engine.features = features
        return engine
    }
    static let transcribe = engine([.punctuation, .diarization, .redaction, .languageIdentification])
    static let listener = engine(Set(EngineFeature.allCases))

    @Test func whatTheEngineDoesIsNotListed() throws {
        let query = "punctuate=true&smart_format=true&diarize=true&language=multi&redact=pci&redact=SSN&redact=false"
        let options = try options(query + "&profanity_filter=true&keyterm=x", Self.transcribe)
        #expect(options.wantsPunctuation && options.wantsDiarization)
        #expect(options.language == "multi")
        #expect(options.redactions == [.paymentCards, .socialSecurityNumbers])
        #expect(options.ignoredParameters == ["profanity_filter", "keyterm"])
        #expect(options.engineParameters.isEmpty)
    }

    @Test(arguments: ["punctuate", "smart_format"]) func eitherAsksForWrittenWords(_ name: String) throws {
        for engine in [Self.english, Self.transcribe] {
            #expect(try options("\(name)=true", engine).wantsPunctuation)
            #expect(try !options("\(name)=false", engine).wantsPunctuation)
        }
        #expect(try options("\(name)=true", Self.english).ignoredParameters == [name])
        #expect(try options("punctuate=true&smart_format=false", Self.transcribe).wantsPunctuation)
    }

    @Test func anEngineThatReadsParametersGetsThemAsTheyWere() throws {
        let query =
            "keyterm=a+b&keyterm=c&numerals=true&dictation=false&smart_format=true&diarize_model=v1&version=latest"
            + "&replace=a:b&filler_words=true&redact=numbers&search=x&detect_entities=true&other=1&tag=t"
        let options = try options(query, Self.listener)
        #expect(
            options.engineParameters.map { "\($0.name)=\($0.value)" } == [
                "keyterm=a b", "keyterm=c", "numerals=true", "smart_format=true", "diarize_model=v1",
                "version=latest", "replace=a:b", "filler_words=true",
            ])
        #expect(options.wantsDiarization && options.wantsPunctuation)
        #expect(options.redactions == [.numbers])
        #expect(options.ignoredParameters == ["search", "detect_entities"], "results have no place for what they find")
    }

    /// An engine that takes out names does not therefore take out every number.
    @Test(arguments: ["numbers", "aggressive_numbers", "phi", ""])
    func aRedactionThatIsNotDoneIsRefused(_ value: String) throws {
        let error = try #require(refusal("redact=\(value)", Self.transcribe))
        #expect(error.field == "redact")
        #expect(error.message.contains("false, true, pci, ssn"))
    }

    @Test func speakersAndChannelsTogetherAreRefusedWhereTheEngineCannot() throws {
        let query = "diarize=true&multichannel=true"
        let error = try #require(refusal(query, Self.transcribe))
        #expect(error.field == "diarize")
        #expect(error.message.contains("leave one of them out"))
        #expect(refusal("multichannel=true&diarize_model=latest", Self.transcribe) != nil)
        #expect(refusal(query + "&encoding=linear16&sample_rate=8000&channels=1", Self.transcribe) == nil)
        #expect(try options(query, Self.listener).wantsDiarization)
        #expect(try options(query, Self.english).ignoredParameters == ["diarize"])
    }

    /// It would go into every usage row, where Postgres refuses it, or as something else.
    @Test(arguments: ["tag=a%00", "tag=%ff", "model=%C0%80", "extra=a:%00", "keyterm=%ED%A0%80"])
    func whatIsNoTextIsRefused(_ query: String) throws {
        let error = try #require(refusal(query))
        #expect(error.field == query.split(separator: "=").first.map(String.init))
        #expect(error.message.contains("UTF-8 without NUL"))
        #expect(try options("unknown=%00&%ff=1") == options(""))
    }

    @Test func findingOutTheLanguageIsAFeature() throws {
        #expect(refusal("language=multi", Self.any)?.message.contains("say which") == true)
        #expect(try options("language=MULTI", Self.transcribe).language == "MULTI")
    }

    @Test(arguments: [
        "alternatives=3&no_delay=true&filler_words=x&tier=enhanced&diarize_version=1&measurements=?", "%00=1&=&&&==&x",
        "Model=&ENCODING=opus&Redact=true",
    ])
    func unknownNamesAreIgnored(_ query: String) throws {
        #expect(try options(query) == options(""))
    }

    @Test func flagsAreReadInAnyCase() throws {
        #expect(try options("interim_results=True").wantsInterim)
        #expect(try !options("interim_results=FALSE").wantsInterim)
    }

    /// Whatever a client sends: an answer, and one that can be sent back in a header of limited size.
    @Test(arguments: 0..<20) func anyQueryIsReadOrRefused(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let names = [
            "model", "language", "encoding", "sample_rate", "channels", "multichannel", "interim_results",
            "endpointing",
            "utterance_end_ms", "tag", "extra", "redact", "callback", "diarize_model", "keyterm", "x",
        ]
        let pieces = [
            "true", "false", "1", "-1", "9223372036854775808", "linear16", "en", "%", "%4", "%41", "%zz", "+", "=", "&",
            ":",
            "%00", "%ff%fe", "é", "\u{2028}", "a", "16000", "%F0%9F%98%80", ";", "\"",
        ]
        for _ in 0..<500 {
            var query = ""
            for _ in 0..<Int.random(in: 0...6, using: &random) {
                query += (names.randomElement(using: &random) ?? "") + "="
                for _ in 0..<Int.random(in: 0...4, using: &random) {
                    query += pieces.randomElement(using: &random) ?? ""
                }
                query += "&"
            }
            guard let error = refusal(query) else { continue }
            #expect(error.code == .invalid)
            #expect(error.field.map(names.contains) == true, "\(query)")
            #expect(error.message.count < 400)
            let refused = HandshakeRefusal(error, request: Sample.session(1), now: moment(0))
            #expect(refused.status == 400)
            let header = refused.response.headers["dg-error"] ?? ""
            #expect(header.utf8.allSatisfy { 0x20...0x7E ~= $0 })
        }
    }
}
