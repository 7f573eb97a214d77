import EventLoops
import Hansard
import Logging
import Synchronization

/// An engine elsewhere: each session's audio is relayed to it over a WebSocket on the session's own event loop, and what
/// the service does not promise (`RelayedStream`) is made good here.
final class RelayEngine: SpeechEngine {
    let service: any UpstreamService
    /// What has become of its streams.
    let record = UpstreamRecord()
    private let logger: Logger
    private let inUse = Atomic<Int>(0)

    init(service: any UpstreamService, logger: Logger) {
        self.service = service
        self.logger = logger
    }

    var description: EngineDescription { service.description }
    var load: (capacity: Int?, inUse: Int) { (nil, inUse.load(ordering: .relaxed)) }

    func reserve(channels: Int) throws(HansardError) -> any EngineReservation {
        inUse.add(1, ordering: .relaxed)
        return Reservation(engine: self)
    }

    /// Counts what became of a stream, and tells once that streams fail and once that they work again.
    func report(_ end: UpstreamEnd?) {
        guard let change = record.note(end, now: .now) else { return }
        switch change {
        case .fails(let why):
            logger.warning("an engine's streams fail", metadata: ["engine": "\(description.name)", "error": "\(why)"])
        case .works: logger.notice("an engine's streams work again", metadata: ["engine": "\(description.name)"])
        }
    }

    /// What metrics tell of it.
    func gauges(_ name: String) -> [Metrics.Gauge] {
        let counts = record.counts
        let outcomes = [
            ("worked", counts.worked), ("failed", counts.failed), ("limited", counts.limited),
            ("refused", counts.refused),
        ]
        let streams = outcomes.map { outcome, count in
            Metrics.Gauge(
                name: "hansard_engine_streams_total", help: "Streams to an engine elsewhere, by what became of them.",
                value: Double(count), isCounter: true, labels: [("engine", name), ("outcome", outcome)])
        }
        return streams + [
            Metrics.Gauge(
                name: "hansard_engine_reachable", help: "0 if streams failed since one last worked.",
                value: counts.isFailing ? 0 : 1, labels: [("engine", name)])
        ]
    }

    private final class Reservation: EngineReservation {
        private let engine: RelayEngine
        private let isHeld = Atomic<Bool>(true)

        init(engine: RelayEngine) { self.engine = engine }

        func open(
            _ request: EngineRequest, deliver: @escaping @Sendable (EngineEvent) -> Void
        ) throws(HansardError) -> any EngineStream {
            guard let loop = EventLoop.current else {
                throw HansardError(.internal, "a relay was opened outside of an event loop")
            }
            let channels = request.audio.resultChannels
            guard channels <= max(1, engine.description.maxMultichannel) else {
                throw HansardError(
                    .invalid,
                    "\(channels) channels apart; '\(engine.description.name)' takes "
                        + "\(engine.description.maxMultichannel)")
            }
            let isSplit = channels > engine.service.channelsPerStream
            let gathering = ChannelGathering(channels: isSplit ? channels : 1, deliver: deliver)
            let relays = (0..<(isSplit ? channels : 1)).map { channel in
                UpstreamRelay(
                    request.relayed(isSplit: isSplit), streams: isSplit ? channels : 1, engine: engine, loop: loop
                ) { event in
                    isSplit ? gathering.take(event, channel: channel) : deliver(event)
                }
            }
            for relay in relays { relay.begin() }
            return Stream(relays: LoopBound(relays, on: loop), audio: request.audio, gathering: gathering)
        }

        func release() {
            if isHeld.exchange(false, ordering: .relaxed) { engine.inUse.subtract(1, ordering: .relaxed) }
        }
    }

    /// One relay; or one for each channel, where the service does not listen to so many apart in one stream.
    private final class Stream: EngineStream {
        private let relays: LoopBound<[UpstreamRelay]>
        private let audio: EngineAudio
        private let gathering: ChannelGathering

        init(relays: LoopBound<[UpstreamRelay]>, audio: EngineAudio, gathering: ChannelGathering) {
            self.relays = relays
            self.audio = audio
            self.gathering = gathering
        }

        func send(_ samples: [Int16]) -> SendOutcome {
            let relays = relays.value
            if relays.count > 1 {
                let apart = samples.apart(channels: audio.channels)
                return gathering.send { relays[$0].send(apart[$0]) }
            }
            return relays[0].send(audio.isMultichannel ? samples : samples.mixed(channels: audio.channels))
        }

        func flush(channel: Int) {
            let relays = relays.value
            if relays.count > 1 { relays[channel].flush(channel: 0) } else { relays[0].flush(channel: channel) }
        }

        func finish() { relays.value.forEach { $0.finish() } }
        func cancel() { relays.value.forEach { $0.cancel() } }
    }
}

extension EngineRequest {
    /// As one relay gets it: what has one result is mixed into one channel, and so is each of several that are split.
    fileprivate func relayed(isSplit: Bool) -> EngineRequest {
        guard isSplit || !audio.isMultichannel else { return self }
        var request = self
        request.audio = EngineAudio(sampleRate: audio.sampleRate, channels: 1, isMultichannel: false)
        return request
    }
}

/// What has become of an engine's streams: for metrics, and so that trouble is one line in the log and not a flood.
final class UpstreamRecord: Sendable {
    /// News are told no more often: a service that refuses some of many streams would fail and work by turns.
    static let quiet = Duration.seconds(60)

    /// News.
    enum Change: Equatable {
        case fails(String)
        case works
    }

    struct Counts: Equatable {
        var worked = 0
        var failed = 0
        var limited = 0
        var refused = 0
        /// Since a stream last failed, none has said anything.
        var isFailing = false
        /// Whether that was told, and when it was told last.
        fileprivate var isTold = false
        fileprivate var toldAt: ContinuousClock.Instant?

        fileprivate mutating func fails(_ why: String, now: ContinuousClock.Instant) -> Change? {
            isFailing = true
            if isTold || toldAt.map({ now - $0 < UpstreamRecord.quiet }) ?? false { return nil }
            (isTold, toldAt) = (true, now)
            return .fails(why)
        }
    }

    private let state = Locked(Counts())
    var counts: Counts { state.withLock { $0 } }

    /// A stream said its first words, or ended by itself (nil); or it failed.
    func note(_ end: UpstreamEnd?, now: ContinuousClock.Instant) -> Change? {
        state.withLock { counts in
            switch end {
            case nil, .clean:
                counts.worked += 1
                counts.isFailing = false
                defer { counts.isTold = false }
                return counts.isTold ? .works : nil
            case .failed(let why):
                counts.failed += 1
                return counts.fails(why, now: now)
            case .limited(let why):
                counts.limited += 1
                return counts.fails(why, now: now)
            case .refused(let why):
                counts.refused += 1
                return counts.fails(why, now: now)
            }
        }
    }
}
