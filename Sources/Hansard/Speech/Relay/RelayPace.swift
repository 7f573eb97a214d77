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
    init(sampleRate: Int, speed: Double) {
        framesPerSecond = Double(sampleRate) * speed
        most = framesPerSecond * (Self.burst / .seconds(1))
        credit = most
    }

    /// Time has passed.
    mutating func passed(_ now: ContinuousClock.Instant, isCatchingUp: Bool) {
        defer { countedAt = now }
        guard let countedAt else { return }
        let rate = framesPerSecond * (isCatchingUp ? Self.catchUp : 1)
        credit = min(most, credit + rate * (countedAt.duration(to: now) / .seconds(1)))
    }

    /// Whether something may go now. One message may take more than there is: the next waits for longer then.
    var isOpen: Bool { credit > 0 }

    /// So many frames went.
    mutating func spent(_ frames: Int64) { credit -= Double(frames) }

    /// How long until something may go.
    func wait(isCatchingUp: Bool) -> Duration {
        guard credit <= 0 else { return .zero }
        return .seconds(-credit / (framesPerSecond * (isCatchingUp ? Self.catchUp : 1)))
    }
}
