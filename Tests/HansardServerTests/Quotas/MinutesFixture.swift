import EventLoops
import Foundation
import Hansard

@testable import HansardServer

/// A tenant with a key, a ledger, and lives of one node on one disk.
final class MinutesFixture: Sendable {
    /// One life: from its start to its end, by `stop` or by `kill`.
    final class Life: Sendable {
        let holder = NodeEpoch(node: "a node", epoch: UUID())
        let store: MemoryGrants
        let minutes: NodeMinutes
        let log = LogRecorder()
        private let running: Task<Void, Never>

        fileprivate init(_ fixture: MinutesFixture, after last: NodeEpoch?) throws {
            store = MemoryGrants(fixture.ledger)
            minutes = NodeMinutes(
                store: store, holder: holder, marks: fixture.marks, access: fixture.access, logger: log.logger,
                now: { [clock = fixture.clock] in clock.withLock { $0 } })
            try minutes.begin(after: last)
            running = Task { [minutes] in await minutes.run() }
        }

        /// Nothing is given back, and nothing is written after it.
        func kill() async throws {
            store.faults.set { _, _ in .away }
            running.cancel()
            await running.value
            await minutes.stop(within: .zero)
            // A process that is gone does not write in the next one's file, as this one's thread may at this moment.
            try await eventually("no write is under way") { !minutes.state.withLock(\.isWriting) }
        }

        func stop() async {
            running.cancel()
            await running.value
            await minutes.stop(within: .seconds(60))
        }

        /// Takes so much, however many steps it takes.
        func take(_ milliseconds: Int64, _ owners: [QuotaOwner]) async throws {
            var left = milliseconds
            try await eventually("\(milliseconds) ms are granted") {
                left -= minutes.take(left, owners)
                return left == 0
            }
        }
    }

    let folder: TestFolder
    let ledger = Locked(GrantLedger())
    let clock = Locked(moment(0))
    let tenants = MemoryTenantStore()
    let access: AccessDirectory
    let marks: SpendMarks
    let caller: Caller
    let tenant = QuotaOwner.tenant(Sample.tenant)
    var key: QuotaOwner { .key(caller.key.id) }

    init(tenant quotas: QuotaLimits, key keyQuotas: QuotaLimits = QuotaLimits()) async throws {
        folder = try TestFolder()
        marks = SpendMarks(stateDirectory: folder.url)
        access = AccessDirectory(store: tenants, logger: LogRecorder().logger)
        var tenant = Tenant(id: Sample.tenant, name: "one", createdAt: moment(0))
        tenant.quotas = quotas
        var key = Sample.apiKey(1)
        key.1.quotas = keyQuotas
        tenants.set(tenants: [tenant], keys: [key])
        try await access.refresh()
        caller = Caller(tenant: tenant, key: key.1, scopes: Set(Scope.allCases))
    }

    func begin(after last: NodeEpoch? = nil) throws -> Life { try Life(self, after: last) }

    var period: QuotaPeriod { QuotaPeriod(clock.withLock { $0 }) }

    func granted(_ owner: QuotaOwner, _ period: QuotaPeriod? = nil) -> Int64 {
        ledger.withLock { $0.use(owner, period ?? self.period)?.granted ?? 0 }
    }

    func mark(_ life: Life, _ owner: QuotaOwner, _ period: QuotaPeriod? = nil) -> Int64? {
        marks.read()?[SpendMarks.Mark(holder: life.holder, owner: owner, period: period ?? self.period)]
    }
}
