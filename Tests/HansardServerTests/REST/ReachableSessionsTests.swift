import EventLoops
import Foundation
import Hansard
import Testing
import Web

@testable import HansardServer

/// Lists of live and past sessions as both planes answer them, over stores that can be made to fail.
@Suite struct ReachableSessionsTests {
    let connections = MemoryConnectionStore()
    let history = MemorySessionHistory()

    private func sessions(_ reach: SessionReach = .own(Sample.tenant)) -> ReachableSessions {
        ReachableSessions(
            reach: reach, connections: connections, history: history, transcripts: "/here",
            absence: HansardError(.notFound, "nothing here"))
    }

    private func list(_ query: String = "", _ reach: SessionReach = .own(Sample.tenant)) async throws -> HTTPResponse {
        let match = Route.Match(
            request: REST.request("GET", "/list", query: query), id: Sample.session(0), segments: [:])
        return try await sessions(reach).list(match, PageRequest(match, list: "a", secrets: [[1]]), secret: [1])
    }

    private func ids(_ response: HTTPResponse) -> [Int] {
        let data = response.object["data"] as? [[String: Any]] ?? []
        return data.compactMap { one in (0..<50).first { Sample.session($0).description == one["id"] as? String } }
    }

    private func live(_ numbers: [Int], tenant: TenantID = Sample.tenant, node: NodeEpoch = Sample.epoch()) {
        connections.change { state in
            for number in numbers {
                let lease = Sample.lease(Sample.session(number), holder: node, tenant: tenant)
                state.leases[tenant, default: [:]][lease.session] = lease
            }
            if !state.nodes.contains(where: { $0.epoch == node }) {
                state.nodes.append(NodeRecord(epoch: node, heartbeat: UUID(), address: "", region: "", version: ""))
            }
        }
    }

    private func past(_ numbers: [Int], tenant: TenantID = Sample.tenant, state: SessionState = .completed) {
        for number in numbers {
            var row = Sample.end(Sample.session(number), holder: Sample.epoch()).end.usage
            row.tenant = tenant
            row.outcome = SessionOutcome(state: state, reason: "why", finals: 2, hasTranscript: true)
            history.rows.withLock { $0.append(row) }
        }
    }

    private func thrown(_ body: () async throws -> HTTPResponse) async -> HansardError? {
        do {
            _ = try await body()
            return nil
        } catch {
            return error as? HansardError
        }
    }

    @Test func bothHalvesAreOneList() async throws {
        live([5, 2])
        past([4, 1])
        past([3], state: .failed)
        #expect(ids(try await list()) == [5, 4, 3, 2, 1])
        #expect(ids(try await list("status=live")) == [5, 2])
        #expect(ids(try await list("status=active")) == [5, 2])
        #expect(ids(try await list("status=past")) == [4, 3, 1])
        #expect(ids(try await list("status=failed")) == [3])
        #expect(ids(try await list("engine=synthetic")) == [4, 3, 1])
        #expect(ids(try await list("key_id=\(Sample.key)&status=live")) == [5, 2])
        #expect(ids(try await list("key_id=other")) == [])
        #expect(ids(try await list("started_from=2026-05-28T20:26:42Z&started_before=2026-05-28T20:26:44Z")) == [3, 2])
    }

    @Test func pagesLeadThroughBoth() async throws {
        live([9, 6, 3])
        past([8, 7, 5, 4, 2, 1])
        for limit in 1...10 {
            var (seen, query): ([Int], String) = ([], "limit=\(limit)")
            while true {
                let answer = try await list(query)
                seen += ids(answer)
                guard let cursor = answer.object["next_cursor"] as? String else { break }
                #expect(ids(answer).count == limit && answer.object["has_more"] as? Bool == true)
                query = "limit=\(limit)&after=\(cursor)"
            }
            #expect(seen == (1...9).reversed().map { $0 }, "\(limit)")
        }
    }

    @Test func aPastSessionSaysHowItEnded() async throws {
        past([1], state: .failed)
        let one = try #require((try await list().object["data"] as? [[String: Any]])?.first)
        #expect(one["state"] as? String == "failed" && one["reason"] as? String == "why")
        #expect(one["transcript_url"] as? String == "/here/\(Sample.session(1))")
        #expect(one["engine"] as? String == "synthetic" && one["language"] as? String == "en")
        #expect(one["audio_ms"] as? Int == 2_000 && one["engine_ms"] as? Int == 2_000 && one["finals"] as? Int == 2)
        #expect(one["started_at"] as? String == "2026-05-28T20:26:41.000Z")
        #expect(one["ended_at"] as? String == "2026-05-28T20:26:43.000Z")
    }

    @Test func aTranscriptThatIsNotThereYetHasNoAddress() async throws {
        past([1], state: .storing)
        past([2])
        history.rows.withLock { $0[1].outcome?.hasTranscript = false }
        past([3])
        history.rows.withLock { $0[2].outcome = nil }
        let data = try #require(try await list().object["data"] as? [[String: Any]])
        #expect(data.map { $0["transcript_url"] is NSNull } == [true, true, true])
        #expect(data.map { $0["state"] as? String } == ["unknown", "completed", "storing"])
    }

    @Test func allTenantsLiveOnesAreThoseOfAllNodes() async throws {
        live([1, 4])
        live([2], tenant: Sample.otherTenant, node: Sample.epoch("node-2", 2))
        past([3], tenant: Sample.otherTenant)
        #expect(ids(try await list("", .tenants(nil))) == [4, 3, 2, 1])
        #expect(ids(try await list("", .tenants([Sample.otherTenant]))) == [3, 2])
        #expect(ids(try await list("", .tenant(Sample.otherTenant))) == [3, 2])
        #expect(ids(try await list("", .tenants([]))) == [])
        #expect(try await sessions(.tenants(nil)).get(Sample.session(2)).object["state"] as? String == "active")
        let hidden = await thrown { try await sessions(.tenants([Sample.tenant])).get(Sample.session(2)) }
        #expect(hidden?.code == .notFound)
        #expect(await thrown { try await sessions(.tenants([Sample.tenant])).get(Sample.session(3)) } == hidden)
        #expect(await thrown { try await sessions(.tenants([Sample.tenant])).get(Sample.session(40)) } == hidden)
    }

    @Test func theTwoHalvesNeedNotEachOthersStore() async throws {
        live([2])
        past([1])
        history.isAway.withLock { $0 = true }
        #expect(ids(try await list("status=live")) == [2])
        #expect(try await sessions().get(Sample.session(2)).status == 200)
        #expect(await thrown { try await list() }?.code == .unavailable)
        history.isAway.withLock { $0 = false }
        connections.faults.set(.away, for: ["leases"])
        #expect(ids(try await list("status=past")) == [1])
        #expect(await thrown { try await list() }?.code == .unavailable, "half a list must not look like all of it")
    }

    /// The other way round, who ends between the two reads would be in neither.
    @Test func liveOnesAreReadFirst() async throws {
        let order = Locked<[String]>([])
        connections.faults.set { operation, _ in
            order.withLock { $0.append(operation) }
            return .works
        }
        history.isRead.withLock { $0 = { order.withLock { $0.append("past") } } }
        _ = try await list()
        #expect(order.withLock { $0 } == ["leases", "past"])
    }

    @Test func oneIsReadFromWhicheverStoreKnowsIt() async throws {
        past([1])
        #expect(try await sessions().get(Sample.session(1)).object["state"] as? String == "completed")
        // The connection store knows first that the transcript is stored.
        past([2], state: .storing)
        let lease = Sample.lease(Sample.session(2), holder: Sample.epoch())
        connections.change { $0.statuses[Sample.session(2)] = .new(lease) }
        let fresh = try await sessions().get(Sample.session(2))
        #expect(fresh.object["state"] as? String == "completed" && fresh.object["engine"] as? String == "synthetic")
        #expect(fresh.object["transcript_url"] as? String == "/here/\(Sample.session(2))")
        // And it is enough while the other is away.
        history.isAway.withLock { $0 = true }
        let bare = try await sessions().get(Sample.session(2))
        #expect(bare.object["state"] as? String == "completed" && bare.object["engine"] == nil)
    }

    @Test func whatHasEndedIsNotEndedAgain() async throws {
        past([1])
        let error = await #expect(throws: HansardError.self) { try await sessions().live(Sample.session(1)) }
        #expect(error?.code == .conflict && error?.message.contains("completed") == true)
    }

    @Test(arguments: [
        ("status=gone", HansardError.Code.invalid, "status"), ("status=", .invalid, "status"),
        ("status=detached", .invalid, "status"), ("status=live&status=past", .invalid, "status"),
        ("key_id=", .invalid, "key_id"), ("engine=other", .invalid, "engine"),
        ("started_from=yesterday", .invalid, "started_from"), ("started_before=", .invalid, "started_before"),
        ("limit=0", .invalid, "limit"), ("after=00", .invalid, "after"),
        ("status=live&engine=synthetic", .contradictory, "engine"),
    ])
    func aBadQueryIsNamed(_ query: String, _ code: HansardError.Code, _ field: String) async throws {
        let error = await thrown { try await list(query) }
        #expect(error?.code == code && error?.field == field)
    }
}

/// Past sessions in memory.
final class MemorySessionHistory: SessionHistory {
    let rows = Locked<[UsageRow]>([])
    let isAway = Locked(false)
    /// Told of each read.
    let isRead = Locked<@Sendable () -> Void>({})

    private func seen(_ reach: SessionReach) throws -> [UsageRow] {
        isRead.withLock { $0 }()
        if isAway.withLock({ $0 }) { throw HansardError(.unavailable, "away") }
        return rows.withLock { $0 }.filter { reach.includes($0.tenant) }
    }

    func past(
        _ reach: SessionReach, _ filter: SessionFilter, before: SessionID?, limit: Int
    ) async throws -> [UsageRow] {
        let found = try seen(reach).filter { row in
            guard before.map({ row.session < $0 }) ?? true, filter.key.map({ $0 == row.key }) ?? true,
                filter.engine.map({ $0 == row.engine }) ?? true
            else { return false }
            let bounds = (filter.startedFrom ?? .distantPast, filter.startedBefore ?? .distantFuture)
            guard row.startedAt >= bounds.0, row.startedAt < bounds.1 else { return false }
            return filter.status?.pastState.map { $0 == row.outcome?.state } ?? filter.hasPast
        }
        return Array(found.sorted { $0.session > $1.session }.prefix(limit))
    }

    func past(_ session: SessionID, _ reach: SessionReach) async throws -> UsageRow? {
        try seen(reach).first { $0.session == session }
    }
}
