import Foundation

/// The steps by which a database gets its schema: files `NNNN_name.sql` of a folder, applied in order, each once.
///
/// Each file runs in a transaction of its own together with the row that records it, so that it is applied wholly or not
/// at all. Nodes that start at once take turns by an advisory lock. A file that has been applied must never change: its
/// SHA-256 is recorded and compared.
public struct Migrations: Sendable {
    /// A migration as recorded in the database.
    public struct Applied: Sendable, Equatable {
        /// The file's number.
        public var version: Int
        /// The file's name without number and ending.
        public var name: String

        /// A migration by number and name.
        public init(version: Int, name: String) {
            self.version = version
            self.name = name
        }
    }

    private struct File {
        var version: Int
        var name: String
        var text: String
        var fileName: String
    }

    /// How long to wait for another process that is migrating the same database, and for locks of tables.
    private static let lockTimeoutSeconds = 60
    /// Any number that nothing else in the database uses as a key of advisory locks.
    private static let lockKey: Int64 = 0x4841_4e53_4152_44

    private let files: [File]

    /// Reads the files of a folder.
    ///
    /// - Throws: `.migration` if the folder cannot be read, a file's name has another form, or a number is missing or
    ///   used twice.
    public init(directory: String) throws(PostgresError) {
        let names: [String]
        do {
            names = try FileManager.default.contentsOfDirectory(atPath: directory)
        } catch {
            throw PostgresError(.migration, "the folder of migrations '\(directory)' cannot be read: \(error)")
        }
        var files: [File] = []
        for fileName in names.filter({ $0.hasSuffix(".sql") }).sorted() {
            files.append(try Self.file(named: fileName, in: directory))
        }
        guard !files.isEmpty else { throw PostgresError(.migration, "there is no NNNN_name.sql in '\(directory)'") }
        for (index, file) in files.enumerated() where file.version != index + 1 {
            let expected = index + 1
            throw PostgresError(
                .migration,
                "'\(file.fileName)' should have the number \(expected): none may be left out"
            )
        }
        self.files = files
    }

    /// Brings a database up to date; does nothing if it is.
    ///
    /// - Parameter url: with the role that owns the schema.
    /// - Returns: what was applied, in order.
    /// - Throws: `.migration` if an applied file has changed or is missing, or if a file fails, with the server's words.
    @discardableResult public func apply(to url: DatabaseURL) async throws -> [Applied] {
        var options = ConnectionOptions()
        options.statementTimeout = nil
        options.applicationName = "hansard migrate"
        let connection = Connection(url, options: options)
        let applied: Result<[Applied], any Error>
        do {
            applied = .success(try await apply(on: connection))
        } catch {
            applied = .failure(error)
        }
        // Closing the session gives the advisory lock back, on every path.
        await connection.disconnect()
        return try applied.get()
    }

    private func apply(on connection: Connection) async throws -> [Applied] {
        try await connection.query("SELECT set_config('lock_timeout', \("\(Self.lockTimeoutSeconds)s"), false)")
        do {
            try await connection.query("SELECT pg_advisory_lock(\(Self.lockKey))")
        } catch {
            // `catch let error where ...` after a typed throw crashes the compiler (6.3.1).
            guard error.sqlState == "55P03" else { throw error }
            let waited = "\(Self.lockTimeoutSeconds) s"
            throw PostgresError(.migration, "another process has been migrating the database for more than \(waited)")
        }
        try await connection.execute(
            """
            CREATE TABLE IF NOT EXISTS schema_migrations (
                version integer PRIMARY KEY,
                name text NOT NULL,
                checksum bytea NOT NULL,
                applied_at timestamptz NOT NULL DEFAULT now()
            )
            """
        )
        let known = try await check(on: connection)
        var applied: [Applied] = []
        for file in files.dropFirst(known) {
            do {
                try await connection.transaction { connection in
                    try await connection.run(script: file.text)
                    try await connection.execute(
                        """
                        INSERT INTO schema_migrations (version, name, checksum)
                        VALUES (\(file.version), \(file.name), sha256(\(Array(file.text.utf8))))
                        """
                    )
                }
            } catch let error as PostgresError where error.kind == .server || error.kind == .migration {
                let words = "'\(file.fileName)' was not applied: \(error.message)"
                throw PostgresError(.migration, words, detail: error.detail, sqlState: error.sqlState)
            }
            applied.append(Applied(version: file.version, name: file.name))
        }
        return applied
    }

    /// Compares what has been applied with the files.
    ///
    /// - Returns: how many have been applied.
    private func check(on connection: Connection) async throws -> Int {
        let rows = try await connection.query("SELECT version, name, checksum FROM schema_migrations ORDER BY version")
        for (index, row) in rows.enumerated() {
            let version: Int = try row.value("version")
            let name: String = try row.value("name")
            guard index < files.count, files[index].version == version, files[index].name == name else {
                throw PostgresError(
                    .migration,
                    "the database has migration \(version) '\(name)', for which there is no file: it belongs to another"
                        + " version of the program"
                )
            }
            let checksum = try await connection.query("SELECT sha256(\(Array(files[index].text.utf8))) AS checksum")
            guard try checksum.first?.value("checksum", as: [UInt8].self) == row.value("checksum", as: [UInt8].self)
            else {
                throw PostgresError(
                    .migration,
                    "'\(files[index].fileName)' has changed since it was applied; undo the change and write a new file"
                )
            }
        }
        return rows.count
    }

    private static func file(named fileName: String, in directory: String) throws(PostgresError) -> File {
        let stem = fileName.dropLast(4)
        guard let separator = stem.firstIndex(of: "_"), stem[..<separator].count == 4,
            let version = Int(stem[..<separator]), version > 0, stem.index(after: separator) < stem.endIndex
        else {
            throw PostgresError(.migration, "'\(fileName)' should be named like '0001_tenants.sql'")
        }
        do {
            let text = try String(contentsOfFile: "\(directory)/\(fileName)", encoding: .utf8)
            let name = String(stem[stem.index(after: separator)...])
            return File(version: version, name: name, text: text, fileName: fileName)
        } catch {
            throw PostgresError(.migration, "'\(directory)/\(fileName)' cannot be read as UTF-8: \(error)")
        }
    }
}
