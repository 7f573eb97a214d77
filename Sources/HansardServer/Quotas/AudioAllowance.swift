import Hansard

/// How much of one session's audio may go on: as far as the minutes of its tenant and key reach, and no longer than one
/// session may be. Lives on the session's loop.
final class AudioAllowance {
    /// Whose minutes it takes; none is no limit. Who was limited once stays: a quota without a limit grants whatever is wanted.
    private(set) var owners: [QuotaOwner]
    /// Seconds of audio that the session may have; nil is no limit.
    private(set) var seconds: Int?
    private let minutes: NodeMinutes
    /// Of the limits that hold, the tenant's and the key's.
    private var versions: [Int64]
    /// Taken from the owners, in milliseconds.
    private var taken: Int64 = 0
    /// Decoded audio that waits for more.
    private var waiting: ArraySlice<Int16> = []

    init(caller: Caller, minutes: NodeMinutes) {
        self.minutes = minutes
        owners = minutes.owners(of: caller)
        seconds = caller.secondsPerSession
        versions = caller.limitVersions
    }

    /// Takes over the limits of the caller as they are now. Whose minutes were not limited until now counts what goes on
    /// from now on.
    ///
    /// - Parameter frames: admitted so far.
    /// - Returns: whose minutes the session has to join before it can take any.
    func limitsAre(of caller: Caller, after frames: Int64, sampleRate: Int?) -> [QuotaOwner] {
        guard caller.limitVersions != versions else { return [] }
        versions = caller.limitVersions
        seconds = caller.secondsPerSession
        let joining = minutes.owners(of: caller).filter { !owners.contains($0) }
        if owners.isEmpty, let sampleRate { taken = Self.milliseconds(frames, sampleRate) }
        owners += joining
        return joining
    }

    /// As long as the frames take, rounded up: what has been begun of a millisecond is taken whole, so that nothing goes
    /// on that was not granted.
    private static func milliseconds(_ frames: Int64, _ sampleRate: Int) -> Int64 {
        (frames * 1_000 + Int64(sampleRate) - 1) / Int64(sampleRate)
    }

    /// Whether anything is limited.
    var isLimited: Bool { !owners.isEmpty || seconds != nil }
    /// Whether decoded audio waits.
    var isHolding: Bool { !waiting.isEmpty }

    /// Whether the session has had what one may.
    func isOver(_ duration: AudioTime) -> Bool { seconds.map { duration >= .milliseconds($0 * 1_000) } ?? false }

    /// Keeps of `samples` what may go on now; the rest waits, behind what waits already.
    ///
    /// - Parameters:
    ///   - frames: admitted so far.
    ///   - goesOnAnyway: takes what there is not, to be asked for afterwards.
    func cut(_ samples: inout [Int16], after frames: Int64, of audio: EngineAudio, goesOnAnyway: Bool = false) {
        if !waiting.isEmpty {
            samples = waiting + samples
            waiting = []
        }
        let wanted = Int64(samples.count / audio.channels)
        let allowed = allowedFrames(wanted, after: frames, sampleRate: audio.sampleRate, goesOnAnyway: goesOnAnyway)
        guard allowed < wanted else { return }
        let count = Int(allowed) * audio.channels
        waiting = samples[count...]
        samples.removeLast(samples.count - count)
    }

    private func allowedFrames(
        _ wanted: Int64, after frames: Int64, sampleRate: Int, goesOnAnyway: Bool
    ) -> Int64 {
        var allowed = wanted
        if let seconds { allowed = min(allowed, max(0, Int64(seconds) * Int64(sampleRate) - frames)) }
        guard !owners.isEmpty, allowed > 0 else { return allowed }
        let end = Self.milliseconds(frames + allowed, sampleRate)
        let need = end - taken
        guard need > 0 else { return allowed }
        let got = minutes.take(need, owners)
        taken += got
        if got < need, goesOnAnyway {
            minutes.charge(need - got, owners)
            taken = end
        }
        return min(allowed, max(0, taken * Int64(sampleRate) / 1_000 - frames))
    }

    /// Nothing that waits goes on any more.
    func drop() { waiting = [] }
}

extension Caller {
    /// Seconds of audio that one session may have; nil is no limit.
    fileprivate var secondsPerSession: Int? {
        [tenant.quotas.maxSecondsPerSession, key.quotas.maxSecondsPerSession].compactMap { $0 }.min()
    }

    fileprivate var limitVersions: [Int64] { [tenant.quotas.version, key.quotas.version] }
}
