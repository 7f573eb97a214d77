import Hansard

/// A name and value of a query string, decoded.
struct QueryItem: Equatable {
    /// What each of them has to be: Postgres' text holds no NUL, and what is no UTF-8 would be read as something else.
    static let textRule = "UTF-8 without NUL"

    var name: String
    var value: String
    /// Whether both are text by `textRule`; what is no UTF-8 stands as U+FFFD in them.
    var isText = true

    /// Reads `application/x-www-form-urlencoded` text: `&` between items, `+` or `%20` for a space, bad percent escapes
    /// kept as they are.
    static func parse(_ query: String) -> [QueryItem] {
        query.utf8.split(separator: UInt8(ascii: "&")).map { item in
            let parts = item.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            let name = decode(parts[0])
            let value = parts.count > 1 ? decode(parts[1]) : []
            return QueryItem(
                name: String(decoding: name, as: UTF8.self), value: String(decoding: value, as: UTF8.self),
                isText: isText(name) && isText(value))
        }
    }

    private static func isText(_ bytes: [UInt8]) -> Bool {
        !bytes.contains(0) && String(validating: bytes, as: UTF8.self) != nil
    }

    private static func decode(_ text: Substring.UTF8View) -> [UInt8] {
        let bytes = Array(text)
        var output: [UInt8] = []
        output.reserveCapacity(bytes.count)
        var index = 0
        while index < bytes.count {
            if bytes[index] == UInt8(ascii: "%"), index + 2 < bytes.count, let high = hex(bytes[index + 1]),
                let low = hex(bytes[index + 2])
            {
                output.append(high << 4 | low)
                index += 3
            } else {
                output.append(bytes[index] == UInt8(ascii: "+") ? UInt8(ascii: " ") : bytes[index])
                index += 1
            }
        }
        return output
    }

    private static func hex(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}

/// The query parameters of `/v1/listen` (docs/protocol.md has the table): reads a known parameter strictly, so that a
/// bad value is answered with 400 and what would be right, and passes over unknown ones, as Deepgram does.
struct ListenParameters {
    /// Limits on lists and texts, so that one handshake cannot carry a novel into every usage row.
    static let maximumTags = 32
    static let maximumTextLength = 256

    /// Encodings that are decoded.
    static let encodings = ["linear16", "linear32", "mulaw", "alaw"]
    /// Encodings of the protocol that are not.
    static let unsupportedEncodings = ["flac", "amr-nb", "amr-wb", "opus", "ogg-opus", "speex", "g729"]
    static let sampleRates = 8_000...48_000
    static let channelCounts = 1...20
    /// Flags that only an engine which reads parameters itself acts upon; with others they are harmless to ignore, and listed
    /// in the transcript.
    static let engineFlags: Set<String> = ["numerals", "dictation", "profanity_filter", "mip_opt_out"]
    /// Parameters with free values of which the same holds.
    static let engineTexts: Set<String> = ["replace", "keywords", "keyterm", "language_hint", "version"]
    /// Parameters outside of the protocol's table that clients send and such an engine knows; others pass over them.
    static let engineExtras: Set<String> = ["filler_words", "no_delay"]

    private(set) var options = SessionOptions()
    private let engine: EngineDescription
    private var encoding: String?
    private var sampleRate: Int?
    private var channels: Int?
    private var wantsPunctuate = false
    private var wantsSmartFormat = false

    /// Reads a whole query.
    ///
    /// - Throws: `.invalid` with the parameter's name as `field`.
    init(query: String, engine: EngineDescription) throws(HansardError) {
        self.engine = engine
        options.engine = engine.name
        for item in QueryItem.parse(query) { try read(item) }
        try combine()
    }

    private mutating func read(_ item: QueryItem) throws(HansardError) {
        switch item.name {
        case "model": options.model = try text(item)
        case "language": options.language = try language(item)
        case "encoding": encoding = try encoding(item)
        case "sample_rate": sampleRate = try integer(item, in: Self.sampleRates)
        case "channels": channels = try integer(item, in: Self.channelCounts)
        case "multichannel": options.isMultichannel = try flag(item)
        case "interim_results": options.wantsInterim = try flag(item)
        case "vad_events": options.wantsSpeechStarted = try flag(item)
        case "punctuate": wantsPunctuate = try flag(item)
        case "smart_format":
            wantsSmartFormat = try flag(item)
            handOn(item)
        case "diarize": diarize(item, isWanted: try flag(item))
        case "hansard_events": options.wantsHansardEvents = try flag(item)
        case "endpointing": options.endpointing = try endpointing(item)
        case "utterance_end_ms": options.utteranceEnd = .milliseconds(try integer(item, in: 1_000...600_000))
        case "tag": try addTag(item)
        case "extra": try addExtra(item)
        case "redact": try redact(item)
        case "callback", "callback_method":
            throw bad(item, "callbacks are not supported: results come over this WebSocket; leave the parameter out")
        case "diarize_model":
            guard ["latest", "v1"].contains(item.value) else { throw bad(item, "allowed: latest, v1") }
            diarize(item, isWanted: true)
        // What they find has no place in the results of this server, whatever the engine.
        case "detect_entities": if try flag(item) { ignore(item.name) }
        case "search":
            _ = try text(item)
            ignore(item.name)
        case let name where Self.engineFlags.contains(name):
            if try flag(item), !handOn(item) { ignore(name) }
        case let name where Self.engineTexts.contains(name):
            _ = try text(item)
            if !handOn(item), name != "version" { ignore(name) }
        case let name where Self.engineExtras.contains(name):
            if item.isText, item.value.count <= Self.maximumTextLength { handOn(item) }
        default: break
        }
    }

    /// Checks what only holds between parameters.
    private mutating func combine() throws(HansardError) {
        if let encoding {
            guard let sampleRate else {
                throw HansardError(
                    .invalid, "sample_rate is required when encoding is given: a number from 8000 to 48000",
                    field: "sample_rate")
            }
            options.source = .raw(encoding: encoding, sampleRate: sampleRate, channels: channels ?? 1)
        } else {
            options.source = .container(channels: channels)
        }
        if options.utteranceEnd != nil, !options.wantsInterim {
            throw HansardError(
                .invalid, "utterance_end_ms needs interim_results=true", field: "utterance_end_ms")
        }
        if options.isMultichannel, let channels, channels > engine.maxMultichannel {
            throw HansardError(
                .invalid,
                "multichannel with channels=\(channels): the engine '\(engine.name)' takes at most "
                    + "\(engine.maxMultichannel) channels apart",
                field: "channels")
        }
        options.wantsPunctuation = wantsPunctuate || wantsSmartFormat
        if !engine.features.contains(.punctuation) {
            if wantsPunctuate { ignore("punctuate") }
            if wantsSmartFormat { ignore("smart_format") }
        }
        if options.wantsDiarization, options.isMultichannel, channels != 1,
            !engine.features.contains(.multichannelDiarization)
        {
            throw HansardError(
                .invalid,
                "diarize with multichannel: the engine '\(engine.name)' tells speakers apart or channels, not both; leave "
                    + "one of them out",
                field: "diarize")
        }
    }

    // MARK: What engines do

    /// Keeps the parameter for an engine that reads it itself.
    ///
    /// - Returns: whether it is one.
    @discardableResult
    private mutating func handOn(_ item: QueryItem) -> Bool {
        guard engine.features.contains(.listenParameters) else { return false }
        options.engineParameters.append(ListenParameter(name: item.name, value: item.value))
        return true
    }

    private mutating func diarize(_ item: QueryItem, isWanted: Bool) {
        guard isWanted else { return }
        guard engine.features.contains(.diarization) else { return ignore(item.name) }
        options.wantsDiarization = true
        if item.name != "diarize" { handOn(item) }
    }

    private mutating func redact(_ item: QueryItem) throws(HansardError) {
        let value = item.value.lowercased()
        if value == "false" { return }
        let done = Redaction.allCases.filter { engine.features.contains($0.feature) }
        guard !done.isEmpty else {
            throw bad(
                item, "the engine '\(engine.name)' does not redact, and ignoring it would leak; leave it out")
        }
        guard let redaction = done.first(where: { $0.rawValue == value }) else {
            let allowed = done.map(\.rawValue).joined(separator: ", ")
            throw bad(item, "allowed with the engine '\(engine.name)': false, \(allowed)")
        }
        options.redactions.insert(redaction)
    }

    // MARK: Values

    private func bad(_ item: QueryItem, _ right: String) -> HansardError {
        let shown = item.value.count > 64 ? item.value.prefix(64) + "..." : item.value[...]
        return HansardError(.invalid, "bad value '\(shown)' of \(item.name): \(right)", field: item.name)
    }

    private func flag(_ item: QueryItem) throws(HansardError) -> Bool {
        switch item.value.lowercased() {
        case "true": true
        case "false": false
        default: throw bad(item, "allowed: true, false")
        }
    }

    private func integer(_ item: QueryItem, in range: ClosedRange<Int>) throws(HansardError) -> Int {
        guard let value = Int(item.value), range.contains(value) else {
            throw bad(item, "allowed: a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    private func text(_ item: QueryItem) throws(HansardError) -> String {
        guard item.isText else { throw bad(item, "allowed: \(QueryItem.textRule)") }
        guard !item.value.isEmpty, item.value.count <= Self.maximumTextLength else {
            throw bad(item, "allowed: 1 to \(Self.maximumTextLength) characters")
        }
        return item.value
    }

    private func language(_ item: QueryItem) throws(HansardError) -> String {
        guard Self.isLanguageTag(item.value) else { throw bad(item, "allowed: a BCP 47 tag such as en or en-US") }
        guard engine.understands(item.value) else {
            if item.value.lowercased() == EngineDescription.anyLanguage {
                throw bad(
                    item,
                    "the engine '\(engine.name)' does not find out languages by itself; say which, for example en-US")
            }
            throw bad(
                item,
                "the engine '\(engine.name)' understands: \(engine.languages.joined(separator: ", ")) and their regions"
            )
        }
        return item.value
    }

    /// RFC 5646 section 2.1, as far as form goes: subtags of 1 to 8 letters and digits, at most 35 characters in all.
    private static func isLanguageTag(_ text: String) -> Bool {
        func isAlphanumeric(_ byte: UInt8) -> Bool {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "a")...UInt8(ascii: "z"):
                true
            default: false
            }
        }
        return text.utf8.count <= 35
            && text.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
                .allSatisfy { 1...8 ~= $0.count && $0.allSatisfy(isAlphanumeric) }
    }

    private func encoding(_ item: QueryItem) throws(HansardError) -> String {
        guard Self.encodings.contains(item.value) else {
            let known = Self.unsupportedEncodings.contains(item.value) ? "not supported; " : ""
            throw bad(
                item, "\(known)supported: \(Self.encodings.joined(separator: ", ")), or WAV with encoding left out")
        }
        return item.value
    }

    private func endpointing(_ item: QueryItem) throws(HansardError) -> AudioTime? {
        switch item.value.lowercased() {
        case "true": return SessionOptions().endpointing
        case "false": return nil
        default:
            guard let value = Int(item.value), 0...60_000 ~= value else {
                throw bad(item, "allowed: true, false, or milliseconds from 0 to 60000")
            }
            return .milliseconds(value)
        }
    }

    private mutating func addTag(_ item: QueryItem) throws(HansardError) {
        guard options.tags.count < Self.maximumTags else { throw bad(item, "at most \(Self.maximumTags) tags") }
        options.tags.append(try text(item))
    }

    private mutating func addExtra(_ item: QueryItem) throws(HansardError) {
        guard let colon = item.value.firstIndex(of: ":"), colon != item.value.startIndex else {
            throw bad(item, "allowed: key:value")
        }
        guard options.extra.count < Self.maximumTags else { throw bad(item, "at most \(Self.maximumTags) pairs") }
        options.extra[String(item.value[..<colon])] = String(try text(item)[item.value.index(after: colon)...])
    }

    private mutating func ignore(_ name: String) {
        if !options.ignoredParameters.contains(name) { options.ignoredParameters.append(name) }
    }
}
