import FoundationEssentials
import Hansard

/// What is fixed about a session once its handshake was accepted, and the records that the stores get of it.
struct SessionRecords {
    let caller: Caller
    let engine: EngineDescription
    let options: SessionOptions
    let startedAt: Date
    let lease: Lease

    init(
        id: SessionID, caller: Caller, engine: EngineDescription, options: SessionOptions, startedAt: Date,
        node: NodeIdentity
    ) {
        self.caller = caller
        self.engine = engine
        self.options = options
        self.startedAt = startedAt
        lease = Lease(
            tenant: caller.tenant.id, session: id, connection: ConnectionID(UUID()), key: caller.key.id,
            holder: node.epoch, nonce: UUID(), address: node.address, region: node.region, claimedAt: startedAt,
            countsKey: caller.key.quotas.limitsAdmission)
    }

    /// The limits of the tenant and the key as the snapshot had them.
    var limits: ClaimLimits { ClaimLimits(tenant: caller.tenant.quotas, key: caller.key.quotas) }

    /// What the engine is asked for.
    func request(_ audio: EngineAudio) -> EngineRequest {
        EngineRequest(audio: audio, language: options.language, options: options)
    }

    /// What the spool must know before anything else, and again before the first final.
    ///
    /// - Parameter audio: nil while it is not known.
    func began(_ audio: EngineAudio?) -> SpoolRecord {
        .began(
            SpooledSession(
                session: lease.session, tenant: lease.tenant, key: lease.key, nonce: lease.nonce, holder: lease.holder,
                startedAt: startedAt, options: options, region: lease.region, sampleRate: audio?.sampleRate ?? 0,
                channels: audio?.channels ?? 0))
    }

    /// What the ledger gets first: it has used nothing yet.
    func firstUsage(_ session: borrowing Session) -> UsageRecord {
        UsageRecord(
            session: lease.session, tenant: lease.tenant, key: lease.key, engine: session.listener,
            model: options.model,
            language: options.language, tags: options.tags, region: lease.region,
            channels: session.audio?.channels ?? session.options.source.announcedChannels ?? 1, startedAt: startedAt)
    }

    /// The status of a session that held no slot, or holds one that nobody will use.
    func status(_ ending: Ending, session: borrowing Session, endedAt: Date) -> SessionStatus {
        SessionStatus(
            session: lease.session, tenant: lease.tenant, key: lease.key, state: ending.state, endState: ending.state,
            reason: ending.reason, startedAt: startedAt, endedAt: endedAt,
            audioMilliseconds: session.duration.milliseconds, engineMilliseconds: session.engineTime.milliseconds,
            finals: session.finals.count, transcriptLocation: nil, region: lease.region)
    }

    /// Everything that the stores must learn at the end.
    ///
    /// - Parameter total: what it has used in all.
    func end(
        _ ending: Ending, session: borrowing Session, endedAt: Date, total: UsageCounters
    ) -> SessionEnd {
        var options = options
        options.engine = session.engine
        let usage = UsageRow(
            session: lease.session, tenant: lease.tenant, key: lease.key, engine: session.engine, model: options.model,
            language: options.language, tags: options.tags, region: lease.region,
            channels: session.audio?.channels ?? session.options.source.announcedChannels ?? 1,
            audioMilliseconds: total.audio, engineMilliseconds: total.engine, connectedMilliseconds: total.connected,
            startedAt: startedAt, endedAt: endedAt)
        var transcript: Transcript?
        if let audio = session.audio, session.frames > 0 {
            transcript = Transcript(
                session: lease.session, tenant: lease.tenant, key: lease.key, startedAt: startedAt, endedAt: endedAt,
                state: ending.state, audioMilliseconds: usage.audioMilliseconds,
                engineMilliseconds: usage.engineMilliseconds, sampleRate: audio.sampleRate, channels: audio.channels,
                options: options, region: lease.region, results: session.finals)
        }
        let end = SpooledEnd(transcript: transcript, usage: usage, state: ending.state, reason: ending.reason)
        return SessionEnd(lease: lease, end: end, finals: session.finals.count)
    }
}

extension Duration {
    /// Whole milliseconds, rounded down.
    var milliseconds: Int64 { components.seconds * 1_000 + components.attoseconds / 1_000_000_000_000_000 }
}
