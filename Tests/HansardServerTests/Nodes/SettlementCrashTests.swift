import EventLoops
import Foundation
import Hansard
import Testing

@testable import HansardServer

/// A node that dies at any point of a session's end, and comes back, leaves the same behind as one that does not die.
@Suite(.timeLimit(.minutes(10))) struct SettlementCrashTests {
    /// How far the stores were asked before the node died; with one answer lost on its way at that point or not.
    @Test(arguments: 0..<6, [false, true]) func everyPointLeadsToTheSameEnd(_ point: Int, _ isAnswerLost: Bool)
        async throws
    {
        let fixture = try SettlementFixture()
        let (spool, _) = try fixture.disk.open()
        let end = try await fixture.live(1, spool: spool)
        let life = fixture.settlement(spool)
        // The calls of all three stores are counted together; from `point` on nothing of this life reaches them.
        let stores = [fixture.transcripts.faults, fixture.connections.faults, fixture.usage.faults]
        for store in stores {
            store.set { _, _ in
                let number = stores.reduce(0) { $0 + $1.callCount } - 1
                return number < point ? .works : number == point && isAnswerLost ? .answerLost : .away
            }
        }
        await life.settle(end)
        await life.workOnce()
        await life.workOnce()
        spool.close()
        stores.forEach { $0.clear() }

        let (next, recovery) = try fixture.disk.open()
        let nextLife = fixture.settlement(next)
        await nextLife.recover(recovery.sessions)
        try await eventually("the next life is done") {
            await nextLife.workOnce()
            return await nextLife.backlog == 0
        }
        fixture.expectAllIsDone(end, "died after \(point) calls")
        next.close()
        #expect(try fixture.disk.recovered().isEmpty)
    }

    /// The transcript store was away while the session ended and the node died before it came back.
    @Test func aStoringSessionIsFinishedByTheNextLife() async throws {
        let fixture = try SettlementFixture()
        let (spool, _) = try fixture.disk.open()
        let end = try await fixture.live(1, spool: spool)
        fixture.transcripts.faults.set(.away, for: ["put"])
        await fixture.settlement(spool).settle(end)
        #expect(fixture.status(1)?.state == .storing)
        spool.close()
        fixture.transcripts.faults.clear()
        let (next, recovery) = try fixture.disk.open()
        let nextLife = fixture.settlement(next)
        await nextLife.recover(recovery.sessions)
        try await eventually("finished") {
            await nextLife.workOnce()
            return await nextLife.backlog == 0
        }
        fixture.expectAllIsDone(end)
        next.close()
    }

    /// Of a session that heard nothing there is usage alone: the spool keeps it until the ledger has it.
    @Test func aSessionThatHeardNothingIsForgottenWithItsUsage() async throws {
        let fixture = try SettlementFixture()
        let (spool, _) = try fixture.disk.open()
        let session = Sample.session(1)
        let used = UsageRecord(
            session: session, tenant: Sample.tenant, key: Sample.key, engine: "synthetic", model: "", language: "",
            tags: [], region: "", channels: 1, startedAt: session.startedAt)
        #expect(await spool.appended(.metered(used)))
        spool.close()
        let isDelivered = Locked(false)
        for _ in 1...2 {
            let (next, recovery) = try fixture.disk.open()
            #expect(recovery.sessions.isEmpty && recovery.strays == [session] && recovery.usage == [used])
            let life = fixture.settlement(next) { _ in isDelivered.withLock { $0 } }
            await life.recover(recovery.sessions, strays: recovery.strays)
            await life.workOnce()
            #expect(next.unsettledSessions == 1)
            next.close()
        }
        isDelivered.withLock { $0 = true }
        let (last, recovery) = try fixture.disk.open()
        let life = fixture.settlement(last) { _ in isDelivered.withLock { $0 } }
        await life.recover(recovery.sessions, strays: recovery.strays)
        await life.workOnce()
        last.close()
        let (again, nothing) = try fixture.disk.open()
        again.close()
        #expect(nothing.strays.isEmpty && nothing.usage.isEmpty)
    }

    /// kill -9 in the middle of speech: every final that was written is in the transcript, and the session is interrupted.
    @Test func aSessionThatNeverEndedIsInterrupted() async throws {
        let fixture = try SettlementFixture()
        let (spool, _) = try fixture.disk.open()
        _ = try await fixture.live(1, spool: spool)
        let session = Sample.session(1)
        #expect(await spool.appended(.usage(session, audioMilliseconds: 1_234, at: moment(4))))
        spool.close()
        let (next, recovery) = try fixture.disk.open()
        let life = fixture.settlement(next)
        await life.recover(recovery.sessions)
        await life.workOnce()
        await life.workOnce()
        #expect(await life.backlog == 0)
        let transcript = try #require(fixture.transcripts.stored[session])
        #expect(transcript.results == [Sample.final(0), Sample.final(1)])
        #expect(transcript.state == .interrupted)
        #expect(!transcript.isComplete)
        #expect(fixture.status(1)?.state == .interrupted)
        #expect(fixture.status(1)?.finals == 2)
        #expect(!fixture.isHeld(1))
        #expect(fixture.usage.stored[session]?.audioMilliseconds == 2_000, "the finals prove more than the checkpoint")
        #expect(fixture.usage.stored[session]?.connectedMilliseconds == 3_000)
        next.close()
    }

    @Test func manySessionsAreRecoveredTogether() async throws {
        let fixture = try SettlementFixture()
        let (spool, _) = try fixture.disk.open(fileBytes: 4_000)
        let life = fixture.settlement(spool)
        var ends: [SessionEnd] = []
        fixture.usage.faults.set(.away, for: ["record"])
        for number in 1...50 {
            ends.append(try await fixture.live(number, spool: spool))
            if number % 2 == 0 { await life.settle(ends[number - 1]) }
        }
        spool.close()
        fixture.usage.faults.clear()
        let (next, recovery) = try fixture.disk.open()
        #expect(recovery.sessions.count == 50)
        let nextLife = fixture.settlement(next)
        await nextLife.recover(recovery.sessions)
        await nextLife.workOnce()
        await nextLife.workOnce()
        #expect(await nextLife.backlog == 0)
        #expect(fixture.usage.stored.count == 50)
        #expect(fixture.transcripts.stored.count == 50)
        #expect(fixture.connections.stored.leases[Sample.tenant]?.isEmpty == true)
        for number in 1...50 { #expect(fixture.status(number)?.state == (number % 2 == 0 ? .completed : .interrupted)) }
        next.close()
        #expect(try fixture.disk.recovered().isEmpty)
        #expect(fixture.disk.files.count <= 2, "settled files are gone")
    }
}
