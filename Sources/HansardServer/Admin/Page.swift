import Crypto
import FoundationEssentials
import Hansard
import Web

/// A place in a list that is ordered by time and id, newest first: the next page begins behind it. Rows that come or go
/// meanwhile neither shift nor repeat the rest.
struct Cursor: Sendable, Equatable {
    var time: Date
    var id: String

    /// Bytes of the authentication code.
    static let codeBytes = 12

    /// The text that callers hand back; it is authenticated, so that it means what this server meant.
    func text(of list: String, secret: [UInt8]) -> String {
        let microseconds = Int64((time.timeIntervalSince1970 * 1_000_000).rounded())
        let payload = Array("\(microseconds) \(id)".utf8)
        return (payload + Self.code(payload, list, secret)).hexadecimal
    }

    /// - Parameters:
    ///   - parameter: the name under which the caller sent it.
    ///   - answer: the name under which the caller got it.
    /// - Throws: `.invalid` if the text is not one that `text` wrote for this list.
    init(
        _ text: String, of list: String, secrets: [[UInt8]], parameter: String = "after", answer: String = "next_cursor"
    ) throws(HansardError) {
        let bytes = Self.bytes(text) ?? []
        let payload = Array(bytes.dropLast(Self.codeBytes))
        let parts = String(decoding: payload, as: UTF8.self).split(separator: " ", maxSplits: 1)
        guard bytes.count > Self.codeBytes,
            secrets.contains(where: {
                constantTimeEquals(Self.code(payload, list, $0), Array(bytes.suffix(Self.codeBytes)))
            }),
            parts.count == 2, let microseconds = Int64(parts[0])
        else {
            throw HansardError(
                .invalid, "\(parameter) must be the \(answer) of an earlier answer of the same list", field: parameter)
        }
        time = Date(timeIntervalSince1970: Double(microseconds) / 1_000_000)
        id = String(parts[1])
    }

    init(time: Date, id: String) {
        self.time = time
        self.id = id
    }

    private static func code(_ payload: [UInt8], _ list: String, _ secret: [UInt8]) -> [UInt8] {
        Array(HMACSHA256.authenticate(Array("cursor \(list) ".utf8) + payload, key: secret).prefix(codeBytes))
    }

    private static func bytes(_ text: String) -> [UInt8]? {
        let digits = text.utf8.compactMap { Character(UnicodeScalar($0)).hexDigitValue }
        guard digits.count == text.utf8.count, digits.count % 2 == 0, digits.count <= 512 else { return nil }
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
}

/// What part of a list a call wants.
struct PageRequest: Sendable {
    static let sizes = 1...100
    static let defaultSize = 20
    /// Parameters that every list knows.
    static let parameters: Set<String> = ["limit", "after"]

    let list: String
    let limit: Int
    let after: Cursor?

    /// - Throws: `.invalid` for a bad `limit` or `after`, and for a parameter that the list does not know.
    init(_ call: AdminCall, list: String, filters: Set<String> = [], secrets: [[UInt8]]) throws(HansardError) {
        try call.requireQuery(only: Self.parameters.union(filters))
        try self.init(call.match, list: list, secrets: secrets)
    }

    /// - Parameter sizes: how many there may be on a page of this list.
    /// - Throws: `.invalid` for a bad `limit` or `after`.
    init(
        _ match: Route.Match, list: String, sizes: ClosedRange<Int> = Self.sizes, secrets: [[UInt8]]
    ) throws(HansardError) {
        self.list = list
        limit = try match.number("limit", sizes) ?? Self.defaultSize
        after = try match.value("after").map { text throws(HansardError) in
            try Cursor(text, of: list, secrets: secrets)
        }
    }

    /// Rows to ask the database for: one more than are shown tells whether there are others.
    var rows: Int { limit + 1 }

    /// The answer.
    ///
    /// - Parameter found: at most `rows` of them.
    func response<Item>(
        _ found: [Item], _ call: AdminCall, secret: [UInt8], cursor: (Item) -> Cursor,
        write: (Item, inout JSONText) -> Void
    ) -> HTTPResponse { response(found, call.match, secret: secret, cursor: cursor, write: write) }

    /// The cursor of the next page; nil if there is none.
    ///
    /// - Parameter found: at most `rows` of them.
    func next<Item>(after found: [Item], secret: [UInt8], cursor: (Item) -> Cursor) -> String? {
        guard found.count > limit else { return nil }
        return found.prefix(limit).last.map { cursor($0).text(of: list, secret: secret) }
    }

    /// The same for whichever plane.
    ///
    /// - Parameter also: writes what else the answer says.
    func response<Item>(
        _ found: [Item], _ match: Route.Match, secret: [UInt8], cursor: (Item) -> Cursor,
        also: (inout JSONText) -> Void = { _ in }, write: (Item, inout JSONText) -> Void
    ) -> HTTPResponse {
        let shown = found.prefix(limit)
        let next = next(after: found, secret: secret, cursor: cursor)
        var response = HTTPResponse.json { text in
            text.array("data") { text in
                for item in shown { text.object { write(item, &$0) } }
            }
            text.field("has_more", next != nil)
            text.field("next_cursor", orNull: next)
            also(&text)
        }
        if let next { response.headers.add("Link", match.link(toNext: next, "after")) }
        return response
    }
}

extension Route.Match {
    /// The `Link` to the next page (RFC 8288): the same address with another cursor.
    func link(toNext cursor: String, _ parameter: String) -> String {
        let kept = request.query.split(separator: "&").filter { !$0.hasPrefix("\(parameter)=") }
        let query = (kept + ["\(parameter)=\(cursor)"]).joined(separator: "&")
        return "<\(request.rawPath)?\(query)>; rel=\"next\""
    }
}
