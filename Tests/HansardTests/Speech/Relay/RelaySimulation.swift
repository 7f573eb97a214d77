import Testing

@testable import Hansard

/// A relay between a client and a service, both simulated, on a clock that jumps.
struct RelaySimulation: ~Copyable {
    /// Something that goes wrong with the stream of the moment.
    enum Fault: Sendable {
        case ends(UpstreamEnd)
        /// It takes everything and says nothing any more.
        case stalls
        /// It cannot be opened for so long.
        case isAway(Duration)
    }

    static let step = Duration.milliseconds(10)
    /// From the wish to the connection.
    static let connecting = Duration.milliseconds(50)

    private(set) var now: ContinuousClock.Instant
    private(set) var relay: RelayedStream
    private(set) var stream: SimulatedStream?
    private(set) var events: [(event: EngineEvent, at: Duration)] = []
    private(set) var reports: [UpstreamEnd] = []
    private(set) var streams = 0
    /// The most audio that a stream had beyond what real time allows it.
    private(set) var greatestLead = 0.0
    private(set) var longestStream = 0
    private(set) var silence = 0
    private let began: ContinuousClock.Instant
    private var opensAt: ContinuousClock.Instant?
    private var openedAt: ContinuousClock.Instant?
    private var isStalled = false
    private var awayUntil: ContinuousClock.Instant?
    /// What the service bills: each stream's audio, or the least of one.
    private(set) var billed = 0

    init(policy: RelayPolicy = .simulated) {
        now = .now
        began = now
        relay = RelayedStream(
            audio: EngineAudio(sampleRate: IndexedAudio.sampleRate, channels: 1, isMultichannel: false), policy: policy,
            now: now, random: { 0.5 })
        perform(relay.begin(now: now))
    }

    var elapsed: Duration { now - began }
    var isOver: Bool { relay.isOver }

    // MARK: The client

    mutating func send(_ samples: [Int16]) -> SendOutcome {
        let (outcome, actions) = relay.audioCame(samples, now: now)
        perform(actions)
        return outcome
    }

    mutating func flush() { perform(relay.flushAsked(channel: 0, now: now)) }
    mutating func finish() { perform(relay.finishAsked(now: now)) }

    /// Sends audio as it is spoken, in messages of `frames`.
    mutating func speak(_ samples: [Int16], frames: Int = 100, at speed: Double = 1) {
        for start in stride(from: 0, to: samples.count, by: frames) {
            _ = send(Array(samples[start..<min(start + frames, samples.count)]))
            pass(.milliseconds(Int(Double(frames) * 1_000 / Double(IndexedAudio.sampleRate) / speed)))
        }
    }

    // MARK: Time

    mutating func pass(_ duration: Duration) {
        let end = now + duration
        while now < end {
            now += Self.step
            turn()
        }
    }

    mutating func passUntilOver(within limit: Duration = .seconds(300)) {
        let end = now + limit
        while !relay.isOver, now < end {
            now += Self.step
            turn()
        }
    }

    private mutating func turn() {
        if let opensAt, opensAt <= now {
            self.opensAt = nil
            if let awayUntil, now < awayUntil {
                stream = nil
                perform(relay.upstreamEnded(.failed("away"), now: now))
            } else {
                stream = SimulatedStream()
                streams += 1
                openedAt = now
                isStalled = false
                perform(relay.opened(now: now))
            }
        }
        if !isStalled, let results = stream?.results(now: now), !results.isEmpty {
            perform(relay.said(results, now: now))
        }
        if stream?.isDone == true { end(.clean) }
        if let tick = relay.nextTick(now: now), tick <= now + Self.step { perform(relay.ticked(now: now)) }
    }

    mutating func fault(_ fault: Fault) {
        switch fault {
        case .ends(let end): self.end(end)
        case .stalls: isStalled = true
        case .isAway(let duration):
            awayUntil = now + duration
            end(.failed("away"))
        }
    }

    private mutating func end(_ end: UpstreamEnd) {
        guard stream != nil || opensAt != nil else { return }
        settleBill()
        stream = nil
        opensAt = nil
        perform(relay.upstreamEnded(end, now: now))
    }

    private mutating func settleBill() {
        guard let stream else { return }
        billed += max(stream.frames, 15 * IndexedAudio.sampleRate)
        longestStream = max(longestStream, stream.frames)
    }

    private mutating func perform(_ actions: [RelayedStream.Action]) {
        for action in actions {
            switch action {
            case .open:
                #expect(stream == nil && opensAt == nil, "one stream at a time")
                opensAt = now + Self.connecting
            case .send(let samples):
                #expect(stream?.isEnded == false, "audio goes into an open stream alone")
                stream?.take(samples, now: now)
                noteLead()
            case .sendSilence(let frames):
                #expect(stream?.isEnded == false)
                stream?.take(Array(repeating: 0, count: frames), now: now)
                silence += frames
                noteLead()
            case .askForFinals, .keepAlive: Issue.record("this service knows no such message")
            case .endStream: stream?.end()
            case .close:
                settleBill()
                (stream, opensAt) = (nil, nil)
            case .report(let end): reports.append(end)
            case .deliver(let event): events.append((event, elapsed))
            }
        }
    }

    private mutating func noteLead() {
        guard let stream, let openedAt else { return }
        let lead = Double(stream.frames) / Double(IndexedAudio.sampleRate) - (now - openedAt) / .seconds(1)
        greatestLead = max(greatestLead, lead)
    }

    // MARK: What came of it

    var finals: [EngineResult] {
        events.compactMap { if case .final(let result) = $0.event { result } else { nil } }
    }
    var words: [Word] { finals.flatMap(\.words) }
    var partials: Int { events.count { if case .partial = $0.event { true } else { false } } }
    var flushes: Int { events.count { if case .flushed = $0.event { true } else { false } } }
    var metered: AudioTime? {
        events.last { if case .metered = $0.event { true } else { false } }.flatMap {
            if case .metered(let total) = $0.event { total } else { nil }
        }
    }
    var failure: String? {
        if case .failed(let why)? = events.last?.event { why } else { nil }
    }

    /// Every word of the audio once, in order, at its own time; the finals tile the time line.
    func expectAllWords(
        of samples: [Int16], _ comment: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let spoken = IndexedAudio.words(in: samples[...], from: 0)
        #expect(words.map(\.text) == spoken.map(\.text), comment, sourceLocation: sourceLocation)
        if words.count == spoken.count {
            let offsets = zip(words, spoken).map { max($0.start - $1.start, $1.start - $0.start) }
            #expect((offsets.max() ?? .zero) <= .milliseconds(1), comment, sourceLocation: sourceLocation)
        }
        for (final, next) in zip(finals, finals.dropFirst()) {
            #expect(final.through <= next.through, comment, sourceLocation: sourceLocation)
        }
        #expect(events.last?.event == .ended, comment, sourceLocation: sourceLocation)
    }
}

extension RelayPolicy {
    /// Amazon Transcribe's ways.
    static var simulated: RelayPolicy {
        var policy = RelayPolicy(flush: .silence(.milliseconds(1_000)), keepAlive: .silence(.milliseconds(100)))
        policy.minimumBilled = .milliseconds(15_000)
        return policy
    }
}
