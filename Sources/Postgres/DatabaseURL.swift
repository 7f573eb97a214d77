internal import CPostgres

/// Where a database is and as whom to log in: a libpq connection URL or keyword string, checked when it is made.
///
/// Its description leaves the password out, so that it may be logged.
/// Source: https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-CONNSTRING
public struct DatabaseURL: Sendable, Equatable, CustomStringConvertible {
    /// The whole text, password included.
    let text: String
    private let settings: [String: String]

    /// Checks a URL.
    ///
    /// - Throws: `.protocol` if libpq cannot read it. The message does not quote it, because libpq's own does, password
    ///   and all.
    public init(_ text: String) throws(PostgresError) {
        var problem: UnsafeMutablePointer<CChar>?
        guard let options = PQconninfoParse(text, &problem) else {
            PQfreemem(problem)
            throw PostgresError(
                .protocol,
                "the database URL cannot be read; it looks like postgresql://user:password@host:5432/database,"
                    + " with special characters of the password percent-encoded"
            )
        }
        defer { PQconninfoFree(options) }
        var settings: [String: String] = [:]
        var option = options
        // The array ends with an entry without a keyword.
        while let keyword = option.pointee.keyword {
            if let value = option.pointee.val { settings[String(cString: keyword)] = String(cString: value) }
            option += 1
        }
        self.text = text
        self.settings = settings
    }

    /// The host or the directory of the Unix socket; nil is libpq's default.
    public var host: String? { settings["host"] }
    /// The database's name; nil is libpq's default, the user's.
    public var database: String? { settings["dbname"] }
    /// libpq's `sslmode`; nil is its default, `prefer`.
    public var sslMode: String? { settings["sslmode"] }

    /// User, host, port and database.
    public var description: String {
        let user = settings["user"].map { "\($0)@" } ?? ""
        return "postgresql://\(user)\(host ?? "localhost"):\(settings["port"] ?? "5432")/\(database ?? "")"
    }

    /// The same database for another role, which logs in without a password: for a server that trusts its socket.
    ///
    /// - Throws: `.protocol` if libpq cannot read the name.
    public func loggingIn(as role: String) throws(PostgresError) -> DatabaseURL {
        var settings = settings.filter { $0.key != "password" }
        settings["user"] = role
        // In keyword form, because no value needs percent-encoding there.
        let words = settings.sorted { $0.key < $1.key }.map { name, value in
            "\(name)='" + value.replacing("\\", with: "\\\\").replacing("'", with: "\\'") + "'"
        }
        return try DatabaseURL(words.joined(separator: " "))
    }

    /// libpq's words on one line, without the password.
    func redacted(_ message: String) -> String {
        var text = message.split(separator: "\n").map { $0.drop { $0 == " " || $0 == "\t" } }.joined(separator: "; ")
        for secret in ["password", "sslpassword"] {
            guard let value = settings[secret], !value.isEmpty else { continue }
            text = text.split(separator: value, omittingEmptySubsequences: false).joined(separator: "***")
        }
        return text
    }
}
