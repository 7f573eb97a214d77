import Foundation
import Hansard
import Postgres
import PostgresTesting
import Testing

@testable import HansardServer

/// Sessions that ended before usage rows said how are told by what the connection store knew of them, if it is this database.
@Suite struct SessionColumnsTests {
    /// The state of a status and where its transcript is; nil is no status.
    typealias Before = (state: SessionState, location: String?)?

    @Test func migratedRowsSayWhatTheirStatusSaid() async throws {
        let url = try await TestPostgres.database()
        let folder = try TestFolder()
        let all = URL(filePath: StoreFixture.migrationsDirectory)
        let names = try FileManager.default.contentsOfDirectory(atPath: all.path).filter { $0 < "0009" }
        #expect(names.count == 8)
        for name in names {
            try FileManager.default.copyItem(at: all.appending(path: name), to: folder.url.appending(path: name))
        }
        try await Migrations(directory: folder.url.path).apply(to: url)
        let before: [Before] = [(.completed, "x"), (.failed, nil), (.storing, nil), nil]
        let pool = ConnectionPool(url, options: ConnectionPool.Options())
        for (number, status) in before.enumerated() { try await store(status, number, in: pool) }
        await pool.close()

        let fixture = try await StoreFixture.make(url: url)
        do {
            let store = PostgresUsageStore(pool: fixture.pool)
            var outcomes: [SessionOutcome?] = []
            for number in before.indices {
                let row = try await store.usage(of: Sample.session(number), tenant: Sample.tenant)
                outcomes.append(try #require(row).outcome)
            }
            func outcome(_ state: SessionState, hasTranscript: Bool) -> SessionOutcome {
                SessionOutcome(state: state, reason: "why", finals: 7, hasTranscript: hasTranscript)
            }
            #expect(
                outcomes == [
                    outcome(.completed, hasTranscript: true), outcome(.failed, hasTranscript: false),
                    outcome(.storing, hasTranscript: true), nil,
                ])
        } catch {
            await fixture.close()
            throw error
        }
        await fixture.close()
    }

    private func store(_ status: Before, _ number: Int, in pool: ConnectionPool) async throws {
        let session = Sample.session(number).rawValue
        try await pool.query(
            """
            INSERT INTO usage_rows (tenant_id, session_id, key_id, engine, model, language, tags, region, channels, audio_ms,
                engine_ms, connected_ms, started_at, ended_at)
            VALUES (\(Sample.tenant.rawValue), \(session), 'key_1', 'pocketsphinx', 'general', 'en', '{}', 'eu', 1, 1, 1, 1,
                now(), now())
            """)
        guard let status else { return }
        try await pool.query(
            """
            INSERT INTO session_status (session_id, tenant_id, key_id, state, end_state, reason, started_at, ended_at,
                audio_ms, engine_ms, finals, transcript_location, region)
            VALUES (\(session), \(Sample.tenant.rawValue), 'key_1', \(status.state.rawValue), 'failed', 'why', now(), now(),
                1, 1, 7, \(status.location), 'eu')
            """)
    }
}
