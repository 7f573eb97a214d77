import Foundation
import Hansard
import Testing

@testable import HansardServer

/// A settlement among stores that can be made to fail, and a spool that can be opened again as after a crash.
struct SettlementFixture {
    let transcripts = MemoryTranscriptStore()
    let connections = MemoryConnectionStore()
    let usage = MemoryUsageStore()
    let disk: SpoolFixture
    let log = LogRecorder()
    let metrics = Metrics()
    let holder = Sample.epoch()

    init() throws { disk = try SpoolFixture() }

    static var limits: Settlement.Limits {
        var limits = Settlement.Limits()
        limits.transcriptStoreWait = .milliseconds(100)
        limits.releaseWait = .milliseconds(100)
        limits.retryWait = .milliseconds(100)
        limits.transcriptRetryWait = .milliseconds(100)
        limits.batchInterval = .milliseconds(10)
        limits.retryInterval = .milliseconds(10)
        return limits
    }

    func settlement(
        _ spool: Spool, limits: Settlement.Limits = Self.limits,
        isMetered: @escaping @Sendable (SessionID) -> Bool = { _ in true }
    ) -> Settlement {
        Settlement(
            transcripts: transcripts, connections: connections, usage: usage, spool: spool,
            health: StoreHealth(logger: log.logger), metrics: metrics,
            logger: log.logger, limits: limits, isMetered: isMetered)
    }

    /// A session that holds its slot and is known to the spool, and its end.
    func live(_ number: Int, spool: Spool, hasAudio: Bool = true, tags: [String] = ["a"]) async throws -> SessionEnd {
        let session = Sample.session(number)
        let end = Sample.end(session, holder: holder, hasAudio: hasAudio, tags: tags)
        connections.change { $0.leases[Sample.tenant, default: [:]][session] = end.lease }
        if hasAudio {
            #expect(await spool.appended(.began(Sample.began(session, holder: holder, tags: tags))))
            for final in end.end.transcript?.results ?? [] { #expect(await spool.appended(.final(session, final))) }
        }
        return end
    }

    func isHeld(_ number: Int) -> Bool {
        connections.stored.leases[Sample.tenant]?[Sample.session(number)] != nil
    }

    func status(_ number: Int) -> SessionStatus? { connections.stored.statuses[Sample.session(number)] }

    /// The end that every way through must lead to.
    func expectAllIsDone(_ end: SessionEnd, _ comment: Comment? = nil) {
        let session = end.lease.session
        let location = MemoryTranscriptStore.objectName(session, tenant: Sample.tenant)
        #expect(transcripts.stored[session] == end.end.transcript, comment)
        #expect(usage.stored[session] == end.usage(transcriptLocation: location), comment)
        #expect(usage.stored[session]?.outcome?.state == end.end.state, comment)
        #expect(connections.stored.leases[Sample.tenant]?[session] == nil, comment)
        #expect(connections.stored.statuses[session]?.state == end.end.state, comment)
        let expected = end.end.transcript == nil ? nil : location
        #expect(connections.stored.statuses[session]?.transcriptLocation == expected, comment)
        #expect(connections.stored.statuses[session]?.finals == end.finals, comment)
    }
}
