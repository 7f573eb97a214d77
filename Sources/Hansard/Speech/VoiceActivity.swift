import DequeModule

/// Tells speech from silence by energy: decides on 10 ms blocks against a noise floor that follows the quietest
/// moments of the last seconds.
///
/// It belongs to one channel of one session and sees that channel's audio in order, in pieces of any size: the
/// decisions do not depend on how the audio was cut.
struct VoiceActivity {
    /// A change from silence to speech or back, on the audio clock.
    enum Change: Equatable {
        /// Speech began at `at`.
        case started(at: AudioTime)
        /// Speech ended at `at`; told once the silence has lasted for `Settings.release`.
        case stopped(at: AudioTime)
    }

    /// Powers are mean squares of a block, relative to full scale.
    struct Settings {
        /// How many times the noise floor speech is (9 dB).
        var margin = 8.0
        /// Nothing below this is speech, however quiet the rest is (-50 dB).
        var quietestSpeech = 1e-5
        /// The floor is never believed to be above this (-38 dB), so that a stream that begins in mid-word is heard.
        var loudestFloor = 1.6e-4
        /// Below this (-75 dB) is no room but a muted line; it says nothing about the noise that speech will have.
        var digitalSilence = 3e-8
        /// So many blocks of speech within `attackWindow` make an onset: clicks are shorter.
        var attack = 4
        /// See `attack`.
        var attackWindow = 6
        /// So many blocks without speech make an end: gaps within words are shorter.
        var release = 12
        /// The floor is the least smoothed power within this many blocks (3 s).
        var floorWindow = 300
        /// How much of a new block enters the smoothed power.
        var smoothing = 0.3
    }

    /// The length of a block.
    static let blockMilliseconds = 10

    /// Whether the last block decided upon belongs to speech.
    private(set) var isSpeech = false
    /// Where the last block above the threshold ended.
    private(set) var lastSpeechEnd: AudioTime?
    /// Everything before this has been decided upon.
    private(set) var heardThrough = AudioTime.zero

    private let settings: Settings
    private let sampleRate: Int
    private let mixing: Int
    private let samplesPerBlock: Int
    private var blocks: Int64 = 0
    private var sumOfSquares: Int64 = 0
    private var samplesInBlock = 0
    private var recent: UInt64 = 0
    private var smoothed: Double?
    private var noise = 0.0
    private var floor: SlidingMinimum

    /// - Parameter mixing: how many interleaved channels it hears as one; their powers are averaged.
    init(sampleRate: Int, mixing: Int = 1, settings: Settings = Settings()) {
        self.settings = settings
        self.sampleRate = sampleRate
        self.mixing = mixing
        samplesPerBlock = sampleRate * Self.blockMilliseconds / 1_000 * mixing
        floor = SlidingMinimum(window: settings.floorWindow)
    }

    /// Takes the next samples.
    ///
    /// - Parameters:
    ///   - samples: whole frames.
    ///   - start: the index of the first sample to hear.
    ///   - stride: from one sample to the next: the number of interleaved channels to hear one of them, 1 to hear all.
    ///   - onChange: told of each change, in order.
    mutating func heard(_ samples: Span<Int16>, from start: Int, by stride: Int, onChange: (Change) -> Void) {
        var index = start
        while index < samples.count {
            let samplesLeft = (samples.count - index - 1) / stride + 1
            let take = min(samplesLeft, samplesPerBlock - samplesInBlock)
            var sum: Int64 = 0
            for _ in 0..<take {
                let sample = Int64(samples[index])
                sum &+= sample &* sample
                index &+= stride
            }
            sumOfSquares += sum
            samplesInBlock += take
            if samplesInBlock == samplesPerBlock { endBlock(onChange) }
        }
    }

    private mutating func endBlock(_ onChange: (Change) -> Void) {
        let power = Double(sumOfSquares) / Double(samplesInBlock) / (32_768.0 * 32_768.0)
        sumOfSquares = 0
        samplesInBlock = 0
        blocks += 1
        heardThrough = AudioTime(frames: blocks * Int64(samplesPerBlock / mixing), sampleRate: sampleRate)
        if power > settings.digitalSilence {
            let smooth = smoothed.map { $0 + (power - $0) * settings.smoothing } ?? power
            smoothed = smooth
            noise = min(floor.add(smooth), settings.loudestFloor)
        }
        decide(isLoud: power > max(noise * settings.margin, settings.quietestSpeech), onChange)
    }

    private mutating func decide(isLoud: Bool, _ onChange: (Change) -> Void) {
        recent = recent << 1 | (isLoud ? 1 : 0)
        if isLoud { lastSpeechEnd = heardThrough }
        if !isSpeech {
            let window = recent & (1 << UInt64(settings.attackWindow) - 1)
            guard isLoud, window.nonzeroBitCount >= settings.attack else { return }
            isSpeech = true
            let blocksSinceOnset = 64 - window.leadingZeroBitCount
            onChange(.started(at: heardThrough - .milliseconds(blocksSinceOnset * Self.blockMilliseconds)))
        } else if recent & (1 << UInt64(settings.release) - 1) == 0 {
            isSpeech = false
            onChange(.stopped(at: heardThrough - .milliseconds(settings.release * Self.blockMilliseconds)))
        }
    }
}

/// The least of the last `window` values, in constant time per value on average: a queue of candidates that can still
/// become the least.
struct SlidingMinimum {
    private let window: Int
    private var candidates: Deque<(position: Int, value: Double)> = []
    private var position = 0

    init(window: Int) { self.window = window }

    /// Adds a value and returns the least of the window that ends with it.
    mutating func add(_ value: Double) -> Double {
        while let last = candidates.last, last.value >= value { candidates.removeLast() }
        candidates.append((position, value))
        if let first = candidates.first, first.position <= position - window { candidates.removeFirst() }
        position += 1
        return candidates.first?.value ?? value
    }
}
