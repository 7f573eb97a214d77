public import FoundationEssentials

/// What a session is, as far as its record must survive the node: written when the session goes live.
public struct SpooledSession: Sendable, Equatable, Codable {
    /// Which session.
    public var session: SessionID
    /// Whose session it is.
    public var tenant: TenantID
    /// The key that opened it.
    public var key: KeyID
    /// Its lease's marker, with which a restarted node gives the slot back.
    public var nonce: UUID
    /// The life of the node that served it.
    public var holder: NodeEpoch
    /// When it began.
    public var startedAt: Date
    /// The model as asked for.
    public var model: String
    /// The language as asked for.
    public var language: String
    /// The engine that listens.
    public var engine: String
    /// The client's labels.
    public var tags: [String]
    /// Parameters that were asked for and have no effect.
    public var ignoredParameters: [String]
    /// The region of the node.
    public var region: String
    /// Frames per second; 0 until the audio is known.
    public var sampleRate: Int
    /// Channels; 0 until the audio is known.
    public var channels: Int

    /// Whether it has heard something.
    var isAudioKnown: Bool { sampleRate > 0 }

    /// A session as its owner describes it.
    public init(
        session: SessionID, tenant: TenantID, key: KeyID, nonce: UUID, holder: NodeEpoch, startedAt: Date,
        options: SessionOptions, region: String, sampleRate: Int, channels: Int
    ) {
        self.session = session
        self.tenant = tenant
        self.key = key
        self.nonce = nonce
        self.holder = holder
        self.startedAt = startedAt
        self.model = options.model
        self.language = options.language
        self.engine = options.engine
        self.tags = options.tags
        self.ignoredParameters = options.ignoredParameters
        self.region = region
        self.sampleRate = sampleRate
        self.channels = channels
    }
}

/// How a session ended, with everything that the stores must still learn of it.
public struct SpooledEnd: Sendable, Equatable, Codable {
    /// The transcript, whole; nil if no audio was admitted.
    public var transcript: Transcript?
    /// What it used.
    public var usage: UsageRow
    /// The end state.
    public var state: SessionState
    /// Why, for people.
    public var reason: String

    /// An end as the session's owner describes it.
    public init(transcript: Transcript?, usage: UsageRow, state: SessionState, reason: String) {
        self.transcript = transcript
        self.usage = usage
        self.state = state
        self.reason = reason
    }
}

/// What the spool keeps: the node's own record of its sessions until every store has theirs.
public enum SpoolRecord: Sendable, Equatable, Codable {
    /// A session goes live; again once its audio is known.
    case began(SpooledSession)
    /// A final, written before it is sent.
    case final(SessionID, FinalResult)
    /// What a part of the session has used so far.
    case metered(UsageRecord)
    /// The same as it was written before there were parts: milliseconds so far, cumulative, at a moment. The engine's are nil
    /// if they are the same. Read, and no longer written.
    case usage(SessionID, audioMilliseconds: Int64, engineMilliseconds: Int64? = nil, at: Date)
    /// The session is over; the stores have not all been told.
    case ended(SessionID, SpooledEnd)
    /// Every store has what it needs: nothing of the session need be kept.
    case settled(SessionID)

    /// Which session the record is about.
    public var session: SessionID {
        switch self {
        case .began(let session): session.session
        case .metered(let record): record.session
        case .final(let session, _), .usage(let session, _, _, _), .ended(let session, _), .settled(let session):
            session
        }
    }
}

/// What a spool says about the sessions that a node did not settle before it ended: folded from its records.
///
/// Their order does not matter, nor does it if they come twice: a spool that makes room writes some of them again, behind later
/// ones. Only what settles a session comes behind all that the session left.
public struct SpoolRecovery: Sendable {
    /// One unsettled session.
    public struct Unsettled: Sendable, Equatable {
        /// What it was.
        public var began: SpooledSession
        /// Its finals in order.
        public var finals: [FinalResult] = []
        /// What it wrote down of its use, in order.
        public var records: [UsageRecord] = []
        /// The audio of the last of them.
        public var audioMilliseconds: Int64 = 0
        /// The engine's, of the same moment; nil if they are the same.
        public var engineMilliseconds: Int64?
        /// The time of its last record that has one.
        public var lastSeen: Date
        /// Its end, if it got that far.
        public var end: SpooledEnd?
    }

    /// A usage record's place in its session.
    private struct Place: Hashable, Comparable {
        let segment: Int
        let sequence: Int

        static func < (one: Place, other: Place) -> Bool {
            (one.segment, one.sequence) < (other.segment, other.sequence)
        }
    }

    /// What is known of a session, whatever came first.
    private struct Known {
        var began: SpooledSession?
        var finals: [Int: FinalResult] = [:]
        var records: [Place: UsageRecord] = [:]
        var audioMilliseconds: Int64 = 0
        var engineMilliseconds: Int64?
        var lastSeen = Date.distantPast
        var end: SpooledEnd?

        mutating func used(_ audio: Int64, _ engine: Int64?, at date: Date) {
            audioMilliseconds = max(audioMilliseconds, audio)
            if let engine { engineMilliseconds = max(engineMilliseconds ?? 0, engine) }
            lastSeen = max(lastSeen, date)
        }

        var sortedRecords: [UsageRecord] { records.sorted { $0.key < $1.key }.map(\.value) }

        /// What is missing at the end of one whose end is known, and not its beginning.
        var closingRecordsOfStray: [UsageRecord] {
            guard let usage = end?.usage else { return [] }
            let last = sortedRecords.last ?? UsageRecord(beginningOf: usage)
            return SpoolRecovery.closingRecords(after: last, usage, channels: last.channels)
        }

        var unsettled: Unsettled? {
            guard let began else { return nil }
            return Unsettled(
                began: began, finals: finals.sorted { $0.key < $1.key }.map(\.value), records: sortedRecords,
                audioMilliseconds: audioMilliseconds, engineMilliseconds: engineMilliseconds,
                lastSeen: max(began.startedAt, lastSeen), end: end)
        }
    }

    private var known: [SessionID: Known] = [:]
    private var settled: Set<SessionID> = []

    /// A recovery that has seen nothing.
    public init() {}

    /// Unsettled sessions in the order in which they began; of the same moment, by their ids.
    public var sessions: [Unsettled] {
        known.values.compactMap(\.unsettled).sorted {
            ($0.began.startedAt, $0.began.session.description) < ($1.began.startedAt, $1.began.session.description)
        }
    }

    /// The other sessions that are not settled: of those that had heard nothing, earlier versions wrote down nothing but usage. All
    /// that can be done of them is to deliver it.
    public var strays: Set<SessionID> { Set(known.filter { $0.value.began == nil }.keys) }

    /// What the ledger may not have yet of sessions that are not settled: what they wrote down, and how it ended. A stray's end tells
    /// that as well: damage may have taken its beginning.
    public var usage: [UsageRecord] {
        let strays = known.values.filter { $0.began == nil }.flatMap { $0.sortedRecords + $0.closingRecordsOfStray }
        return strays.sorted {
            ($0.madeAt, $0.session.description, $0.segment, $0.sequence)
                < ($1.madeAt, $1.session.description, $1.segment, $1.sequence)
        } + sessions.flatMap { $0.records + $0.closingRecords() }
    }

    /// Takes the next record. Finals and usage records count once, and a gap between them is a write that failed: what came after
    /// it counts all the same.
    public mutating func add(_ record: SpoolRecord) {
        let id = record.session
        guard !settled.contains(id) else { return }
        switch record {
        case .began(let session):
            if known[id]?.began?.isAudioKnown != true { known[id, default: Known()].began = session }
        case .final(_, let final):
            if known[id]?.finals[final.sequence] == nil { known[id, default: Known()].finals[final.sequence] = final }
        case .metered(let record):
            let place = Place(segment: record.segment, sequence: record.sequence)
            guard known[id]?.records[place] == nil else { return }
            known[id, default: Known()].records[place] = record
            known[id]?.used(record.total.audio, record.total.engine, at: record.madeAt)
        case .usage(_, let audio, let engine, let date): known[id, default: Known()].used(audio, engine, at: date)
        case .ended(_, let end): known[id, default: Known()].end = end
        case .settled:
            settled.insert(id)
            known[id] = nil
        }
    }
}

extension SpoolRecovery {
    /// What follows a session's last record if that does not tell all that its end does.
    fileprivate static func closingRecords(after last: UsageRecord, _ end: UsageRow, channels: Int) -> [UsageRecord] {
        let total = UsageCounters(
            audio: end.audioMilliseconds, connected: end.connectedMilliseconds, engine: end.engineMilliseconds)
        guard !last.isFinal || last.total.maximum(total) != last.total else { return [] }
        var meter = UsageMeter(recovering: last)
        return meter.end(at: total, engine: last.engine, channels: channels, now: end.endedAt)
    }
}

extension UsageRecord {
    /// Nothing yet, of a session of which only the end is known.
    fileprivate init(beginningOf usage: UsageRow) {
        self.init(
            session: usage.session, tenant: usage.tenant, key: usage.key, engine: usage.engine, model: usage.model,
            language: usage.language, tags: usage.tags, region: usage.region, channels: usage.channels,
            startedAt: usage.startedAt)
    }
}

extension SpoolRecovery.Unsettled {
    /// The records that are missing at its end: none if it wrote its last one itself. They are the same however often they are
    /// made.
    func closingRecords() -> [UsageRecord] {
        let end = resolvedEnd().usage
        let last =
            records.last
            ?? UsageRecord(
                session: began.session, tenant: began.tenant, key: began.key, engine: began.engine, model: began.model,
                language: began.language, tags: began.tags, region: began.region, channels: max(1, began.channels),
                startedAt: began.startedAt)
        let channels = began.isAudioKnown ? began.channels : last.channels
        return SpoolRecovery.closingRecords(after: last, end, channels: channels)
    }

    /// The end to report: its own if it reached one, else that of a session whose node died.
    public func resolvedEnd() -> SpooledEnd {
        if let end { return end }
        // Finals end within admitted audio, and are fresher than the last checkpoint.
        let heard = max(audioMilliseconds, finals.map(\.end.milliseconds).max() ?? 0)
        let engine = finals.first?.engine ?? began.engine
        // What was heard after the checkpoint went to the engine as well.
        let engineMilliseconds = engineMilliseconds.map { $0 + heard - audioMilliseconds }
        let usage = UsageRow(
            session: began.session, tenant: began.tenant, key: began.key, engine: engine, model: began.model,
            language: began.language, tags: began.tags, region: began.region, channels: max(1, began.channels),
            audioMilliseconds: heard, engineMilliseconds: engineMilliseconds,
            connectedMilliseconds: max(
                records.last?.total.connected ?? 0, Int64(lastSeen.timeIntervalSince(began.startedAt) * 1_000)),
            startedAt: began.startedAt, endedAt: lastSeen)
        // What heard nothing has no transcript.
        guard began.isAudioKnown || !finals.isEmpty else {
            return SpooledEnd(transcript: nil, usage: usage, state: .interrupted, reason: Self.reason)
        }
        var options = SessionOptions()
        options.model = began.model
        options.language = began.language
        options.engine = engine
        options.tags = began.tags
        options.ignoredParameters = began.ignoredParameters
        let transcript = Transcript(
            session: began.session, tenant: began.tenant, key: began.key, startedAt: began.startedAt, endedAt: lastSeen,
            state: .interrupted, audioMilliseconds: heard, engineMilliseconds: engineMilliseconds,
            sampleRate: began.sampleRate, channels: began.channels, options: options, region: began.region,
            results: finals)
        return SpooledEnd(transcript: transcript, usage: usage, state: .interrupted, reason: Self.reason)
    }

    private static let reason = "the node ended"
}
