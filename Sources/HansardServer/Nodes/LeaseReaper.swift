import EventLoops
import FoundationEssentials
import Hansard
import Logging

/// Frees what dead epochs held. All nodes are equal: any may do it, and several at once do no harm.
struct LeaseReaper: Sendable {
    /// Leases that are freed at once: the store makes one transaction of those of a tenant that wait for each other.
    static let atOnce = 64
    /// An epoch holds nothing if so many looks in a row found nothing: the index by epoch lags behind its table.
    static let emptyLooks = 2
    /// Looks for an epoch's leases, before the next to call begins anew.
    static let lookLimit = 20
    /// Epochs of which is remembered that something was said of them.
    static let rememberedEpochs = 1_000

    let connections: any ConnectionStore
    let transcripts: any TranscriptStore
    let metrics: Metrics
    let logger: Logger
    /// Is told what is known of a session's use before its lease goes, by which nobody would find it again.
    var noteUsage: @Sendable (ReapedUsage) async -> Void = { _ in }
    /// Between two looks.
    var lookInterval = Duration.milliseconds(500)
    /// How long one transcript may take to be read, and how long after its beginning a reaping still asks for any: slots
    /// are not held up for what is good to know.
    var transcriptWait = Duration.seconds(2)
    var transcriptsWait = Duration.seconds(4)

    private struct Progress {
        var isRunning = false
        var hasComplained = false
    }
    private let progress = Locked<[NodeEpoch: Progress]>([:])

    init(
        connections: any ConnectionStore, transcripts: any TranscriptStore, metrics: Metrics, logger: Logger
    ) {
        self.connections = connections
        self.transcripts = transcripts
        self.metrics = metrics
        self.logger = logger
    }

    /// Frees all that the epoch holds and takes its record away. If this node is at it already, nothing is done.
    ///
    /// A lease that cannot be freed does not hold up the others; the record then stays, so that the epoch is found again.
    ///
    /// - Parameter isNews: whether the log is to say that the epoch is dead.
    func reap(_ epoch: NodeEpoch, isNews: Bool = true) async {
        guard begin(epoch, isNews) else { return }
        var left = 0
        do {
            left = try await free(epoch)
            if left > 0 { complain(epoch, HansardError(.unavailable, "\(left) leases could not be freed")) }
        } catch {
            complain(epoch, error)
        }
        end(epoch)
    }

    /// Frees one lease whose epoch is dead.
    ///
    /// - Returns: false if it was held no more.
    func free(_ lease: Lease) async throws -> Bool {
        try await free(lease, TranscriptLook(transcripts, wait: transcriptWait, until: .now + transcriptsWait))
    }

    // MARK: One at a time

    private func begin(_ epoch: NodeEpoch, _ isNews: Bool) -> Bool {
        let (isMine, isFirst) = progress.withLock { progress in
            if progress.count >= Self.rememberedEpochs { progress = progress.filter(\.value.isRunning) }
            let before = progress[epoch]
            guard before?.isRunning != true else { return (false, false) }
            progress[epoch, default: Progress()].isRunning = true
            return (true, before == nil)
        }
        if isFirst, isNews {
            logger.warning("a node is dead; freeing what it held", metadata: ["node": "\(epoch)"])
        }
        return isMine
    }

    /// It stays remembered: whoever read of it before its record was gone may still call for it.
    private func end(_ epoch: NodeEpoch) {
        progress.withLock { $0[epoch]?.isRunning = false }
    }

    private func complain(_ epoch: NodeEpoch, _ error: any Error) {
        let isNews = progress.withLock { progress in
            defer { progress[epoch]?.hasComplained = true }
            return progress[epoch]?.hasComplained == false
        }
        guard isNews, !Task.isCancelled else { return }
        logger.warning(
            "not all that a dead node held could be freed; it is tried again",
            metadata: ["node": "\(epoch)", "error": "\(describe(error))"])
    }

    // MARK: An epoch's leases

    /// - Returns: how many could not be freed, as far as was seen.
    private func free(_ epoch: NodeEpoch) async throws -> Int {
        let look = TranscriptLook(transcripts, wait: transcriptWait, until: .now + transcriptsWait)
        var freed: Set<UUID> = []
        var emptyLooks = 0
        for number in 0..<Self.lookLimit {
            if number > 0 { try await Task.sleep(for: lookInterval) }
            // What is gone for certain the index may show for a while.
            let leases = try await connections.leases(heldBy: epoch).filter { !freed.contains($0.nonce) }
            guard leases.isEmpty else {
                emptyLooks = 0
                let done = await free(leases, look)
                freed.formUnion(done)
                if done.count < leases.count { return leases.count - done.count }
                continue
            }
            emptyLooks += 1
            if emptyLooks == Self.emptyLooks {
                try await connections.remove(epoch)
                return 0
            }
        }
        return 1
    }

    /// - Returns: the nonces of those that are held no more.
    private func free(_ leases: [Lease], _ look: TranscriptLook) async -> Set<UUID> {
        await withTaskGroup(of: UUID?.self) { group in
            var rest = leases[...]
            func start() {
                guard let lease = rest.popFirst() else { return }
                group.addTask {
                    do {
                        _ = try await free(lease, look)
                        return lease.nonce
                    } catch {
                        logger.debug(
                            "a lease of a dead node could not be freed",
                            metadata: ["session_id": "\(lease.session)", "error": "\(describe(error))"])
                        return nil
                    }
                }
            }
            for _ in 0..<Self.atOnce { start() }
            var done: Set<UUID> = []
            while let nonce = await group.next() {
                if let nonce { done.insert(nonce) }
                start()
            }
            return done
        }
    }

    private func free(_ lease: Lease, _ look: TranscriptLook) async throws -> Bool {
        let transcript = await look.transcript(of: lease)
        let status =
            transcript.map { SessionStatus.stored($0, of: lease, location: location(of: lease)) }
            ?? .abandoned(lease, now: .now)
        await noteUsage(ReapedUsage(lease, audio: status.audioMilliseconds, foundAt: .now))
        let isFreed = try await connections.reap(lease, status: status)
        if isFreed { metrics.leasesReaped.add() }
        return isFreed
    }

    private func location(of lease: Lease) -> String {
        transcripts.location(of: lease.session, tenant: lease.tenant)
    }
}

/// Asks for the transcripts that a dead node may have stored before it gave its slots back. A store that fails once, or
/// takes long, is asked no more: its sessions are then `interrupted` until their holder, if it comes back, says better.
private final class TranscriptLook: Sendable {
    private let transcripts: any TranscriptStore
    private let wait: Duration
    private let deadline: ContinuousClock.Instant
    private let isSilent = Locked(false)

    init(_ transcripts: any TranscriptStore, wait: Duration, until deadline: ContinuousClock.Instant) {
        self.transcripts = transcripts
        self.wait = wait
        self.deadline = deadline
    }

    func transcript(of lease: Lease) async -> Transcript? {
        guard ContinuousClock.now < deadline, !isSilent.withLock({ $0 }) else { return nil }
        let answer = await firstWithin(wait) { [transcripts] in
            do {
                return Answer.read(try await transcripts.get(lease.session, tenant: lease.tenant))
            } catch {
                return .failed
            }
        }
        guard case .read(let transcript)? = answer else {
            isSilent.withLock { $0 = true }
            return nil
        }
        return transcript.flatMap { $0.session == lease.session && $0.state.isEnd ? $0 : nil }
    }

    private enum Answer {
        case read(Transcript?)
        case failed
    }
}

extension SessionStatus {
    /// What can be said of a session whose node cannot be asked any more.
    static func abandoned(_ lease: Lease, now: Date) -> SessionStatus {
        SessionStatus(
            session: lease.session, tenant: lease.tenant, key: lease.key, state: .interrupted, endState: .interrupted,
            reason: "the node ended", startedAt: lease.claimedAt, endedAt: now,
            audioMilliseconds: lease.usedMilliseconds, finals: 0, transcriptLocation: nil, region: lease.region)
    }

    /// What can be said of it if its node had stored the transcript: the session had ended, as the transcript says.
    static func stored(_ transcript: Transcript, of lease: Lease, location: String) -> SessionStatus {
        let state: SessionState = transcript.isComplete ? .completed : transcript.state
        return SessionStatus(
            session: lease.session, tenant: lease.tenant, key: lease.key, state: state, endState: state,
            reason: state == .completed ? "" : "the node ended", startedAt: transcript.startedAt,
            endedAt: transcript.endedAt, audioMilliseconds: transcript.audioMilliseconds,
            finals: transcript.results.count, transcriptLocation: location, region: transcript.region)
    }
}
