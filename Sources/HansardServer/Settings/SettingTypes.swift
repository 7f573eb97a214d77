import AWS
import FoundationEssentials
import Logging
import Postgres
import Web

extension SettingType where Value == Int {
    /// A whole number within a range.
    static func integer(_ range: ClosedRange<Int>, of what: String) -> SettingType {
        SettingType(
            unit: what,
            expected: "a whole number from \(range.lowerBound) to \(range.upperBound)",
            parse: { text in
                guard text.first != "+", let number = Int(text), range.contains(number) else { return nil }
                return number
            },
            format: { "\($0)" }
        )
    }
}

extension SettingType where Value == Double {
    /// A number above 0, with a decimal point if need be.
    static func rate(of what: String, upTo limit: Double) -> SettingType {
        SettingType(
            unit: what,
            expected: "a number above 0, up to \(plain(limit))",
            parse: { text in
                let isDecimal = text.utf8.allSatisfy { $0 == UInt8(ascii: ".") || (48...57).contains($0) }
                guard isDecimal, let number = Double(text), number > 0, number <= limit else { return nil }
                return number
            },
            format: { plain($0) }
        )
    }

    private static func plain(_ number: Double) -> String {
        number == number.rounded() ? "\(Int(number))" : "\(number)"
    }
}

extension SettingType where Value == Duration {
    /// A time with its unit, within a range.
    static func duration(_ range: ClosedRange<Duration>) -> SettingType {
        let (least, most) = (DurationText.format(range.lowerBound), DurationText.format(range.upperBound))
        return SettingType(
            unit: "duration",
            expected: "a duration with its unit (ms, s, m, h) from \(least) to \(most)",
            parse: { text in DurationText.parse(text).flatMap { range.contains($0) ? $0 : nil } },
            format: { DurationText.format($0) }
        )
    }
}

extension SettingType where Value == ByteCount {
    /// A size within a range.
    static func bytes(_ range: ClosedRange<ByteCount>) -> SettingType {
        SettingType(
            unit: "bytes",
            expected: "bytes, or a number with KiB, MiB or GiB, from \(range.lowerBound) to \(range.upperBound)",
            parse: { text in ByteCount(text: text).flatMap { range.contains($0) ? $0 : nil } },
            format: { $0.description }
        )
    }
}

extension SettingType where Value == String {
    /// A file, relative to the working directory if it does not begin with `/`.
    static let file = path("file")
    /// A folder, relative to the working directory if it does not begin with `/`.
    static let folder = path("folder")

    private static func path(_ what: String) -> SettingType {
        SettingType(
            unit: what,
            expected: "the path of a \(what) in this machine's file system",
            parse: { $0.isEmpty || $0.contains("\0") || $0.contains("://") ? nil : $0 },
            format: { $0 }
        )
    }

    /// The name of a table of DynamoDB.
    static let tableName = SettingType(
        unit: "name",
        expected: "a table's name of 3 to 255 letters, digits, dots, hyphens and underscores",
        parse: { text in
            let pieces = stride(from: 0, to: text.count, by: 64).map { text.dropFirst($0).prefix(64) }
            let areNames = pieces.allSatisfy { SettingType.name("").parse(String($0)) != nil }
            return (3...255).contains(text.utf8.count) && areNames ? text : nil
        },
        format: { $0 }
    )

    /// The id, ARN or alias of a key.
    static let keyName = SettingType(
        unit: "key",
        expected: "a key's id, ARN or alias, for example alias/transcripts",
        parse: { text in
            let isVisible = text.utf8.allSatisfy { (0x21...0x7e).contains($0) }
            return (1...2_048).contains(text.utf8.count) && isVisible ? text : nil
        },
        format: { $0 }
    )

    /// What people are shown.
    static var title: SettingType {
        SettingType(
            unit: "text",
            expected: "1 to 100 characters, none of which controls anything, without spaces at either end",
            parse: { text in
                let isShown = text.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }
                let isTrimmed = text.first?.isWhitespace == false && text.last?.isWhitespace == false
                return (1...100).contains(text.count) && isShown && isTrimmed ? text : nil
            },
            format: { $0 }
        )
    }

    /// A short word for names of machines and places, fit for logs, keys and file names.
    static func name(_ what: String) -> SettingType {
        SettingType(
            unit: "name",
            expected: "\(what) of 1 to 64 letters, digits, dots, hyphens and underscores",
            parse: { text in
                let isNameByte = { (byte: UInt8) in
                    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                        || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20) || ".-_".utf8.contains(byte)
                }
                return (1...64).contains(text.utf8.count) && text.utf8.allSatisfy(isNameByte) ? text : nil
            },
            format: { $0 }
        )
    }

    /// A host name or address and a port, as others would dial it.
    static let hostAndPort = SettingType(
        unit: "host:port",
        expected: "a host name or address and a port, for example node-1.example.net:8080",
        parse: { text in
            guard let (host, port) = splitHostAndPort(text), port > 0 else { return nil }
            let isName = SettingType.name("").parse(host) != nil
            return isName || IPAddress(host) != nil ? text : nil
        },
        format: { $0 }
    )
}

extension SettingType where Value == TranscriptsPlace {
    /// A folder or a bucket.
    static let transcripts = SettingType(
        unit: "folder or s3://bucket/prefix",
        expected: "the path of a folder in this machine's file system, or s3://bucket/prefix",
        parse: { text in
            if text.hasPrefix("s3://") { return S3Location(text).map(TranscriptsPlace.bucket) }
            return SettingType<String>.folder.parse(text).map(TranscriptsPlace.folder)
        },
        format: { place in
            switch place {
            case .folder(let folder): folder
            case .bucket(let location): "\(location)"
            }
        }
    )
}

extension SettingType where Value == SocketAddress {
    /// An address of this machine and a port.
    static let address = SettingType(
        unit: "address:port",
        expected: "an IP address and a port, for example 127.0.0.1:8080, 0.0.0.0:80 or [::1]:8080",
        parse: { text in
            guard let (host, port) = splitHostAndPort(text) else { return nil }
            // The one name that everybody types, and that means the same everywhere.
            if host == "localhost" { return SocketAddress(host: "127.0.0.1", port: port) }
            guard let address = IPAddress(host), address.isIPv4 != host.contains(":") else { return nil }
            return SocketAddress(host: host, port: port)
        },
        format: { $0.description }
    )
}

extension SettingType where Value == [AddressRange] {
    /// Addresses and ranges, comma-separated.
    static let addressRanges = SettingType(
        unit: "addresses",
        expected: "IP addresses or ranges, comma-separated, for example 10.0.0.0/8,192.0.2.7",
        parse: { text in
            let ranges = splitList(text).map { AddressRange($0) }
            return ranges.contains(nil) ? nil : ranges.compactMap { $0 }
        },
        format: { $0.isEmpty ? "none" : $0.map(\.description).joined(separator: ",") }
    )
}

extension SettingType where Value == [Secret] {
    /// The shortest secret that is accepted, in characters.
    static let secretLength = 32

    /// Keys of our own making.
    static let secrets = secretList("at least \(secretLength) characters, for example from `openssl rand -hex 32`") {
        $0.count >= secretLength
    }

    /// One secret, or the new and the old one.
    ///
    /// - Parameters:
    ///   - expected: what one of them is, for people.
    ///   - check: whether a text is one.
    static func secretList(_ expected: String, check: @escaping @Sendable (String) -> Bool) -> Self {
        Self(
            unit: "secret",
            expected: "\(expected); while rotating, the new and the old one, comma-separated",
            parse: { text in
                let secrets = splitList(text)
                return (1...2).contains(secrets.count) && secrets.allSatisfy(check) ? secrets.map(Secret.init) : nil
            },
            format: { $0.isEmpty ? "none" : "***" }
        )
    }
}

extension SettingType where Value == Secret {
    /// A secret of somebody else's making.
    static let secret = SettingType(
        unit: "secret",
        expected: "1 to 512 visible characters",
        parse: { text in
            (1...512).contains(text.utf8.count) && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f } ? Secret(text) : nil
        },
        format: { _ in "***" }
    )
}

extension SettingType where Value == WebSocketURL {
    /// Where a server of WebSockets is.
    static let webSocketURL = SettingType(
        unit: Setting.addressUnit,
        expected: "an address such as wss://host or ws://host:port, without user, password and query",
        parse: { text in
            guard let url = WebSocketURL(text), !url.target.contains("?") else { return nil }
            return url
        },
        format: { $0.description }
    )
}

extension SettingType where Value == [String] {
    /// Two or more of Amazon Transcribe's languages.
    static let transcribeLanguages = SettingType(
        unit: "codes",
        expected: "two or more of Amazon Transcribe's language codes between commas, such as en-US,es-US, one of each "
            + "language",
        parse: { text in
            let codes = splitList(text)
            let languages = Set(codes.map { $0.prefix { $0 != "-" } })
            guard codes.count >= 2, languages.count == codes.count,
                codes.allSatisfy(TranscribeLanguages.codes.contains)
            else { return nil }
            return codes
        },
        format: { $0.joined(separator: ",") }
    )
}

extension SettingType where Value == DatabaseURL {
    /// A libpq connection URL.
    static let databaseURL = SettingType(
        unit: Setting.addressUnit,
        expected: "a libpq URL, postgresql://user:password@host:5432/database, with special characters of the password "
            + "percent-encoded",
        parse: { text in
            // libpq also reads keyword strings, but one form is enough, and junk without `=` would be a database's name.
            guard text.hasPrefix("postgresql://") || text.hasPrefix("postgres://") else { return nil }
            return try? DatabaseURL(text)
        },
        format: { $0.description }
    )
}

extension SettingType where Value: CaseIterable & RawRepresentable, Value.RawValue == String {
    /// One of a few words.
    static var choice: SettingType {
        let words = Value.allCases.map(\.rawValue)
        let all =
            words.count == 1 ? words[0] : "\(words.dropLast().joined(separator: ", ")) or \(words[words.count - 1])"
        return SettingType(
            unit: words.joined(separator: "|"),
            expected: all,
            parse: { Value(rawValue: $0) },
            format: { $0.rawValue }
        )
    }
}

/// Splits `host:port` or `[v6]:port`; nil if there is no port from 0 to 65535.
private func splitHostAndPort(_ text: String) -> (host: String, port: Int)? {
    guard let colon = text.lastIndex(of: ":") else { return nil }
    let digits = text[text.index(after: colon)...]
    guard digits.utf8.allSatisfy({ (48...57).contains($0) }), let port = UInt16(digits) else { return nil }
    var host = text[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") {
        host = host.dropFirst().dropLast()
        guard host.contains(":") else { return nil }
    } else if host.contains(":") {
        return nil
    }
    return host.isEmpty ? nil : (String(host), Int(port))
}

/// The parts between commas without the blanks around them; an empty part stays, so that it is refused.
func splitList(_ text: String) -> [String] {
    text.split(separator: ",", omittingEmptySubsequences: false).map { part in
        String(part.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }
}
