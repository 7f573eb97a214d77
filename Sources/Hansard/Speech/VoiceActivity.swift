import DequeModule

/// Tells speech from silence by energy: decides on 10 ms blocks against a noise floor that follows the quietest
/// moments of the last seconds.
///
/// It belongs to one channel of one session and sees that channel's audio in order, in pieces of any size: the
/// decisions do not depend on how the audio was cut.
struct VoiceActivity {
    /// What was decided, on the audio clock.
    enum Event: Equatable {
        /// Speech began at `at`.
        case started(at: AudioTime)
        /// Speech ended at `at`; told at `toldAt`, once the silence has lasted for `Settings.release`. The voice was last
        /// strong at `voiceEnd`: what follows it within the speech is breath and echo, which the threshold against noise
        /// lets pass.
        case stopped(at: AudioTime, voiceEnd: AudioTime, toldAt: AudioTime)
        /// A block without speech ended at `through`; told of each while there is none.
        case quiet(through: AudioTime)
    }

    /// Powers are mean squares of a block, relative to full scale.
    struct Settings {
        /// How many times the noise floor speech is (9 dB).
        var margin = 8.0
        /// How many times the noise floor speech is in loud noise (4 dB), where more would be deaf.
        var leastMargin = 2.5
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
        /// After so many blocks of digital silence (500 ms) the noise floor is learnt anew.
        var forgetting = 50
        /// How much of a new block enters the smoothed power.
        var smoothing = 0.3
        /// The voice is strong down to this part of the loudest power of its speech (-20 dB).
        var strongPart = 0.01
    }

    /// The length of a block.
    static let blockMilliseconds = 10

    /// Whether the last block decided upon belongs to speech.
    private(set) var isSpeech = false
    /// Everything before this has been decided upon.
    var heardThrough: AudioTime { time(blocksAgo: 0) }

    private let settings: Settings
    private let sampleRate: Int
    private let mixing: Int
    private let samplesPerBlock: Int
    private var blocks: Int64 = 0
    private var sumOfSquares: Int64 = 0
    private var samplesInBlock = 0
    private var recent: UInt64 = 0
    private var smoothed: Double?
    private var loudness: Double
    private var loudest = 0.0
    private var wasStrong = false
    private var strongThrough = AudioTime.zero
    private var mutedBlocks = 0
    private var floor: SlidingMinimum

    /// - Parameter mixing: how many interleaved channels it hears as one; their powers are averaged.
    init(sampleRate: Int, mixing: Int = 1, settings: Settings = Settings()) {
        self.settings = settings
        self.sampleRate = sampleRate
        self.mixing = mixing
        samplesPerBlock = sampleRate * Self.blockMilliseconds / 1_000 * mixing
        floor = SlidingMinimum(window: settings.floorWindow)
        loudness = settings.quietestSpeech
    }

    /// Takes the next samples.
    ///
    /// - Parameters:
    ///   - samples: whole frames.
    ///   - start: the index of the first sample to hear.
    ///   - stride: from one sample to the next: the number of interleaved channels to hear one of them, 1 to hear all.
    ///   - onEvent: told of each event, in order.
    mutating func heard(_ samples: Span<Int16>, from start: Int, by stride: Int, onEvent: (Event) -> Void) {
        var index = start
        while index < samples.count {
            let samplesLeft = (samples.count - index - 1) / stride + 1
            let take = min(samplesLeft, samplesPerBlock - samplesInBlock)
            sumOfSquares += Self.sumOfSquares(samples, from: index, by: stride, count: take)
            index += take * stride
            samplesInBlock += take
            if samplesInBlock == samplesPerBlock { endBlock(onEvent) }
        }
    }

    /// The most frequent work on a network thread: mono is summed without a step, so that the compiler vectorises it.
    private static func sumOfSquares(_ samples: Span<Int16>, from start: Int, by stride: Int, count: Int) -> Int64 {
        var sum: Int64 = 0
        if stride == 1 {
            let block = samples.extracting(start..<start + count)
            for index in block.indices {
                let sample = Int32(block[index])
                sum &+= Int64(sample &* sample)
            }
        } else {
            var index = start
            for _ in 0..<count {
                let sample = Int32(samples[index])
                sum &+= Int64(sample &* sample)
                index &+= stride
            }
        }
        return sum
    }

    private mutating func endBlock(_ onEvent: (Event) -> Void) {
        let power = Double(sumOfSquares) / Double(samplesInBlock) / (32_768.0 * 32_768.0)
        sumOfSquares = 0
        samplesInBlock = 0
        blocks += 1
        if power > settings.digitalSilence { learnNoise(power) } else { mutedBlocks += 1 }
        noteStrength(power)
        decide(isLoud: power > loudness, onEvent)
    }

    private mutating func learnNoise(_ power: Double) {
        if mutedBlocks > 0 || blocks == 1 {
            // What follows a muted line may be another room; the block in which it opens is partly silent.
            if mutedBlocks >= settings.forgetting { floor = SlidingMinimum(window: settings.floorWindow) }
            mutedBlocks = 0
            smoothed = nil
            return
        }
        let smooth = smoothed.map { $0 + (power - $0) * settings.smoothing } ?? power
        smoothed = smooth
        let noise = floor.add(smooth)
        let threshold = max(min(noise, settings.loudestFloor) * settings.margin, settings.quietestSpeech)
        loudness = floor.isFull ? max(threshold, noise * settings.leastMargin) : threshold
    }

    /// Two blocks running make strength, as a lone one is a click.
    private mutating func noteStrength(_ power: Double) {
        if !isSpeech { loudest = 0 }
        let isStrong = power > max(loudness, loudest * settings.strongPart)
        if isStrong, wasStrong {
            loudest = max(loudest, power)
            strongThrough = heardThrough
        }
        wasStrong = isStrong
    }

    private mutating func decide(isLoud: Bool, _ onEvent: (Event) -> Void) {
        recent = recent << 1 | (isLoud ? 1 : 0)
        if isSpeech {
            // A lone loud block is a click: it takes two to go on.
            guard recent & recent >> 1 & lastBlocks(settings.release) == 0 else { return }
            isSpeech = false
            onEvent(
                .stopped(at: time(blocksAgo: settings.release), voiceEnd: strongThrough, toldAt: heardThrough))
        } else if isLoud {
            let window = recent & lastBlocks(settings.attackWindow)
            guard window.nonzeroBitCount >= settings.attack else { return }
            isSpeech = true
            onEvent(.started(at: time(blocksAgo: 64 - window.leadingZeroBitCount)))
        }
        if !isSpeech, !isLoud { onEvent(.quiet(through: heardThrough)) }
    }

    private func lastBlocks(_ count: Int) -> UInt64 { 1 << UInt64(count) - 1 }

    private func time(blocksAgo count: Int) -> AudioTime {
        AudioTime(frames: (blocks - Int64(count)) * Int64(samplesPerBlock / mixing), sampleRate: sampleRate)
    }
}

/// The least of the last `window` values, in constant time per value on average: a queue of candidates that can still
/// become the least.
struct SlidingMinimum {
    private let window: Int
    private var candidates: Deque<(position: Int, value: Double)> = []
    private var position = 0

    init(window: Int) { self.window = window }

    /// Whether the least is one of a whole window.
    var isFull: Bool { position >= window }

    /// Adds a value and returns the least of the window that ends with it.
    mutating func add(_ value: Double) -> Double {
        while let last = candidates.last, last.value >= value { candidates.removeLast() }
        candidates.append((position, value))
        if let first = candidates.first, first.position <= position - window { candidates.removeFirst() }
        position += 1
        return candidates.first?.value ?? value
    }
}
