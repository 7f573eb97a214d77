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

    @Test func resultChannelsFollowTheKindOfStream() {
        #expect(EngineAudio(sampleRate: 8_000, channels: 4, isMultichannel: true).resultChannels == 4)
        #expect(EngineAudio(sampleRate: 8_000, channels: 4, isMultichannel: false).resultChannels == 1)
    }
}
