import FoundationEssentials
import Hansard
import Logging

/// Brings ended sessions into the stores, in the order that the design gives: transcript durable, usage durable, slot
/// given back and status set; then the client is told. What a store that is away does not take now waits in the spool
/// and is tried again until it is done, over restarts too.
actor Settlement {
    /// How long a transcript may take before the client is told without it; it then waits on disk (`storing`).
    struct Limits: Sendable {
        var transcriptStoreWait = Duration.seconds(2)
        var releaseWait = Duration.seconds(2)
        /// How long an attempt of what waits may take.
        var retryWait = Duration.seconds(10)
        /// How long an attempt of a transcript may take: a long one goes up in parts.
        var transcriptRetryWait = Duration.seconds(60)
        /// How long an attempt may take while a node starts: what a store that hangs does not take then waits.
        var startWait = Duration.seconds(5)
        /// How long an attempt may take while a node stops, if a store was away before.
        var stopWait = Duration.seconds(5)
        /// Between passes over what waits; what comes within it is one batch of usage.
        var batchInterval = Duration.milliseconds(100)
        /// Between passes while a store is away or refuses something.
        var retryInterval = Duration.seconds(1)
        /// Rows in one batch of usage.
        var usageBatch = 500
        init() {}
    }

    /// The names that logs and metrics use.
    static let stores = ["connections", "transcripts", "usage"]

    private let transcripts: any TranscriptStore
    private let connections: any ConnectionStore
    private let usage: any UsageStore
    private let spool: Spool
    private let health: StoreHealth
    private let metrics: Metrics
    private let logger: Logger
    private let limits: Limits
    /// Whether the usage ledger has all that a session wrote down: until then the spool must not forget it.
    private let isMetered: @Sendable (SessionID) -> Bool

    private struct Waiting {
        var end: SessionEnd
        var progress: SettlementProgress
        /// Whether the transcript store has had its chance: until then a release waits, so as to say `completed` at once.
        var hasTriedTranscript = false
    }
    /// Bounded by the spool's size: each of them has its records there, and a full spool takes no new sessions.
    private var waiting: [SessionID: Waiting] = [:]
    private var abandoned: [SessionID: (Lease, SessionStatus)] = [:]
    /// Sessions of an earlier life that are forgotten once the usage ledger has what they wrote down.
    private var strays: Set<SessionID> = []
    /// The stores that refuse what a session left, so that it is logged once.
    private var refusals: [SessionID: Set<String>] = [:]
    /// The sessions whose last attempt others were in the way of, until it is looked at.
    private var contended: Set<SessionID> = []

    init(
        transcripts: any TranscriptStore, connections: any ConnectionStore, usage: any UsageStore, spool: Spool,
        health: StoreHealth, metrics: Metrics, logger: Logger, limits: Limits,
        isMetered: @escaping @Sendable (SessionID) -> Bool = { _ in true }
    ) {
        self.transcripts = transcripts
        self.connections = connections
        self.usage = usage
        self.spool = spool
        self.health = health
        self.metrics = metrics
        self.logger = logger
        self.limits = limits
        self.isMetered = isMetered
    }

    /// The stores that did not answer when they were last asked, of `stores`.
    private(set) var awayStores: Set<String> = []

    /// How many sessions some store still has to learn of.
    var backlog: Int { waiting.count + abandoned.count }

    /// The sessions that have ended and whose slot may not have been given back yet.
    var unsettled: Set<SessionID> { Set(waiting.keys).union(abandoned.keys) }

    /// Brings one session as far as the client must wait for, and keeps the rest for `work()`.
    nonisolated func settle(_ end: SessionEnd) async {
        let id = end.lease.session
        var progress = SettlementProgress(hasTranscript: end.end.transcript != nil)
        progress.isSpooled = await spool.appendDurably(.ended(id, end.end))
        if let transcript = end.end.transcript {
            progress.location =
                await firstWithin(limits.transcriptStoreWait) { [self] in
                    await attempt("transcripts", of: id) { try await transcripts.put(transcript) }
                } ?? nil
            if progress.location == nil { metrics.transcriptsWaiting.add() }
        }
        let item = Waiting(end: end, progress: progress, hasTriedTranscript: true)
        let status = end.status(transcriptLocation: progress.location)
        guard progress.steps.contains(.release) else { return await keep(item) }
        let outcome =
            await firstWithin(limits.releaseWait) { [self] in
                await attempt("connections", of: id) { try await connections.release(end.lease, status: status) }
            } ?? nil
        await keep(item, released: outcome, as: status.state)
    }

    /// Gives back the slot of a claim whose session never began.
    nonisolated func abandon(_ lease: Lease, status: SessionStatus) {
        Task { await keepAbandoned(lease, status) }
    }

    /// Takes what an earlier life of the node did not finish.
    ///
    /// - Parameter strays: sessions of which there is nothing but usage.
    func recover(_ sessions: [SpoolRecovery.Unsettled], strays: Set<SessionID> = []) {
        self.strays = strays
        for session in sessions {
            let end = session.resolvedEnd()
            let lease = Lease(
                tenant: session.began.tenant, session: session.began.session,
                connection: ConnectionID(session.began.nonce),
                key: session.began.key, holder: session.began.holder, nonce: session.began.nonce, address: "",
                region: session.began.region, claimedAt: session.began.startedAt)
            waiting[lease.session] = Waiting(
                end: SessionEnd(lease: lease, end: end, finals: end.transcript?.results.count ?? 0),
                progress: SettlementProgress(hasTranscript: end.transcript != nil))
        }
    }

    /// Works on what waits until the task is cancelled. Transcripts are brought beside the rest: while their store hangs,
    /// slots are given back and usage is recorded. An attempt at a transcript may outlast this.
    func work() async {
        let transcripts = Task {
            while !Task.isCancelled {
                await putTranscripts(patience: nil)
                await pause()
            }
        }
        while !Task.isCancelled {
            var pass = Pass()
            await workOnRest(in: &pass)
            if spool.isFailing { spool.probe() }
            await pause()
        }
        transcripts.cancel()
    }

    private func pause() async {
        let isFree = awayStores.isEmpty && refusals.isEmpty && !spool.isFailing
        try? await Task.sleep(for: isFree ? limits.batchInterval : limits.retryInterval)
    }

    /// The last pass, of a node that stops. It waits less for stores that were away already: what they do not take waits
    /// in the spool for the next start.
    func finish() async { await workOnce(patience: awayStores.isEmpty ? nil : limits.stopWait) }

    /// Looks, while the node starts, whether the transcript store can be used. If not it counts as away until it takes
    /// something.
    func checkTranscriptsAtStart() async {
        let transcripts = transcripts
        let problem = await firstWithin(limits.startWait) { () -> (any Error)? in
            do {
                try await transcripts.checkHealth()
                return nil
            } catch {
                return error
            }
        }
        let silence = HansardError(.unavailable, "it does not answer within \(limits.startWait)")
        guard let error = problem ?? silence, awayStores.insert("transcripts").inserted else { return }
        logger.error("the transcript store cannot be used yet; transcripts wait in the spool", error)
    }

    private struct Pass {
        /// The stores that did not answer: one is asked once in a pass, since asking it for each session would take for ever.
        var silent: Set<String> = []
        /// The tenants with whose slots others were busy: they are left for the next pass, and hold up nobody else.
        var contended: Set<TenantID> = []
        /// Attempts are given up after this, where they would usually take longer.
        var patience: Duration?
    }

    /// One pass over everything that waits; a start and a stop make one of their own. Nothing but what needs a stored
    /// transcript waits for the transcript store.
    ///
    /// - Parameter patience: how long an attempt may take, if that is less than usual.
    func workOnce(patience: Duration? = nil) async {
        async let transcripts: Void = putTranscripts(patience: patience)
        var pass = Pass(patience: patience)
        await workOnRest(in: &pass)
        await transcripts
        // What the transcripts held up.
        await workOnRest(in: &pass)
    }

    /// The one that puts transcripts; nothing else waits for it.
    private func putTranscripts(patience: Duration?) async {
        var pass = Pass(patience: patience)
        let transcripts = transcripts
        for id in Array(waiting.keys) {
            guard let item = waiting[id], item.progress.steps.contains(.putTranscript),
                let transcript = item.end.end.transcript
            else { continue }
            let location = await retry("transcripts", of: id, within: limits.transcriptRetryWait, in: &pass) {
                try await transcripts.put(transcript)
            }
            if let location { waiting[id]?.progress.location = location }
            waiting[id]?.hasTriedTranscript = true
        }
        if awayStores.contains("transcripts"), !pass.silent.contains("transcripts") {
            await checkTranscripts(within: min(limits.retryWait, patience ?? limits.retryWait))
        }
    }

    /// Everything but transcripts, usage first: customers are billed by it, and it waits for nothing.
    private func workOnRest(in pass: inout Pass) async {
        await recordUsage(in: &pass)
        for (id, (lease, status)) in abandoned {
            let outcome = await retry("connections", of: id, in: &pass) { [connections] in
                try await connections.release(lease, status: status)
            }
            if outcome != nil { abandoned[id] = nil }
        }
        for id in Array(waiting.keys) { await advance(id, in: &pass) }
        for (id, item) in waiting where item.progress.steps == [.forget] && isMetered(id) {
            waiting[id] = nil
            refusals[id] = nil
            spool.append(.settled(id))
        }
        for id in strays where isMetered(id) {
            strays.remove(id)
            spool.append(.settled(id))
        }
    }

    /// Whether the store is back, asked while no transcript waits by which it would show.
    private func checkTranscripts(within wait: Duration) async {
        let transcripts = transcripts
        await firstWithin(wait) { [self] in
            do {
                try await transcripts.checkHealth()
                await report("transcripts", error: nil)
            } catch {
                await report("transcripts", error: error)
            }
        }
    }

    private func keep(_ item: Waiting, released outcome: ReleaseOutcome? = nil, as state: SessionState? = nil) {
        var item = item
        if let outcome, let state { item.progress.released(outcome, as: state) }
        waiting[item.end.lease.session] = item
    }

    private func keepAbandoned(_ lease: Lease, _ status: SessionStatus) async {
        let outcome = await attempt("connections", of: lease.session) {
            try await connections.release(lease, status: status)
        }
        if outcome == nil { abandoned[lease.session] = (lease, status) }
    }

    private func advance(_ id: SessionID, in pass: inout Pass) async {
        guard let item = waiting[id] else { return }
        let connections = connections
        let isTranscriptTried = item.hasTriedTranscript || awayStores.contains("transcripts")
        for step in item.progress.steps where waiting[id] != nil {
            switch step {
            case .spool:
                waiting[id]?.progress.isSpooled = await spool.appendDurably(.ended(id, item.end.end))
            case .release:
                guard isTranscriptTried || waiting[id]?.progress.location != nil || !item.progress.hasTranscript else {
                    continue
                }
                let status = item.end.status(transcriptLocation: waiting[id]?.progress.location)
                let outcome = await retry("connections", of: id, in: &pass) {
                    try await connections.release(item.end.lease, status: status)
                }
                if let outcome { waiting[id]?.progress.released(outcome, as: status.state) }
            case .finishStoring:
                guard let location = item.progress.location else { continue }
                let isDone = await retry("connections", of: id, in: &pass) {
                    try await connections.finishStoring(id, transcriptLocation: location)
                }
                if isDone != nil { waiting[id]?.progress.wasStoring = false }
            case .putTranscript, .recordUsage, .forget: continue
            }
        }
    }

    /// An attempt of the background: bounded, so that a store that hangs does not hold up the others.
    private func retry<Value: Sendable>(
        _ store: String, of session: SessionID, within wait: Duration? = nil, in pass: inout Pass,
        _ work: @escaping @Sendable () async throws -> Value
    ) async -> Value? {
        let tenant = waiting[session]?.end.lease.tenant ?? abandoned[session]?.0.tenant
        guard !pass.silent.contains(store), !pass.contended.contains(where: { $0 == tenant }) else { return nil }
        let wait = wait ?? limits.retryWait
        let value =
            await firstWithin(min(wait, pass.patience ?? wait)) { [self] in await attempt(store, of: session, work) }
            ?? nil
        if value == nil, contended.remove(session) != nil {
            if let tenant { pass.contended.insert(tenant) }
            return nil
        }
        if value == nil, refusals[session]?.contains(store) != true { pass.silent.insert(store) }
        return value
    }

    private func recordUsage(in pass: inout Pass) async {
        guard !pass.silent.contains("usage") else { return }
        let rows = waiting.values.filter(\.progress.owesUsage).map { item in
            item.end.usage(transcriptLocation: item.progress.location)
        }
        for start in stride(from: 0, to: rows.count, by: limits.usageBatch) {
            let batch = Array(rows[start..<min(start + limits.usageBatch, rows.count)])
            do {
                try await usage.record(batch)
                report("usage", error: nil)
                for row in batch { recorded(row) }
            } catch  where Self.isRefusal(error) {
                // One row that the store will never take must not hold up everyone else's.
                for row in batch {
                    let isTaken: Void? = await attempt("usage", of: row.session) { try await usage.record([row]) }
                    if isTaken != nil { recorded(row) }
                }
            } catch {
                report("usage", error: error)
                pass.silent.insert("usage")
                return
            }
        }
    }

    private func recorded(_ row: UsageRow) {
        waiting[row.session]?.progress.recordedUsage(asStoring: row.outcome?.state == .storing)
    }

    /// One attempt at a store. A store that goes away, and one that comes back, is one line in the log each; so is what a
    /// store refuses of a session, for which people must look.
    private nonisolated func attempt<Value: Sendable>(
        _ store: String, of session: SessionID, _ work: @Sendable () async throws -> Value
    ) async -> Value? {
        do {
            let value = try await work()
            await report(store, error: nil)
            return value
        } catch  where Self.isRefusal(error) {
            await report(store, refuses: session, error)
        } catch let error as HansardError where error.isContention {
            await reportContention(of: session)
        } catch {
            await report(store, error: error)
        }
        return nil
    }

    /// Whether the store is there and will not take this, however often it is asked.
    private static func isRefusal(_ error: any Error) -> Bool {
        (error as? HansardError).map { $0.code != .unavailable } ?? false
    }

    private func report(_ store: String, error: (any Error)?) {
        if store == "connections" { report(connections: error) }
        if let error {
            guard awayStores.insert(store).inserted, store != "connections" else { return }
            logger.warning("the \(store) store does not take what sessions leave; it waits in the spool", error)
        } else if awayStores.remove(store) != nil, store != "connections" {
            logger.notice("the \(store) store takes what sessions leave again")
        }
    }

    private func reportContention(of session: SessionID) {
        if waiting[session] != nil || abandoned[session] != nil { contended.insert(session) }
    }

    /// Others call the connection store too, and its outage is told once for all.
    private func report(connections error: (any Error)?) {
        if let error { health.failed(.release, error) } else { health.answered(.release) }
    }

    private func report(_ store: String, refuses session: SessionID, _ error: any Error) {
        if store == "connections" { report(connections: nil) }
        guard refusals[session, default: []].insert(store).inserted else { return }
        logger.error(
            "the \(store) store refuses what a session left; it stays in the spool",
            metadata: ["session_id": "\(session)", "error": "\(describe(error))"])
    }
}
