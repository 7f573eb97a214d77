import FoundationEssentials
import Postgres
import PostgresTesting
import Testing

@Suite struct ConnectionTests {
    /// Values that each travel to the server and back.
    static let values: [PostgresValue] = [
        .null, .bool(true), .bool(false), .integer(0), .integer(.max), .integer(.min), .double(-0.1), .text(""),
        .text("é 漢字 \u{1F600} ' \" \\ $1 ; --"), .uuid(UUID()), .bytes([]), .bytes(Array(0...255)),
        .timestamp(Date(timeIntervalSinceReferenceDate: 0)),
        .timestamp(Date(timeIntervalSinceReferenceDate: 788_918_399.999999)),
        .timestamp(Date(timeIntervalSince1970: -86_400 * 365 * 200)),
        .timestamp(.distantFuture), .timestamp(.distantPast),
        .array([], of: .uuid), .array([.text("a"), .null, .text("\"},{")], of: .text),
        .array([.integer(1), .integer(-1)], of: .integer), .array([.bytes([0, 1]), .bytes([])], of: .bytes),
        .array([.bool(true), .null], of: .bool), .array([.uuid(UUID())], of: .uuid),
        .array([.timestamp(Date(timeIntervalSinceReferenceDate: 1.5))], of: .timestamp),
    ]

    @Test func valuesComeBackAsTheyWere() async throws {
        let connection = Connection(try await TestPostgres.database())
        for value in Self.values {
            let rows = try await connection.query("SELECT \(value) AS value")
            #expect(rows.first?.values == [value])
        }
    }

    @Test func timestampsAreExactToTheMicrosecond() async throws {
        let connection = Connection(try await TestPostgres.database())
        let date = Date(timeIntervalSinceReferenceDate: 811_111_111.123456)
        let row = try await connection.query(
            """
            SELECT \(date) = '2026-09-14 20:38:31.123456Z' AS same, to_char(\(date), 'SS.US') AS text,
                '1999-12-31 23:59:59.999999Z'::timestamptz AS before
            """
        )
        #expect(try row[0].value("same", as: Bool.self))
        #expect(try row[0].value("text", as: String.self) == "31.123456")
        #expect(try row[0].value("before", as: Date.self) == Date(timeIntervalSinceReferenceDate: -31_622_400.000001))
    }

    @Test func otherTypesThatColumnsHave() async throws {
        let connection = Connection(try await TestPostgres.database())
        let row = try await connection.query(
            """
            SELECT 1::smallint AS a, 2::integer AS b, 'x'::varchar(3) AS c, 'n'::name AS d, '{"k": 1}'::jsonb AS e,
                1.5::real AS f, ARRAY[3]::integer[] AS g, NULL::uuid AS h
            """
        )[0]
        #expect(try row.value("a", as: Int.self) == 1)
        #expect(try row.value("b", as: Int64.self) == 2)
        #expect(try row.value("c", as: String.self) == "x")
        #expect(try row.value("d", as: String.self) == "n")
        #expect(try row.value("e", as: String.self) == #"{"k": 1}"#)
        #expect(try row.value("f", as: Double.self) == 1.5)
        #expect(try row.value("g", as: [Int].self) == [3])
        #expect(try row.value("h", as: UUID?.self) == nil)
        #expect(throws: PostgresError.self) { try row.value("h", as: UUID.self) }
        #expect(throws: PostgresError.self) { try row.value("a", as: String.self) }
        #expect(throws: PostgresError.self) { try row.value("z", as: String?.self) }
        let error = await #expect(throws: PostgresError.self) { try await connection.query("SELECT 1.5::numeric") }
        #expect(error?.kind == .protocol)
        #expect(try await connection.query("SELECT 1 AS a").count == 1)
    }

    @Test func errorsCarryTheServersState() async throws {
        let connection = Connection(try await TestPostgres.database())
        try await connection.query("CREATE TABLE t (id bigint CONSTRAINT only_one UNIQUE)")
        #expect(try await connection.execute("INSERT INTO t VALUES (1), (2)") == 2)
        let duplicate = await #expect(throws: PostgresError.self) {
            try await connection.query("INSERT INTO t VALUES (\(1))")
        }
        #expect(duplicate?.kind == .server)
        #expect(duplicate?.sqlState == "23505")
        #expect(duplicate?.constraint == "only_one")
        #expect(duplicate?.detail?.contains("(id)=(1)") == true)
        let zero = await #expect(throws: PostgresError.self) { try await connection.query("SELECT \("a\0b")") }
        #expect(zero?.sqlState == "22021")
    }

    @Test func aStatementThatTakesTooLongIsEndedByTheServer() async throws {
        var options = ConnectionOptions()
        options.statementTimeout = .milliseconds(500)
        let connection = Connection(try await TestPostgres.database(), options: options)
        let error = await #expect(throws: PostgresError.self) { try await connection.query("SELECT pg_sleep(60)") }
        #expect(error?.kind == .timeout)
        #expect(error?.sqlState == "57014")
    }

    @Test func aServerThatDoesNotAnswerIsGivenUp() async throws {
        var options = ConnectionOptions()
        options.statementTimeout = .seconds(30)
        // We lose patience before the server's own time-out, as if that did not work.
        options.responseGrace = .seconds(-29)
        let connection = Connection(try await TestPostgres.database(), options: options)
        let first = try await connection.query("SELECT pg_backend_pid() AS id")
        let error = await #expect(throws: PostgresError.self) { try await connection.query("SELECT pg_sleep(60)") }
        #expect(error?.kind == .timeout)
        #expect(error?.sqlState == nil)
        // Another session takes over: the answer that is still to come must not be taken for another statement's.
        #expect(try await connection.query("SELECT pg_backend_pid() AS id") != first)
    }

    @Test func transactionsCommitRollBackAndRunAgain() async throws {
        let connection = Connection(try await TestPostgres.database())
        try await connection.query("CREATE TABLE t (id bigint)")
        struct Stop: Error {}
        await #expect(throws: Stop.self) {
            try await connection.transaction { connection in
                try await connection.query("INSERT INTO t VALUES (1)")
                throw Stop()
            }
        }
        try await connection.transaction { try await $0.query("INSERT INTO t VALUES (2)") }
        #expect(try await connection.query("SELECT id FROM t").map(\.values) == [[.integer(2)]])
        let swallowed = await #expect(throws: PostgresError.self) {
            try await connection.transaction { connection in
                try await connection.query("INSERT INTO t VALUES (3)")
                _ = try? await connection.query("SELECT 1 / 0")
            }
        }
        #expect(swallowed?.kind == .protocol)
        #expect(try await connection.query("SELECT id FROM t").count == 1)
        let nested = await #expect(throws: PostgresError.self) {
            try await connection.transaction { try await $0.transaction { _ in } }
        }
        #expect(nested?.kind == .protocol)
        let conflict = await #expect(throws: PostgresError.self) {
            try await connection.transaction { connection in
                try await connection.query("CREATE TABLE IF NOT EXISTS attempts_are_rolled_back (id bigint)")
                try await connection.query("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$")
            }
        }
        #expect(conflict?.isTransactionConflict == true)
    }

    @Test func aConnectionThatBreaksWithinATransactionDoesNotGoOnOutsideOfIt() async throws {
        let url = try await TestPostgres.database()
        let connection = Connection(url)
        let other = Connection(url)
        try await connection.query("CREATE TABLE t (id bigint)")
        let error = await #expect(throws: PostgresError.self) {
            try await connection.transaction { connection in
                let process = try await connection.query("SELECT pg_backend_pid() AS id")[0].value("id", as: Int.self)
                try await other.query("SELECT pg_terminate_backend(\(process)::integer, 5000)")
                _ = try? await connection.query("INSERT INTO t VALUES (1)")
                try await connection.query("INSERT INTO t VALUES (2)")
            }
        }
        #expect(error?.kind == .unreachable)
        #expect(try await connection.query("SELECT id FROM t").isEmpty)
    }

    @Test func passwordsAreNotInMessages() async throws {
        let url = try DatabaseURL("postgresql://user:se%63ret@127.0.0.1:1/nothing?connect_timeout=1")
        #expect(url.description == "postgresql://user@127.0.0.1:1/nothing")
        let error = await #expect(throws: PostgresError.self) { try await Connection(url).query("SELECT 1") }
        #expect(error?.kind == .unreachable)
        #expect(error?.description.contains("secret") == false)
        let invalid = #expect(throws: PostgresError.self) { try DatabaseURL("postgresql://user:secret@[::1/x") }
        #expect(invalid?.description.contains("secret") == false)
    }
}

@Suite struct DatabaseURLTests {
    @Test func anotherRoleLogsInToTheSameDatabase() throws {
        let url = try DatabaseURL("postgresql://owner:s%27cret@/a%27b?host=/tmp/a%20%5Cb&port=7&connect_timeout=1")
        let other = try url.loggingIn(as: "no'de")
        #expect(other.host == "/tmp/a \\b" && other.database == "a'b")
        #expect(other.description == "postgresql://no'de@/tmp/a \\b:7/a'b")
        #expect(try other.loggingIn(as: "owner").description == url.description)
        #expect(try !String(reflecting: url.loggingIn(as: "x")).contains("cret"))
    }
}

@Suite struct QueryTests {
    @Test func interpolationsBecomeParameters() {
        let name = "x'; DROP TABLE t; --"
        let missing: String? = nil
        let query: Query = "SELECT \(name), \(7), \(missing) FROM \(identifier: "a\"b")"
        #expect(query.sql == #"SELECT $1, $2, $3 FROM "a""b""#)
        #expect(query.parameters == [.text(name), .integer(7), .null])
    }

    @Test func aStatementIsPartOfAnother() {
        let part: Query = "SELECT \(identifier: "a") FROM t WHERE b = \(2) AND c = \(3)"
        let none: Query = "SELECT 1"
        let whole: Query = "SELECT \(1) FROM (\(part)) AS x, (\(none)) AS y, (\(part)) AS z LIMIT \(4)"
        #expect(
            whole.sql == """
                SELECT $1 FROM (SELECT "a" FROM t WHERE b = $2 AND c = $3) AS x, (SELECT 1) AS y, \
                (SELECT "a" FROM t WHERE b = $4 AND c = $5) AS z LIMIT $6
                """)
        #expect(whole.parameters == [1, 2, 3, 2, 3, 4].map(PostgresValue.integer))
        #expect(("\(whole)" as Query) == whole)
    }
}
