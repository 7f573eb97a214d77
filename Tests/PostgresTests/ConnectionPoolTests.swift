import Postgres
import PostgresTesting
import Testing

@Suite struct ConnectionPoolTests {
    private func pool(connections: Int = 3, _ change: (inout ConnectionPool.Options) -> Void = { _ in }) async throws
        -> ConnectionPool
    {
        var options = ConnectionPool.Options()
        options.connections = connections
        change(&options)
        return ConnectionPool(try await TestPostgres.database(), options: options)
    }

    @Test func manyCallersShareFewConnections() async throws {
        let pool = try await pool { $0.waitTimeout = .seconds(60) }
        let processes = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<200 {
                group.addTask { try await pool.query("SELECT pg_backend_pid() AS id")[0].value("id") }
            }
            return try await group.reduce(into: Set<Int>()) { $0.insert($1) }
        }
        #expect((1...3).contains(processes.count))
        await pool.close()
    }

    @Test func callersBeyondTheLimitAreRefusedAndWaitsEnd() async throws {
        let pool = try await pool(connections: 1) {
            $0.maximumWaiters = 1
            $0.waitTimeout = .milliseconds(200)
        }
        try await pool.withConnection { _ in
            // Of two that come while the only connection is lent, one waits in vain and the other is refused at once.
            let errors = await withTaskGroup(of: PostgresError?.self) { group in
                for _ in 0..<2 {
                    group.addTask {
                        do throws(PostgresError) {
                            try await pool.query("SELECT 1")
                            return nil
                        } catch {
                            return error
                        }
                    }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            #expect(errors.compactMap { $0?.kind } == [.poolExhausted, .poolExhausted])
            #expect(Set(errors.compactMap { $0?.message }).count == 2)
        }
        #expect(try await pool.query("SELECT 1").count == 1)
        await pool.close()
    }

    @Test func anOpenTransactionIsAnErrorAndDoesNotLeak() async throws {
        let pool = try await pool(connections: 1)
        try await pool.query("CREATE TABLE t (id bigint)")
        let lent = await #expect(throws: PostgresError.self) {
            try await pool.withConnection { connection in
                try await connection.query("BEGIN")
                try await connection.query("INSERT INTO t VALUES (1)")
            }
        }
        #expect(lent?.kind == .protocol)
        let alone = await #expect(throws: PostgresError.self) { try await pool.query("BEGIN") }
        #expect(alone?.kind == .protocol)
        #expect(try await pool.query("SELECT id FROM t").isEmpty)
        await pool.close()
    }

    @Test func transactionsThatTheServerGivesUpAreRunAgain() async throws {
        let pool = try await pool()
        try await pool.query("CREATE TABLE counter (value bigint)")
        try await pool.query("INSERT INTO counter VALUES (0)")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<3 {
                group.addTask {
                    for _ in 0..<10 {
                        // A caller may meet more conflicts in a row than the pool retries; it then begins anew.
                        var isDone = false
                        while !isDone {
                            do {
                                try await pool.transaction(isolation: .serializable) { connection in
                                    let value: Int = try await connection.query("SELECT value FROM counter")[0]
                                        .value("value")
                                    try await connection.query("UPDATE counter SET value = \(value + 1)")
                                }
                                isDone = true
                            } catch let error as PostgresError where error.isTransactionConflict {}
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try await pool.query("SELECT value FROM counter")[0].values == [.integer(30)])
        await pool.close()
    }

    @Test func aTerminatedIdleConnectionIsReplacedUnnoticed() async throws {
        let pool = try await pool(connections: 1)
        let process = try await pool.query("SELECT pg_backend_pid() AS id")[0].value("id", as: Int.self)
        let other = Connection(pool.url)
        try await other.query("SELECT pg_terminate_backend(\(process)::integer, 5000)")
        #expect(try await pool.query("SELECT pg_backend_pid() AS id")[0].value("id", as: Int.self) != process)
        await pool.close()
    }

    @Test func aClosedPoolRefuses() async throws {
        let pool = try await pool()
        try await pool.query("SELECT 1")
        async let running = pool.query("SELECT pg_sleep(0.2)")
        await pool.close()
        await pool.close()
        _ = try? await running
        let error = await #expect(throws: PostgresError.self) { try await pool.query("SELECT 1") }
        #expect(error?.kind == .unreachable)
    }

    @Test func aServerThatIsAwayFailsCallsAndComesBack() async throws {
        let cluster = try TestPostgres.separateCluster()
        let pool = ConnectionPool(try cluster.url())
        try await pool.query("SELECT 1")
        cluster.stop()
        for _ in 0..<20 {
            let error = await #expect(throws: PostgresError.self) { try await pool.query("SELECT 1") }
            #expect(error?.kind == .unreachable)
        }
        try cluster.restart()
        // The longest pause between attempts bounds how long this can go on; the count bounds it if that is broken.
        var answers = 0
        for _ in 0..<100 where answers == 0 {
            answers = ((try? await pool.query("SELECT 1")) ?? []).count
            if answers == 0 { try await Task.sleep(for: .milliseconds(50)) }
        }
        #expect(answers == 1)
        await pool.close()
        cluster.stop()
    }
}
