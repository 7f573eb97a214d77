/// How fast audio may go upstream: services that transcribe live want it no faster than it was spoken, and drop or refuse
/// what comes too early. What was held up may be made good at up to twice that.
struct RelayPace {
    /// What may go at once, so that a client's unsteady network adds no delay of ours.
    static let burst = Duration.seconds(1)
    /// How much faster than live what was held up goes.
    static let catchUp = 2.0

    private let framesPerSecond: Double
    private let most: Double
    private var credit: Double
    private var countedAt: ContinuousClock.Instant?

    /// - Parameters:
    ///   - sampleRate: frames in a second of audio.
    ///   - speed: seconds of audio in a second: 1 is live.
    ///   - overdue: audio that should have gone long ago.
    init(sampleRate: Int, speed: Double, overdue: AudioTime = .zero) {
        framesPerSecond = Double(sampleRate) * speed
        most = framesPerSecond * (Self.burst / .seconds(1))
        credit = most + Double(sampleRate) * Double(overdue.microseconds) / 1_000_000
    }

    /// Time has passed.
    mutating func passed(_ now: ContinuousClock.Instant, isCatchingUp: Bool) {
        defer { countedAt = now }
        guard let countedAt else { return }
        let rate = framesPerSecond * (isCatchingUp ? Self.catchUp : 1)
        let earned = credit + rate * (countedAt.duration(to: now) / .seconds(1))
        // What was overdue from the start stays so; nothing is added to it.
        credit = credit > most ? credit : min(most, earned)
    }

    /// Whether something may go now. One message may take more than there is: the next waits for longer then.
    var isOpen: Bool { credit > 0 }

    /// Frames that may go now.
    var ready: Int64 { Int64(max(0, credit)) }

    /// So many frames went.
    mutating func spent(_ frames: Int64) { credit -= Double(frames) }

    /// When something may go, if time was looked at before; nil if it may go now.
    func opens(isCatchingUp: Bool) -> ContinuousClock.Instant? {
        guard credit <= 0, let countedAt else { return nil }
        return countedAt + .seconds(-credit / (framesPerSecond * (isCatchingUp ? Self.catchUp : 1)))
    }
}

/// How far a stream would be that nothing ever held up. A relay that is behind it, because a service was away, hears
/// again what was not final, or got silence of ours, makes that good; a client that sends faster than it speaks does not
/// make it faster.
struct LivePosition {
    private var pace: RelayPace
    private(set) var frame: Int64 = 0

    init(pace: RelayPace) { self.pace = pace }

    /// Time has passed, and the client's audio now reaches to `end`.
    mutating func passed(_ now: ContinuousClock.Instant, end: Int64) {
        pace.passed(now, isCatchingUp: false)
        let step = min(end - frame, pace.ready)
        guard step > 0 else { return }
        frame += step
        pace.spent(step)
    }
}
