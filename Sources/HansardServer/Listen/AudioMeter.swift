import Hansard

/// Counts a session's admitted audio, and says when its lease is to learn of it.
struct AudioMeter {
    /// The lease learns of the use with each so much audio.
    static let renewalInterval = AudioTime.milliseconds(60_000)

    private var total: Int64 = 0
    private var renewed = AudioTime.zero

    /// What follows from some audio.
    struct Step: Equatable {
        /// Milliseconds since the last step.
        var added: Int
        /// Milliseconds in all.
        var total: Int64
        /// Whether the lease is to know.
        var isRenewal: Bool
    }

    /// The session has admitted so much by now.
    mutating func heard(_ duration: AudioTime) -> Step {
        let step = Step(
            added: Int(duration.milliseconds - total), total: duration.milliseconds,
            isRenewal: duration - renewed >= Self.renewalInterval)
        total = step.total
        if step.isRenewal { renewed = duration }
        return step
    }
}
