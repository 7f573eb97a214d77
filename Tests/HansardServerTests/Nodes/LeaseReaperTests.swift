import EventLoops
import Foundation
import Hansard
import Logging
import Testing

@testable import HansardServer

/// What the dead held.
@Suite(.timeLimit(.minutes(10))) struct LeaseReaperTests {
    let connections = MemoryConnectionStore()
    let transcripts = MemoryTranscriptStore()
    let metrics = Metrics()
    let log = LogRecorder()
    let dead = Sample.epoch("node-2", 2)

    private var reaper: LeaseReaper {
        var reaper = LeaseReaper(
            connections: connections, transcripts: transcripts, metrics: metrics, logger: log.logger)
        reaper.lookInterval = .milliseconds(1)
        return reaper
    }

    private func hold(_ numbers: ClosedRange<Int>) {
        let leases = numbers.map { Sample.lease(Sample.session($0), holder: dead) }
        let record = NodeRecord(epoch: dead, heartbeat: UUID(), address: "", region: "", version: "")
        connections.change { state in
            state.nodes = [record]
            for lease in leases { state.leases[Sample.tenant, default: [:]][lease.session] = lease }
        }
    }

    private var left: Int { connections.stored.leases[Sample.tenant]?.count ?? 0 }
    private func status(_ number: Int) -> SessionStatus? { connections.stored.statuses[Sample.session(number)] }
    private func calls(_ name: String) -> Int { connections.faults.calls.count { $0 == name } }

    @Test func aThousandLeasesAreFreedManyAtOnce() async throws {
        hold(1...1_800)
        connections.faults.set(.hangs, for: ["reap"])
        let task = Task { [reaper, dead] in await reaper.reap(dead) }
        try await eventually("they are under way") { calls("reap") >= LeaseReaper.atOnce }
        #expect(calls("reap") == LeaseReaper.atOnce)
        connections.faults.clear()
        await task.value
        #expect(left == 0 && metrics.leasesReaped.value == 1_800 && calls("reap") == 1_800)
        #expect(connections.stored.nodes.isEmpty)
        #expect(status(1_800)?.state == .interrupted)
    }

    /// The lease tells what was renewed last, a transcript that was stored before the slot was given back tells all.
    @Test func whatIsKnownOfTheUseOfTheDeadIsTold() async throws {
        hold(1...2)
        connections.change { $0.leases[Sample.tenant]?[Sample.session(1)]?.usedMilliseconds = 60_000 }
        let transcript = Sample.transcript(Sample.session(2))
        _ = try await transcripts.put(transcript)
        let told = Locked<[ReapedUsage]>([])
        var reaper = reaper
        reaper.noteUsage = { usage in told.withLock { $0.append(usage) } }
        await reaper.reap(dead)
        let usage = told.withLock { $0 }.sorted { $0.session.description < $1.session.description }
        #expect(usage.map(\.session) == [1, 2].map { Sample.session($0) } && usage.allSatisfy { $0.holder == dead })
        #expect(usage.map(\.audio) == [60_000, transcript.audioMilliseconds])
        // It is told before the lease goes.
        hold(3...3)
        connections.faults.set(.away, for: ["reap"])
        await reaper.reap(dead)
        #expect(left == 1 && told.withLock { $0.contains { $0.session == Sample.session(3) } })
    }

    @Test func anEpochIsReapedOnceAtATime() async throws {
        hold(1...3)
        connections.faults.set(.hangs, for: ["reap"])
        let reaper = reaper
        let task = Task { [dead] in await reaper.reap(dead) }
        try await eventually("it is under way") { calls("reap") == 3 }
        await reaper.reap(dead)
        #expect(calls("leases") == 1 && calls("reap") == 3)
        connections.faults.clear()
        await task.value
        #expect(left == 0)
        hold(4...4)
        await reaper.reap(dead)
        #expect(left == 0, "another time it may be")
        #expect(log.count(of: "a node is dead", atLeast: .warning) == 1, "it dies once, whoever reads of it late")
    }

    /// The index by epoch lags: a lease that was claimed just before the death shows later.
    @Test func aLeaseThatTheIndexShowsLateIsFreedBeforeTheRecordGoes() async {
        hold(1...2)
        connections.change { $0.unindexed = [Sample.session(1), Sample.session(2)] }
        await reaper.reap(dead)
        #expect(left == 0 && connections.stored.nodes.isEmpty)
        #expect(connections.faults.calls == ["leases", "leases", "reap", "reap", "leases", "leases", "remove"])
    }

    @Test func anEpochThatHoldsNothingIsLookedForTwice() async {
        await reaper.reap(dead)
        #expect(connections.faults.calls == ["leases", "leases", "remove"])
    }

    /// One of them may be beyond help.
    @Test func aLeaseThatCannotBeFreedHoldsUpNoOther() async {
        hold(1...5)
        connections.faults.set { name, number in name == "reap" && number == 1 ? .refuses : .works }
        let reaper = reaper
        await reaper.reap(dead)
        #expect(left == 1 && metrics.leasesReaped.value == 4)
        #expect(connections.stored.nodes.count == 1, "it is to be found again")
        connections.faults.set(.refuses, for: ["reap"])
        for _ in 0..<5 { await reaper.reap(dead) }
        #expect(log.entries.count { $0.level >= .warning } == 2, "that it is dead, and that something is left")
        connections.faults.clear()
        await reaper.reap(dead)
        #expect(left == 0 && connections.stored.nodes.isEmpty)
    }

    // MARK: Transcripts

    @Test func aSessionWhoseTranscriptIsStoredIsCompleted() async throws {
        hold(1...3)
        let location = try await transcripts.put(Sample.transcript(Sample.session(1)))
        _ = try await transcripts.put(Sample.transcript(Sample.session(2), state: .terminated))
        var reaper = reaper
        // How long this machine takes is not the question.
        (reaper.transcriptWait, reaper.transcriptsWait) = (.seconds(300), .seconds(300))
        await reaper.reap(dead)
        let completed = try #require(status(1))
        #expect(completed.state == .completed && completed.endState == .completed && completed.finals == 2)
        #expect(completed.transcriptLocation == location && completed.audioMilliseconds == 2_000)
        #expect(completed.endedAt == Sample.transcript(Sample.session(1)).endedAt && completed.reason == "")
        #expect(status(2)?.state == .terminated && status(2)?.transcriptLocation != nil)
        #expect(status(3)?.state == .interrupted && status(3)?.transcriptLocation == nil)
    }

    @Test func aTranscriptStoreThatIsAwayIsAskedNoMore() async throws {
        hold(1...500)
        _ = try await transcripts.put(Sample.transcript(Sample.session(1)))
        transcripts.faults.set(.away, for: ["get"])
        await reaper.reap(dead)
        #expect(left == 0 && status(1)?.state == .interrupted)
        #expect(transcripts.faults.calls.count { $0 == "get" } <= LeaseReaper.atOnce)
    }

    @Test func aTranscriptStoreThatHangsHoldsUpNoSlotForLong() async throws {
        hold(1...500)
        transcripts.faults.set(.hangs, for: ["get"])
        await reaper.reap(dead)
        #expect(left == 0 && status(500)?.state == .interrupted)
        #expect(transcripts.faults.calls.count { $0 == "get" } <= LeaseReaper.atOnce)
    }
}
