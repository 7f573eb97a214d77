/// The last guard between a secret and the log: replaces what looks like one by `***`.
///
/// Nothing is supposed to log a secret; this is for the day something does, for instance by quoting a request.
struct LogRedaction: Sendable {
    /// Secrets that this process knows and that have no form of their own.
    private let known: [[UInt8]]

    /// What secrets of ours begin with (`SecretFormat`, `AccessToken`).
    private static let prefixes = ["hsk_", "hsa_", "hst_"].map { Array($0.utf8) }
    /// Words of an HTTP authorization, in lower case; what follows them is one secret if it is long enough.
    private static let schemes = ["bearer", "token", "basic"].map { Array($0.utf8) }
    private static let authorization = Array("authorization".utf8)
    /// Names whose value is a secret, in lower case.
    private static let names = ["password", "passwd", "secret", "api_key", "apikey"].map { Array($0.utf8) }
    /// The shortest word after a scheme that is taken for a secret: "token refused" is not one.
    private static let schemeValueLength = 16
    /// The shortest known secret that is looked for: anything shorter would hide ordinary words.
    private static let knownLength = 8

    /// - Parameter known: exact texts to be replaced wherever they appear.
    init(known: [Secret] = []) {
        self.known = known.map { Array($0.revealed.utf8) }.filter { $0.count >= Self.knownLength }
    }

    /// Whether a value under this name is a secret as a whole.
    func isSecret(name: String) -> Bool {
        let lower = Array(name.lowercased().utf8)
        return (Self.names + [Self.authorization]).contains { lower.contains($0) }
    }

    /// The text with what looks like a secret replaced.
    func redact(_ text: String) -> String {
        let input = Array(text.utf8)
        var output: [UInt8] = []
        output.reserveCapacity(input.count)
        var index = 0
        while index < input.count {
            if let (start, end) = secret(in: input, at: index) {
                output += input[index..<start] + "***".utf8
                index = end
            } else {
                output.append(input[index])
                index += 1
            }
        }
        return String(decoding: output, as: UTF8.self)
    }

    /// Where a secret begins and ends whose first sign (a prefix, a name, itself) is at `index`.
    private func secret(in input: [UInt8], at index: Int) -> (start: Int, end: Int)? {
        let rest = input[index...]
        if let length = known.filter({ rest.starts(with: $0) }).map(\.count).max() { return (index, index + length) }
        if let prefix = Self.prefixes.first(where: { rest.starts(with: $0) }) {
            let end = endOfWord(in: input, from: index + prefix.count)
            return end > index + prefix.count ? (index + prefix.count, end) : nil
        }
        if input[index] == UInt8(ascii: ":") { return passwordOfURL(in: input, at: index) }
        if let name = Self.names.first(where: { matches($0, input, at: index) }) {
            return value(in: input, after: index + name.count, endingAt: " ,;&}\"'\r\n")
        }
        // An authorization's value is a scheme and a word with a blank between.
        if matches(Self.authorization, input, at: index) {
            return value(in: input, after: index + Self.authorization.count, endingAt: ",;&}\"'\r\n")
        }
        let beginsWord = index == 0 || !isLetterOrDigit(input[index - 1])
        guard beginsWord, let scheme = Self.schemes.first(where: { matches($0, input, at: index) }) else { return nil }
        // `Token abc` in a header, `token, abc` in a subprotocol.
        let afterScheme = index + scheme.count
        let start = input[afterScheme...].firstIndex { !" ,".utf8.contains($0) } ?? input.count
        let end = endOfWord(in: input, from: start)
        return start > afterScheme && end - start >= Self.schemeValueLength ? (start, end) : nil
    }

    /// The value of `name: value`, `name=value` or `"name":"value"`.
    private func value(in input: [UInt8], after name: Int, endingAt ends: String) -> (start: Int, end: Int)? {
        let start = input[name...].firstIndex { !" \"':=".utf8.contains($0) } ?? input.count
        guard input[name..<start].contains(where: { ":=".utf8.contains($0) }) else { return nil }
        let end = input[start...].firstIndex { ends.utf8.contains($0) } ?? input.count
        return end > start ? (start, end) : nil
    }

    /// The password of `://user:password@`, seen from the second colon.
    private func passwordOfURL(in input: [UInt8], at index: Int) -> (start: Int, end: Int)? {
        let ends = " \"/?#\r\n".utf8
        guard let slash = input[..<index].lastIndex(where: { ends.contains($0) }), slash >= 2,
            input[(slash - 2)...slash].elementsEqual("://".utf8),
            let end = input[index...].firstIndex(where: { $0 == UInt8(ascii: "@") || ends.contains($0) }),
            input[end] == UInt8(ascii: "@"), end > index + 1
        else { return nil }
        return (index + 1, end)
    }

    /// Whether `word`, which is in lower case, is at `index` in whatever case.
    private func matches(_ word: [UInt8], _ input: [UInt8], at index: Int) -> Bool {
        guard index + word.count <= input.count else { return false }
        return zip(word, input[index...]).allSatisfy { $0 == $1 || ((0x41...0x5a).contains($1) && $0 == $1 | 0x20) }
    }

    /// What secrets of every form consist of: letters, digits and the signs of base64, base64url and JWTs.
    private func endOfWord(in input: [UInt8], from start: Int) -> Int {
        input[start...].firstIndex { !isLetterOrDigit($0) && !"-_.+/=~".utf8.contains($0) } ?? input.count
    }

    private func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
    }
}

extension Settings {
    /// Secrets that have no form by which they are found, each as it is given and without the word before it: what they are sent
    /// to may quote either.
    var knownSecrets: [Secret] {
        let credentials = [eventsAuthorization, deepgramKey].compactMap { $0 }
        let parts: [Substring] =
            credentials.compactMap { $0.revealed.split(separator: " ").last }
            + eventsSecrets.map { $0.revealed.dropFirst(WebhookSigning.prefix.count) }
        return secrets + eventsSecrets + credentials + parts.map { Secret(String($0)) }
    }
}

extension [UInt8] {
    fileprivate func contains(_ word: [UInt8]) -> Bool {
        indices.contains { self[$0...].starts(with: word) }
    }
}
