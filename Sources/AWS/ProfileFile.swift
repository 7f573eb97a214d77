/// One of the files that AWS's tools share, `config` or `credentials`: sections of settings, some of them with settings
/// below them.
///
/// Source: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
struct ProfileFile: Equatable {
    /// Which of the two; they name their sections differently.
    enum Kind {
        /// `[default]`, `[profile name]`, `[services name]` and others.
        case config
        /// `[name]`.
        case credentials
    }

    /// Settings by name, in small letters, with those below them.
    struct Section: Equatable {
        var settings: [String: String] = [:]
        var nested: [String: [String: String]] = [:]
    }

    /// By name.
    var profiles: [String: Section] = [:]
    /// Endpoints of services, by the name that a profile's `services` refers to.
    var services: [String: Section] = [:]

    /// Nothing.
    init() {}

    /// Reads a file's text.
    ///
    /// - Parameters:
    ///   - text: all of it.
    ///   - kind: which of the two files.
    ///   - path: for errors.
    init(_ text: String, kind: Kind, path: String) throws(AWSConfigurationError) {
        var place = Place.none
        var key: String?
        var defaultIsPrefixed = false
        let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
        for (index, line) in lines.enumerated() {
            let where_ = "\(path), line \(index + 1)"
            let content = AWSEnvironment.trimmed(line)
            if content.isEmpty || content.hasPrefix("#") || content.hasPrefix(";") { continue }
            if content.hasPrefix("[") {
                guard let end = content.firstIndex(of: "]") else {
                    throw AWSConfigurationError("\(where_): the section's ] is missing")
                }
                place = Self.place(of: content[content.index(after: content.startIndex)..<end], kind: kind)
                key = nil
                if place == .profile("default"), kind == .config {
                    // `[profile default]` makes `[default]` meaningless, wherever it stands.
                    let isPrefixed = content.dropFirst().drop(while: \.isWhitespace).hasPrefix("profile")
                    if isPrefixed, !defaultIsPrefixed { profiles["default"] = nil }
                    if !isPrefixed, defaultIsPrefixed { place = .ignored }
                    defaultIsPrefixed = defaultIsPrefixed || isPrefixed
                }
                if case .profile(let name) = place, profiles[name] == nil { profiles[name] = Section() }
            } else if line.first?.isWhitespace == true, let key {
                // A nested setting, or more of a value over several lines, which no setting here has.
                if let (name, value) = Self.setting(content) {
                    update(place) { $0.nested[key, default: [:]][name] = value }
                }
            } else {
                guard let (name, value) = Self.setting(content) else {
                    throw AWSConfigurationError("\(where_): neither a [section] nor name = value")
                }
                guard place != .none else { throw AWSConfigurationError("\(where_): a setting before any [section]") }
                key = name
                update(place) { $0.settings[name] = value }
            }
        }
    }

    /// The two files together: what is in `credentials` goes before.
    static func merged(config: ProfileFile, credentials: ProfileFile) -> ProfileFile {
        var result = config
        result.profiles.merge(credentials.profiles) { config, credentials in
            var section = config
            section.settings.merge(credentials.settings) { $1 }
            return section
        }
        return result
    }

    private enum Place: Equatable {
        /// Before the first section.
        case none
        case profile(String)
        case services(String)
        /// A section that means nothing here.
        case ignored
    }

    private static func place(of title: Substring, kind: Kind) -> Place {
        let words = AWSEnvironment.trimmed(title).split(maxSplits: 1, whereSeparator: \.isWhitespace)
        let name = words.count == 2 ? unquoted(AWSEnvironment.trimmed(words[1])) : ""
        switch (kind, words.first) {
        case (.credentials, let word?): return words.count == 1 ? .profile(unquoted(word)) : .ignored
        case (.config, "default") where words.count == 1: return .profile("default")
        case (.config, "profile") where !name.isEmpty: return .profile(name)
        case (.config, "services") where !name.isEmpty: return .services(name)
        default: return .ignored
        }
    }

    private static func unquoted(_ name: Substring) -> String {
        for quote in ["\"", "'"] where name.count >= 2 && name.hasPrefix(quote) && name.hasSuffix(quote) {
            return String(name.dropFirst().dropLast())
        }
        return String(name)
    }

    /// `name = value`, without the comment behind it.
    private static func setting(_ line: Substring) -> (String, String)? {
        guard let equals = line.firstIndex(of: "=") else { return nil }
        let name = AWSEnvironment.trimmed(line[..<equals]).lowercased()
        guard !name.isEmpty else { return nil }
        var value = line[line.index(after: equals)...]
        for index in value.indices where value[index] == "#" || value[index] == ";" {
            guard index > value.startIndex, value[value.index(before: index)].isWhitespace else { continue }
            value = value[..<index]
            break
        }
        return (name, String(AWSEnvironment.trimmed(value)))
    }

    private mutating func update(_ place: Place, _ change: (inout Section) -> Void) {
        switch place {
        case .profile(let name): change(&profiles[name, default: Section()])
        case .services(let name): change(&services[name, default: Section()])
        case .ignored, .none: break
        }
    }
}
