import EventLoops
import Foundation
import Hansard
import Testing

@testable import HansardServer

/// A dead node's leases in a real table.
@Suite(.timeLimit(.minutes(10))) struct DynamoDBReapTests {
    /// At 20 ms each, 100 transactions in a row take 2 s: with eight until the death is known, far less than 15.
    @Test func aThousandLeasesAreFewTransactions() async throws {
        let fixture = try await FaultFixture.make(attempts: 3)
        let (tenant, dead) = (TenantID(UUID()), NodeEpoch.new())
        let limit = AdmissionLimit(sessions: nil, version: 1)
        for _ in 0..<2 {
            try await withThrowingTaskGroup { group in
                for _ in 0..<900 {
                    group.addTask {
                        let outcome = try await fixture.peer.claim(.new(tenant, holder: dead), limit: limit)
                        #expect(outcome == .claimed)
                    }
                }
                try await group.waitForAll()
            }
        }
        #expect(try await fixture.peer.leases(heldBy: dead).count == 1_800)
        let metrics = Metrics()
        var reaper = LeaseReaper(
            connections: fixture.store, transcripts: MemoryTranscriptStore(), metrics: metrics,
            logger: LogRecorder().logger)
        reaper.lookInterval = .milliseconds(1)
        await reaper.reap(dead)
        #expect(try await fixture.peer.leases(of: tenant).isEmpty && metrics.leasesReaped.value == 1_800)
        let count = fixture.faults.operations.count { $0 == "TransactWriteItems" }
        #expect(1_800 / LeaseEnd.limit...100 ~= count, "\(count)")
        #expect(try await fixture.miscount(tenant) == 0)
    }
}
