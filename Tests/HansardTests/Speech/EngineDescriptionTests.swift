import Testing

@testable import Hansard

@Suite struct EngineDescriptionTests {
    static func engine(_ languages: [String]) -> EngineDescription {
        EngineDescription(
            name: "test",
            modelName: "m",
            modelVersion: "1",
            architecture: "a",
            languages: languages,
            maxMultichannel: 2
        )
    }

    @Test(arguments: [
        ("en", true), ("EN", true), ("en-US", true), ("en-GB-oxendict", true), ("de-CH", true), ("de", false),
        ("de-DE", false), ("fr", false), ("", false), ("english", false), ("-en", true),
    ]) func languagesMatchByTagOrByPrimaryLanguage(tag: String, isUnderstood: Bool) {
        #expect(Self.engine(["en", "de-ch"]).understands(tag) == isUnderstood)
    }

    @Test func anEmptyListIsAnyLanguage() {
        #expect(Self.engine([]).understands("tlh"))
    }

    @Test func findingOutTheLanguageIsAFeature() {
        var engine = Self.engine([])
        #expect(!engine.understands("multi") && !engine.understands("MULTI"))
        engine.features = [.languageIdentification]
        #expect(engine.understands("multi") && engine.understands("Multi"))
    }

    /// A session goes on with an engine only where nothing leaks and nothing is nonsense.
    @Test func whoMayTakeOverASession() {
        var engine = Self.engine(["en"])
        var options = SessionOptions()
        options.wantsDiarization = true
        options.wantsPunctuation = true
        options.engineParameters = [ListenParameter(name: "keyterm", value: "x")]
        #expect(engine.canServe(options))
        options.language = "de"
        #expect(!engine.canServe(options))
        options.language = "en-GB"
        options.isMultichannel = true
        #expect(engine.canServe(options))
        options.source = .raw(encoding: "linear16", sampleRate: 8_000, channels: 3)
        #expect(!engine.canServe(options))
        options.isMultichannel = false
        engine.maxMultichannel = 0
        #expect(engine.canServe(options), "one channel is always taken")
        for redaction in Redaction.allCases {
            options.redactions = [redaction]
            engine.features = []
            #expect(!engine.canServe(options))
            engine.features = [redaction.feature]
            #expect(engine.canServe(options))
        }
    }

    @Test func resultChannelsFollowTheKindOfStream() {
        #expect(EngineAudio(sampleRate: 8_000, channels: 4, isMultichannel: true).resultChannels == 4)
        #expect(EngineAudio(sampleRate: 8_000, channels: 4, isMultichannel: false).resultChannels == 1)
    }
}
