import Foundation
import Hansard
import Postgres

@testable import HansardServer

/// A session of a node of its own that was lost: 20 s in one segment and 40 s in the next one, of which others may know before
/// the node's own records come.
struct LostSession: Sendable {
    /// Where the next segment begins.
    enum Cut: CaseIterable, Sendable {
        /// At another engine.
        case engine
        /// In another month.
        case month
    }

    /// What comes to the ledger, in whichever order.
    enum Arrival: CaseIterable, Sendable {
        /// The node's records of either segment.
        case first, second
        /// What a reaper knew, and what another one knew.
        case told, toldMore
        /// The node's life is given up.
        case retired
    }

    static let seconds = 60
    static let firstSeconds = 20
    static let told: Int64 = 45_000
    static let toldMore: Int64 = 60_000

    let holder = NodeEpoch(node: "lost", epoch: UUID())
    let tenant: TenantID
    let records: [UsageRecord]

    init(_ number: Int, _ cut: Cut, of tenant: TenantID = Sample.tenant) {
        self.tenant = tenant
        let startedAt = BillingFixture.january.end - (cut == .month ? Double(Self.firstSeconds) : 7_000)
        let whole = UsageRecord.session(number, of: tenant, startedAt: startedAt, seconds: Self.seconds)
        guard cut == .engine else {
            records = whole
            return
        }
        func used(_ seconds: Int) -> UsageCounters {
            let milliseconds = Int64(seconds) * 1_000
            return UsageCounters(audio: milliseconds, connected: milliseconds, engine: milliseconds)
        }
        var meter = UsageMeter(whole[0])
        records =
            [whole[0]]
            + meter.advance(
                to: used(Self.firstSeconds), engine: "deepgram", channels: 1,
                at: startedAt + Double(Self.firstSeconds))
            + meter.end(
                at: used(Self.seconds), engine: "deepgram", channels: 1, now: startedAt + Double(Self.seconds))
    }

    var session: SessionID { records[0].session }
    var startedAt: Date { records[0].sessionStartedAt }
    func segment(_ number: Int) -> [UsageRecord] { records.filter { $0.segment == number } }

    /// What a reaper tells.
    func reaped(_ audio: Int64) -> ReapedUsage {
        ReapedUsage(
            Sample.lease(session, holder: holder, tenant: tenant), audio: audio,
            foundAt: startedAt + Double(Self.seconds) + 10)
    }

    /// What the session has once these have come, in milliseconds: never more than anybody has said.
    static func total(_ arrived: Set<Arrival>) -> Int64 {
        let own: Int64 = (arrived.contains(.first) ? 20_000 : 0) + (arrived.contains(.second) ? 40_000 : 0)
        guard arrived.contains(.retired) else { return own }
        return max(own, arrived.contains(.toldMore) ? toldMore : arrived.contains(.told) ? told : 0)
    }
}

extension StoreFixture {
    /// Makes the nodes' lives known, as they are before their first session.
    func register(_ sessions: [LostSession]) async throws {
        for one in sessions { try await PostgresUsageLedger(pool: pool).register(one.holder, spool: UUID()) }
    }

    /// Something comes, by way of either of two nodes.
    func arrive(_ arrival: LostSession.Arrival, of lost: LostSession, isPeer: Bool = false) async throws {
        let ledger = PostgresUsageLedger(pool: isPeer ? peerPool : pool)
        switch arrival {
        case .first: _ = try await ledger.ingest(lost.segment(0))
        case .second: _ = try await ledger.ingest(lost.segment(1))
        case .told: try await ledger.note([lost.reaped(LostSession.told)])
        case .toldMore: try await ledger.note([lost.reaped(LostSession.toldMore)])
        case .retired: try await retire(lost.holder)
        }
    }

    /// Gives a life up, as operators do.
    ///
    /// - Returns: of how many sessions there is more then.
    @discardableResult func retire(_ holder: NodeEpoch) async throws -> Int {
        try await ownerPool.transaction { connection in
            try await connection.execute(
                "UPDATE usage_sources SET retired_at = now() WHERE node = \(holder.node) AND epoch = \(holder.epoch)")
            return try await connection.query(
                "SELECT count_reaped_usage(\(holder.node), \(holder.epoch)) AS n"
            ).only().value("n")
        }
    }

    /// What each session has in the ledger, in milliseconds of audio.
    func totals() async throws -> [SessionID: Int64] {
        let rows = try await ownerPool.query(
            "SELECT session_id, sum(audio_ms)::bigint AS n FROM usage_segments GROUP BY session_id")
        return try rows.reduce(into: [:]) { $0[SessionID(try $1.value("session_id"))] = try $1.value("n") }
    }
}

extension Array {
    /// All orders in which its elements can stand.
    var orders: [[Element]] {
        guard count > 1 else { return [self] }
        return indices.flatMap { index in
            var rest = self
            let one = rest.remove(at: index)
            return rest.orders.map { [one] + $0 }
        }
    }
}
