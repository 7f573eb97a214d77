import Foundation

/// Where the files of a PocketSphinx model are.
public struct SpeechModel: Sendable, Hashable {
    /// The acoustic model's folder.
    public var acousticModel: String
    /// The language model's file.
    public var languageModel: String
    /// The pronunciation dictionary's file.
    public var dictionary: String

    /// Names a model of one's own.
    public init(acousticModel: String, languageModel: String, dictionary: String) {
        self.acousticModel = acousticModel
        self.languageModel = languageModel
        self.dictionary = dictionary
    }

    /// US English, where Debian's package pocketsphinx-en-us installs it.
    public static let english = SpeechModel(
        acousticModel: "/usr/share/pocketsphinx/model/en-us/en-us",
        languageModel: "/usr/share/pocketsphinx/model/en-us/en-us.lm.bin",
        dictionary: "/usr/share/pocketsphinx/model/en-us/cmudict-en-us.dict"
    )

    /// - Throws: `LocalSpeechError` with `.modelMissing` naming the first file that is not there.
    func checkFiles() throws(LocalSpeechError) {
        let parts = [
            ("acoustic model", acousticModel + "/mdef"), ("language model", languageModel), ("dictionary", dictionary),
        ]
        for (name, path) in parts where !FileManager.default.isReadableFile(atPath: path) {
            throw LocalSpeechError(
                .modelMissing,
                """
                the \(name) \(path) cannot be read; \
                install the Debian package pocketsphinx-en-us, or give the paths of another model
                """
            )
        }
    }
}
