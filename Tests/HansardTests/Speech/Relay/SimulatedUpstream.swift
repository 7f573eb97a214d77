import Hansard

/// Audio in which every 100 ms carry their own number, so that what is lost, cut in two or heard twice shows up as words.
enum IndexedAudio {
    /// Frames in a second: few, so that hours are short.
    static let sampleRate = 1_000
    static let blockFrames = 100
    private static let mark: Int16 = 20_000
    private static let filler: Int16 = 5_000

    /// One block.
    static func block(_ number: Int) -> [Int16] {
        [mark, Int16(number % 10_000), Int16(number / 10_000)] + Array(repeating: filler, count: blockFrames - 3)
    }

    /// Utterances of `spoken` blocks with `quiet` blocks of silence between them.
    static func speech(blocks: Int, spoken: Int, quiet: Int) -> [Int16] {
        (0..<blocks).flatMap { number in
            number % (spoken + quiet) < spoken ? block(number) : Array(repeating: 0, count: blockFrames)
        }
    }

    /// The words of some audio, in its own time; a block that is not whole is none.
    static func words(in samples: ArraySlice<Int16>, from offset: Int) -> [Word] {
        var words: [Word] = []
        var index = samples.startIndex
        while index + blockFrames <= samples.endIndex {
            guard samples[index] == mark,
                samples[index + 3..<index + blockFrames].allSatisfy({ $0 == filler })
            else {
                index += 1
                continue
            }
            let number = Int(samples[index + 1]) + 10_000 * Int(samples[index + 2])
            let start = Int64(offset + index - samples.startIndex)
            words.append(
                Word(
                    text: "b\(number)", start: AudioTime(frames: start, sampleRate: sampleRate),
                    end: AudioTime(frames: start + Int64(blockFrames), sampleRate: sampleRate)))
            index += blockFrames
        }
        return words
    }
}

/// One stream of a service that hears `IndexedAudio`, on a clock of the test's.
struct SimulatedStream {
    /// From a frame's arrival to the result that has it.
    static let latency = Duration.milliseconds(300)
    /// Silence that ends an utterance.
    static let pause = 300
    /// New words of an utterance are told after so many.
    static let wordsPerPartial = 5

    private var samples: [Int16] = []
    private var arrivals: [(frame: Int, at: ContinuousClock.Instant)] = []
    private var heard = 0
    private var scanned = 0
    private var open: [Word] = []
    private var told = 0
    private var quiet = 0
    private(set) var isEnded = false
    /// Whether all has been said after the end.
    private(set) var isDone = false
    var frames: Int { samples.count }

    mutating func take(_ more: some Sequence<Int16>, now: ContinuousClock.Instant) {
        samples += more
        arrivals.append((samples.count, now))
    }

    mutating func end() { isEnded = true }

    /// What it says at this moment.
    mutating func results(now: ContinuousClock.Instant) -> [UpstreamResult] {
        while let first = arrivals.first, first.at + Self.latency <= now {
            heard = first.frame
            arrivals.removeFirst()
        }
        var results: [UpstreamResult] = []
        // In steps, so that an utterance's end is seen where it is.
        while scanned < heard {
            let step = min(50, heard - scanned)
            listen(to: step, &results)
        }
        if isEnded, arrivals.isEmpty, !isDone {
            isDone = true
            if !open.isEmpty { results.append(close(at: samples.count)) }
        }
        return results
    }

    private mutating func listen(to step: Int, _ results: inout [UpstreamResult]) {
        let from = max(0, scanned - IndexedAudio.blockFrames + 1)
        scanned += step
        let last = open.last?.end ?? .zero
        let words = IndexedAudio.words(in: samples[from..<scanned], from: from).filter { $0.start >= last }
        for word in words where !open.contains(word) && word.start >= closedThrough { open.append(word) }
        quiet = samples[scanned - step..<scanned].allSatisfy { $0 == 0 } ? quiet + step : 0
        if quiet >= Self.pause, !open.isEmpty {
            results.append(close(at: scanned - quiet))
        } else if open.count >= told + Self.wordsPerPartial {
            told = open.count
            results.append(UpstreamResult(result(through: open.last?.end ?? .zero), isFinal: false))
        }
    }

    private var closedThrough = AudioTime.zero

    private mutating func close(at frame: Int) -> UpstreamResult {
        let end = max(open.last?.end ?? .zero, AudioTime(frames: Int64(frame), sampleRate: IndexedAudio.sampleRate))
        let final = UpstreamResult(result(through: end), isFinal: true)
        (open, told, closedThrough) = ([], 0, end)
        return final
    }

    private func result(through: AudioTime) -> EngineResult {
        EngineResult(through: through, transcript: open.map(\.text).joined(separator: " "), words: open)
    }
}
