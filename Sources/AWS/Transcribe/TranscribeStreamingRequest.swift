public import FoundationEssentials

/// What a stream to Amazon Transcribe should do. Checked by `validate`, written by `queryItems`.
///
/// What excludes each other by its nature cannot be said at all: a language that is given and identified, or personal
/// information that is labelled and taken out.
/// Source: https://docs.aws.amazon.com/transcribe/latest/APIReference/API_streaming_StartStreamTranscription.html
public struct TranscribeStreamingRequest: Sendable, Equatable {
    /// How the audio is written.
    public enum Encoding: String, Sendable, CaseIterable {
        /// Signed 16 bit, little-endian, channels interleaved, without any header.
        case pcm
        /// Opus in Ogg.
        case oggOpus = "ogg-opus"
        /// FLAC.
        case flac
    }

    /// What language is spoken.
    public enum Language: Sendable, Equatable {
        /// This one: `en-US`.
        case code(String)
        /// One of these, for the whole stream. At least two, one dialect of each language.
        case identifyOne(options: [String], preferred: String? = nil)
        /// These in turn. At least two, one dialect of each language.
        case identifyMultiple(options: [String], preferred: String? = nil)
    }

    /// What becomes of words of a vocabulary filter.
    public enum VocabularyFilterMethod: String, Sendable, CaseIterable {
        /// They are left out.
        case remove
        /// They become `***`.
        case mask
        /// They are marked.
        case tag
    }

    /// How soon words of partial results stay as they are.
    public enum Stability: String, Sendable, CaseIterable {
        /// Late, and with the fewest errors.
        case low
        /// Between.
        case medium
        /// Soon, with more errors.
        case high
    }

    /// What becomes of personal information, in complete segments alone.
    public struct PersonalInformation: Sendable, Equatable {
        /// What becomes of it.
        public enum Treatment: Sendable, Equatable, CaseIterable {
            /// It is named in `TranscribeAlternative.entities`.
            case identify
            /// It becomes `[PII]`.
            case redact
        }

        /// What becomes of it.
        public var treatment: Treatment
        /// Which; empty is all.
        public var types: [PersonalInformationType]

        /// A treatment of these types.
        public init(_ treatment: Treatment, types: [PersonalInformationType] = []) {
            self.treatment = treatment
            self.types = types
        }
    }

    /// Kinds of personal information, by the service's names.
    public enum PersonalInformationType: String, Sendable, CaseIterable {
        /// A bank account's number.
        case bankAccountNumber = "BANK_ACCOUNT_NUMBER"
        /// A bank's routing number.
        case bankRouting = "BANK_ROUTING"
        /// A card's number.
        case cardNumber = "CREDIT_DEBIT_NUMBER"
        /// A card's verification code.
        case cardVerification = "CREDIT_DEBIT_CVV"
        /// When a card expires.
        case cardExpiry = "CREDIT_DEBIT_EXPIRY"
        /// A number that opens an account.
        case pin = "PIN"
        /// An e-mail address.
        case email = "EMAIL"
        /// A postal address.
        case address = "ADDRESS"
        /// A person's name.
        case name = "NAME"
        /// A telephone number.
        case phone = "PHONE"
        /// A social security number.
        case socialSecurityNumber = "SSN"
        /// All of them.
        case all = "ALL"
    }

    /// What the service takes, in Hz.
    public static let sampleRates = 8_000...48_000
    /// Bytes of the name of a vocabulary, filter or model.
    public static let maximumNameBytes = 200
    /// Bytes of all names of a list.
    static let maximumNameListBytes = 3_000
    /// Bytes of the codes of all languages it may be.
    static let maximumLanguageListBytes = 200

    /// In Hz, within `sampleRates`.
    public var sampleRate: Int
    /// How the audio is written.
    public var encoding: Encoding
    /// What is spoken.
    public var language: Language
    /// 1, or 2 to have each channel transcribed by itself. More need more streams.
    public var channelCount = 1
    /// Names the session; another stream with the same one ends this one.
    public var sessionID: UUID?
    /// Vocabularies of the account: at most one with a given language, else one for each language.
    public var vocabularyNames: [String] = []
    /// Vocabulary filters of the account: at most one with a given language, else one for each language.
    public var vocabularyFilterNames: [String] = []
    /// What becomes of the filters' words; nil is the service's default.
    public var vocabularyFilterMethod: VocabularyFilterMethod?
    /// A language model of the account, of the given language.
    public var languageModelName: String?
    /// Whether to tell speakers apart. Not with two channels.
    public var showsSpeakers = false
    /// nil is not stabilized.
    public var partialResultsStability: Stability?
    /// nil leaves it as it is.
    public var personalInformation: PersonalInformation?

    /// A request without options.
    public init(sampleRate: Int, encoding: Encoding = .pcm, language: Language) {
        self.sampleRate = sampleRate
        self.encoding = encoding
        self.language = language
    }
}

/// What Amazon Transcribe would refuse of a request.
public struct TranscribeRequestError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The query parameter: `language-options`.
    public var parameter: String
    /// What is wrong, and what would be right.
    public var message: String

    init(_ parameter: String, _ message: String) {
        self.parameter = parameter
        self.message = message
    }

    /// For logs, and for whoever asked.
    public var description: String { "\(parameter): \(message)" }
}

extension TranscribeStreamingRequest {
    /// Checks what can be checked here; what the account has not, or a language cannot, the service says.
    public func validate() throws(TranscribeRequestError) {
        guard Self.sampleRates.contains(sampleRate) else {
            throw TranscribeRequestError(
                "sample-rate",
                "\(sampleRate) Hz is out of \(Self.sampleRates.lowerBound) to \(Self.sampleRates.upperBound) Hz")
        }
        guard (1...2).contains(channelCount) else {
            throw TranscribeRequestError("number-of-channels", "\(channelCount) channels: a stream has 1 or 2")
        }
        guard channelCount == 1 || !showsSpeakers else {
            throw TranscribeRequestError("show-speaker-label", "speakers are told apart in one channel, not in two")
        }
        try validateLanguage()
        try validateNames(vocabularyNames, of: "vocabulary-name")
        try validateNames(vocabularyFilterNames, of: "vocabulary-filter-name")
        guard vocabularyFilterMethod == nil || !vocabularyFilterNames.isEmpty else {
            throw TranscribeRequestError("vocabulary-filter-method", "there is no vocabulary filter")
        }
        if let languageModelName {
            try Self.validateName(languageModelName, of: "language-model-name")
            guard case .code = language else {
                throw TranscribeRequestError("language-model-name", "a model is of one language, which must be given")
            }
        }
    }

    private func validateLanguage() throws(TranscribeRequestError) {
        switch language {
        case .code(let code): try Self.validateCode(code, of: "language-code")
        case .identifyOne(let options, let preferred), .identifyMultiple(let options, let preferred):
            let parameter = "language-options"
            for option in options { try Self.validateCode(option, of: parameter) }
            guard options.count >= 2 else {
                throw TranscribeRequestError(parameter, "\(options.count) languages: there must be at least 2")
            }
            let languages = options.compactMap { $0.split(separator: "-").first }
            if let twice = languages.first(where: { language in languages.count { $0 == language } > 1 }) {
                throw TranscribeRequestError(parameter, "there are several dialects of \"\(twice)\": there may be one")
            }
            let count = options.joined(separator: ",").utf8.count
            guard count <= Self.maximumLanguageListBytes else {
                throw TranscribeRequestError(
                    parameter, "\(count) bytes in all, of at most \(Self.maximumLanguageListBytes)")
            }
            if let preferred, !options.contains(preferred) {
                throw TranscribeRequestError("preferred-language", "\"\(preferred)\" is not among the options")
            }
        }
    }

    private func validateNames(_ names: [String], of parameter: String) throws(TranscribeRequestError) {
        for name in names { try Self.validateName(name, of: parameter) }
        if case .code = language, names.count > 1 {
            throw TranscribeRequestError(parameter, "\(names.count) names: with a given language there may be 1")
        }
        let count = names.joined(separator: ",").utf8.count
        guard count <= Self.maximumNameListBytes else {
            throw TranscribeRequestError(
                parameter + "s", "\(count) bytes in all, of at most \(Self.maximumNameListBytes)")
        }
    }

    /// `en-US`, `ckb-IQ`: by its form, because the service learns languages.
    private static func validateCode(_ code: String, of parameter: String) throws(TranscribeRequestError) {
        let parts = code.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        let isCode =
            parts.count == 2 && (2...3).contains(parts[0].count) && parts[1].count == 2
            && parts[0].allSatisfy { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) }
            && parts[1].allSatisfy { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) }
        guard isCode else {
            throw TranscribeRequestError(parameter, "\"\(code.prefix(32))\" is none: it would be like en-US")
        }
    }

    private static func validateName(_ name: String, of parameter: String) throws(TranscribeRequestError) {
        let isName = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                true
            default: false
            }
        }
        guard isName, (1...maximumNameBytes).contains(name.utf8.count) else {
            throw TranscribeRequestError(
                parameter, "\"\(name.prefix(32))\" is none: it would be 1 to 200 letters, digits, dots, - and _")
        }
    }
}
