import EventLoops
import Foundation
import Hansard
import Logging
import Testing

@testable import HansardServer

/// What happens between the last final and the close: in which order, and what if a store is away.
@Suite(.timeLimit(.minutes(10))) struct SettlementTests {
    let fixture: SettlementFixture
    let spool: Spool
    let settlement: Settlement

    init() throws {
        fixture = try SettlementFixture()
        spool = try fixture.disk.open().0
        settlement = fixture.settlement(spool)
    }

    @Test func theOrderAtTheEnd() async throws {
        let end = try await fixture.live(1, spool: spool)
        let order = Locked<[String]>([])
        let before = spool.bytes
        for (name, faults) in [
            ("transcripts", fixture.transcripts.faults), ("connections", fixture.connections.faults),
        ] {
            faults.set { [spool] operation, _ in
                // The end, with transcript and usage, is in the spool before any store hears of it.
                let isSpooled = spool.bytes > before
                order.withLock { $0.append("\(name).\(operation)" + (isSpooled ? "" : " too early")) }
                return .works
            }
        }
        await settlement.settle(end)
        order.withLock { $0.append("told") }
        #expect(order.withLock { $0 } == ["transcripts.put", "connections.release", "told"])
        #expect(fixture.status(1)?.state == .completed)
        #expect(fixture.usage.stored.isEmpty, "the client does not wait for the usage row: it is in the spool")
        #expect(spool.unsettledSessions == 1)
        await settlement.workOnce()
        fixture.expectAllIsDone(end)
        #expect(fixture.transcripts.faults.calls == ["put"])
        #expect(fixture.connections.faults.calls == ["release"])
        try await eventually("the spool forgets it") { spool.unsettledSessions == 0 }
        #expect(await settlement.backlog == 0)
        spool.close()
        #expect(try fixture.disk.recovered().isEmpty)
    }

    /// If power fails right after the client was told, the end must be found on the disk.
    @Test func theEndIsOnTheDiskBeforeAnyStoreIsAsked() async throws {
        spool.close()
        let disk = SpoolDiskTests.Disk()
        let spool = try fixture.disk.open(sync: { disk.sync($0) }).0
        let end = try await fixture.live(1, spool: spool)
        let file = fixture.disk.file(1)
        let wasOnDisk = Locked<[Bool]>([])
        fixture.transcripts.faults.set { _, _ in
            wasOnDisk.withLock { $0.append(disk.holds(file)) }
            return .works
        }
        await fixture.settlement(spool).settle(end)
        #expect(wasOnDisk.withLock { $0 } == [true])
        spool.close()
    }

    @Test func aSessionWithoutAudioHasNoTranscript() async throws {
        let end = try await fixture.live(1, spool: spool, hasAudio: false)
        await settlement.settle(end)
        #expect(fixture.status(1)?.state == .completed, "there is nothing to wait for")
        await settlement.workOnce()
        fixture.expectAllIsDone(end)
        #expect(fixture.transcripts.faults.calls.isEmpty)
        spool.close()
    }

    @Test(arguments: [StoreFaults.Fate.away, .hangs]) func aTranscriptStoreThatIsAwayIsNotWaitedForLong(
        _ fate: StoreFaults.Fate
    ) async throws {
        let end = try await fixture.live(1, spool: spool)
        fixture.transcripts.faults.set(fate, for: ["put"])
        await settlement.settle(end)
        #expect(fixture.status(1)?.state == .storing)
        #expect(fixture.status(1)?.endState == .completed)
        #expect(fixture.status(1)?.transcriptLocation == nil)
        #expect(!fixture.isHeld(1), "a session that is storing holds no slot")
        #expect(fixture.metrics.transcriptsWaiting.value == 1)
        await settlement.workOnce()
        #expect(fixture.usage.stored.count == 1, "what one store does not take does not hold up another")
        #expect(fixture.usage.stored[end.lease.session]?.outcome?.state == .storing, "lists say that it waits")
        await settlement.workOnce()
        #expect(fixture.usage.batches.count == 1, "and are told again when it has changed, not before")
        #expect(spool.unsettledSessions == 1)
        fixture.transcripts.faults.clear()
        try await eventually("the transcript is stored") {
            await settlement.workOnce()
            return await settlement.backlog == 0
        }
        fixture.expectAllIsDone(end)
        #expect(fixture.connections.faults.calls == ["release", "finishStoring"])
        spool.close()
        #expect(try fixture.disk.recovered().isEmpty)
    }

    @Test(arguments: [StoreFaults.Fate.away, .hangs, .answerLost]) func aReleaseOfUnknownOutcomeIsTriedAgain(
        _ fate: StoreFaults.Fate
    ) async throws {
        let end = try await fixture.live(1, spool: spool)
        fixture.connections.faults.set(fate, for: ["release"])
        await settlement.settle(end)
        #expect(await settlement.backlog == 1)
        await settlement.workOnce()
        #expect(spool.unsettledSessions == 1)
        fixture.connections.faults.clear()
        try await eventually("released") {
            await settlement.workOnce()
            return await settlement.backlog == 0
        }
        fixture.expectAllIsDone(end)
        spool.close()
    }

    /// The status that says `storing` arrived, its answer did not, and by the next attempt the transcript is stored.
    @Test func aLostAnswerDoesNotLeaveASessionStoringForEver() async throws {
        let end = try await fixture.live(1, spool: spool)
        fixture.transcripts.faults.set(.away, for: ["put"])
        fixture.connections.faults.set(.answerLost, for: ["release"])
        await settlement.settle(end)
        #expect(fixture.status(1)?.state == .storing)
        fixture.transcripts.faults.clear()
        fixture.connections.faults.clear()
        try await eventually("all is done") {
            await settlement.workOnce()
            return await settlement.backlog == 0
        }
        fixture.expectAllIsDone(end)
        spool.close()
    }

    @Test func usageGoesInBatchesAndOnce() async throws {
        var limits = SettlementFixture.limits
        limits.usageBatch = 4
        let settlement = fixture.settlement(spool, limits: limits)
        var ends: [SessionEnd] = []
        for number in 1...10 { ends.append(try await fixture.live(number, spool: spool)) }
        for end in ends { await settlement.settle(end) }
        fixture.usage.faults.set(.away, for: ["record"])
        await settlement.workOnce()
        #expect(fixture.usage.faults.calls.count == 1, "a store that is away is asked once in a pass")
        fixture.usage.faults.clear()
        for _ in 0..<3 { await settlement.workOnce() }
        #expect(fixture.usage.batches.map(\.count).sorted() == [2, 4, 4])
        #expect(Set(fixture.usage.batches.joined()).count == 10)
        ends.forEach { fixture.expectAllIsDone($0) }
        #expect(await settlement.backlog == 0)
        spool.close()
    }

    /// A row that the store will never take must not keep the others from their invoices.
    @Test func aRefusedRowDoesNotHoldUpTheOthers() async throws {
        for number in 1...5 {
            let tags = number == 3 ? [MemoryUsageStore.poison] : ["a"]
            await settlement.settle(try await fixture.live(number, spool: spool, tags: tags))
        }
        for _ in 0..<3 { await settlement.workOnce() }
        #expect(
            fixture.usage.stored.keys.sorted { $0.description < $1.description }
                == [1, 2, 4, 5].map { Sample.session($0) })
        #expect(await settlement.backlog == 1)
        #expect(fixture.log.count(of: "refuses", atLeast: .error) == 1, "people must look, and read it once")
        #expect(
            fixture.log.entries.first { $0.message.contains("refuses") }?.metadata["session_id"]
                == "\(Sample.session(3))")
        try await eventually("the others are settled") { spool.unsettledSessions == 1 }
        spool.close()
        #expect(try fixture.disk.recovered().map(\.began.session) == [Sample.session(3)], "nothing is thrown away")
    }

    @Test func aStoreThatIsAwayIsAskedOnceInAPass() async throws {
        fixture.connections.faults.set(.away, for: ["release"])
        fixture.transcripts.faults.set(.hangs, for: ["put"])
        for number in 1...4 { await settlement.settle(try await fixture.live(number, spool: spool)) }
        fixture.connections.faults.forgetCalls()
        fixture.transcripts.faults.forgetCalls()
        await settlement.workOnce()
        #expect(fixture.connections.faults.calls == ["release"])
        #expect(fixture.transcripts.faults.calls == ["put"])
        spool.close()
    }

    /// A node must start although a bucket takes connections and says nothing.
    @Test func aStartDoesNotWaitForAStoreThatHangs() async throws {
        var limits = SettlementFixture.limits
        (limits.transcriptRetryWait, limits.startWait) = (.seconds(3_600), .milliseconds(20))
        let settlement = fixture.settlement(spool, limits: limits)
        let end = try await fixture.live(1, spool: spool)
        fixture.transcripts.faults.set(.hangs, for: ["put", "checkHealth"])
        await settlement.settle(end)
        await settlement.workOnce(patience: limits.startWait)
        await settlement.checkTranscriptsAtStart()
        #expect(fixture.log.count(of: "cannot be used yet", atLeast: .error) <= 1)
        #expect(await settlement.awayStores == ["transcripts"])
        #expect(await settlement.backlog == 1)
        fixture.transcripts.faults.clear()
        try await eventually("the transcript is stored") {
            await settlement.workOnce()
            return await settlement.backlog == 0
        }
        fixture.expectAllIsDone(end)
        #expect(await settlement.awayStores.isEmpty)
    }

    /// What a hanging bucket does not take must hold up neither invoices nor slots.
    @Test func aTranscriptStoreThatHangsHoldsUpNothingElse() async throws {
        var limits = SettlementFixture.limits
        limits.transcriptRetryWait = .seconds(3_600)
        let settlement = fixture.settlement(spool, limits: limits)
        fixture.transcripts.faults.set(.hangs, for: ["put", "checkHealth"])
        await settlement.settle(try await fixture.live(1, spool: spool))
        let work = Task { await settlement.work() }
        try await eventually("a put hangs") { fixture.transcripts.faults.calls.count == 2 }
        fixture.connections.faults.set(.away, for: ["release"])
        for number in 2...3 { await settlement.settle(try await fixture.live(number, spool: spool)) }
        fixture.connections.faults.clear()
        try await eventually("usage is recorded") { fixture.usage.stored.count == 3 }
        try await eventually("slots are free") { !fixture.isHeld(2) && !fixture.isHeld(3) }
        #expect((1...3).map { fixture.status($0)?.state } == [.storing, .storing, .storing])
        // A node that stops does not wait for it either.
        work.cancel()
        await work.value
        fixture.transcripts.faults.clear()
        try await eventually("all is done") {
            await settlement.workOnce()
            return await settlement.backlog == 0
        }
        spool.close()
    }

    /// A node that stops waits for a store that works, and not for one that was away.
    @Test func aStopDoesNotWaitForAStoreThatHangs() async throws {
        var limits = SettlementFixture.limits
        (limits.transcriptRetryWait, limits.retryWait) = (.seconds(3_600), .seconds(3_600))
        limits.stopWait = .milliseconds(20)
        let settlement = fixture.settlement(spool, limits: limits)
        fixture.transcripts.faults.set(.hangs, for: ["put", "checkHealth"])
        let end = try await fixture.live(1, spool: spool)
        await settlement.settle(end)
        try await eventually("it counts as away") { await settlement.awayStores == ["transcripts"] }
        await settlement.finish()
        #expect(fixture.usage.stored.count == 1 && fixture.status(1)?.state == .storing)
        #expect(await settlement.backlog == 1)
        fixture.transcripts.faults.clear()
        await settlement.finish()
        await settlement.finish()
        fixture.expectAllIsDone(end)
        spool.close()
    }

    /// What an earlier life left is stored before its slot is given back, so that nobody reads `storing` in passing.
    @Test func aTranscriptThatCanBeStoredIsStoredFirst() async throws {
        let end = try await fixture.live(1, spool: spool)
        #expect(await spool.appendDurably(.ended(end.lease.session, end.end)))
        spool.close()
        let (next, recovery) = try fixture.disk.open()
        let settlement = fixture.settlement(next)
        await settlement.recover(recovery.sessions)
        let order = Locked<[String]>([])
        for (name, faults) in [
            ("transcripts", fixture.transcripts.faults), ("connections", fixture.connections.faults),
        ] {
            faults.set { operation, _ in
                order.withLock { $0.append("\(name).\(operation)") }
                return .works
            }
        }
        await settlement.workOnce()
        #expect(order.withLock { $0 } == ["transcripts.put", "connections.release"])
        #expect(fixture.status(1)?.state == .completed && fixture.usage.stored.count == 1)
        next.close()
    }

    @Test func awayAndBackAreOneLineEach() async throws {
        fixture.connections.faults.set(.away, for: ["release"])
        fixture.usage.faults.set(.away, for: ["record"])
        for number in 1...3 { await settlement.settle(try await fixture.live(number, spool: spool)) }
        for _ in 0..<5 { await settlement.workOnce() }
        #expect(fixture.log.count(of: "the connection store does not answer", atLeast: .warning) == 1)
        #expect(fixture.log.count(of: "usage store does not take", atLeast: .warning) == 1)
        #expect(fixture.log.count(of: "again") == 0)
        fixture.connections.faults.clear()
        fixture.usage.faults.clear()
        for _ in 0..<3 { await settlement.workOnce() }
        #expect(fixture.log.count(of: "the connection store answers again") == 1)
        #expect(fixture.log.count(of: "usage store takes what sessions leave again") == 1)
        #expect(fixture.log.entries.count == 4)
        spool.close()
    }

    /// One tenant's crowd is no outage, and holds up nobody else's slots.
    @Test func othersInTheWayAreNoOutage() async throws {
        let lease = Sample.lease(Sample.session(9), holder: fixture.holder, tenant: Sample.otherTenant)
        fixture.connections.change { $0.leases[Sample.otherTenant] = [lease.session: lease] }
        fixture.connections.faults.set(.contended, for: ["release"])
        for number in 1...3 { await settlement.settle(try await fixture.live(number, spool: spool)) }
        let status = Sample.end(Sample.session(9), holder: fixture.holder, hasAudio: false).status(
            transcriptLocation: nil)
        settlement.abandon(lease, status: status)
        try await eventually("all wait") { await settlement.backlog == 4 }
        fixture.connections.faults.forgetCalls()
        await settlement.workOnce()
        #expect(fixture.connections.faults.calls == ["release", "release"], "one of each tenant in a pass")
        #expect(await settlement.awayStores.isEmpty && fixture.log.entries.isEmpty)
        fixture.connections.faults.clear()
        await settlement.workOnce()
        await settlement.workOnce()
        #expect(await settlement.backlog == 0)
        spool.close()
    }

    @Test func theSlotOfAnAbandonedClaimIsGivenBack() async throws {
        let lease = Sample.lease(Sample.session(1), holder: fixture.holder)
        fixture.connections.change { $0.leases[Sample.tenant] = [lease.session: lease] }
        fixture.connections.faults.set(.away, for: ["release"])
        let status = Sample.end(Sample.session(1), holder: fixture.holder, hasAudio: false).status(
            transcriptLocation: nil)
        settlement.abandon(lease, status: status)
        try await eventually("it waits") { await settlement.backlog == 1 }
        fixture.connections.faults.clear()
        await settlement.workOnce()
        #expect(await settlement.backlog == 0)
        #expect(!fixture.isHeld(1))
        let late = try await fixture.connections.claim(lease, limit: AdmissionLimit(sessions: nil, version: 1))
        #expect(late == .superseded, "a claim that arrives later finds the tombstone")
        spool.close()
    }

    @Test func workGoesOnUntilItIsCancelled() async throws {
        let work = Task { await settlement.work() }
        await settlement.settle(try await fixture.live(1, spool: spool))
        try await eventually("settled") { await settlement.backlog == 0 }
        work.cancel()
        await work.value
        spool.close()
    }
}
