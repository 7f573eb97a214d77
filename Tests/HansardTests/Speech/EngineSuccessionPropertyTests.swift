import Testing

@testable import Hansard

/// Whole streams over two random engines, repeatable by their seed. Each block of audio carries its number, and engines answer
/// with the numbers that they hear: nobody can make up a word.
@Suite struct EngineSuccessionPropertyTests {
    @Test(arguments: 0..<300) func everyWordOnceAndInItsPlace(seed: Int) {
        var chaos = RandomSuccession(seed: UInt64(seed))
        chaos.play()
        for channel in 0..<chaos.channels {
            let expected = (0..<chaos.blocks).filter { !RandomSuccession.isSilent($0, channel) }
            let words = chaos.finals.filter { $0.channel == channel }.flatMap(\.words)
            #expect(words.map(\.text) == expected.map { "w\($0)" }, "channel \(channel)")
            #expect(words.map(\.start) == expected.map { .milliseconds($0 * RandomSuccession.block) })
            #expect(chaos.flushesAnswered[channel] == chaos.flushesAsked[channel].count)
            let ends = chaos.finals.filter { $0.channel == channel }.map(\.through)
            #expect(zip(ends, ends.dropFirst()).allSatisfy { $0 <= $1 })
        }
        #expect(chaos.log.filter { $0 == "ended" }.count == 1 && chaos.log.last == "ended")
        let switches = chaos.log.filter { $0.hasPrefix("spoken by") }.count
        #expect(switches == (chaos.engines[0].isLost ? 1 : 0))
        #expect(chaos.isHeldBack == false, "whoever was held back was told to go on")
        #expect(chaos.broken.isEmpty, "\(chaos.broken)")
        if chaos.engines[0].isLost {
            let meter = chaos.engines.map(\.frames).reduce(0, +)
            let told = chaos.log.last { $0.hasPrefix("metered") } ?? "metered 0.0"
            #expect(told == "metered \(AudioTime.milliseconds(meter).seconds)")
        }
    }
}

/// An engine of a test: a word for each block that is not silent, finals whenever it likes.
private struct BlockEngine {
    var samples: [[Int16]]
    /// Blocks that are in finals, by channel.
    var given: [Int]
    /// Blocks whose words it has told, by channel: it does not take them back.
    var told: [Int]
    var flushes: [(channel: Int, blocks: Int)] = []
    var isFinished = false
    var isBlocked = false
    var isLost = false
    var hasEnded = false
    var frames: Int { samples[0].count }
    var blocks: Int { frames / RandomSuccession.block }

    init(channels: Int) {
        samples = Array(repeating: [], count: channels)
        given = Array(repeating: 0, count: channels)
        told = given
    }

    mutating func take(_ interleaved: [Int16]) {
        for (index, sample) in interleaved.enumerated() { samples[index % samples.count].append(sample) }
    }

    func result(_ channel: Int, through: Int) -> EngineResult {
        let words = (given[channel]..<through).compactMap { place -> Word? in
            let number = samples[channel][place * RandomSuccession.block]
            guard number >= 0 else { return nil }
            return Word(
                text: "w\(number)", start: .milliseconds(place * RandomSuccession.block),
                end: .milliseconds((place + 1) * RandomSuccession.block))
        }
        return EngineResult(
            channel: channel, through: .milliseconds(through * RandomSuccession.block),
            transcript: words.map(\.text).joined(separator: " "), words: words)
    }

    mutating func final(_ channel: Int, through: Int) -> EngineEvent {
        defer {
            given[channel] = max(given[channel], through)
            told[channel] = max(told[channel], given[channel])
        }
        return .final(result(channel, through: max(through, given[channel])))
    }
}

/// One random stream from its first audio to `ended`.
private struct RandomSuccession {
    /// Frames, and milliseconds, of a block.
    static let block = 10
    static func isSilent(_ number: Int, _ channel: Int) -> Bool { (number + channel) % 4 == 0 }

    let channels: Int
    private(set) var engines: [BlockEngine]
    private(set) var blocks = 0
    private(set) var finals: [EngineResult] = []
    private(set) var log: [String] = []
    private(set) var flushesAsked: [[Int]]
    private(set) var flushesAnswered: [Int]
    private(set) var isHeldBack = false
    private(set) var broken: [String] = []
    private var succession: EngineSuccession
    private var random: SeededGenerator
    private let losesFirst: Bool

    init(seed: UInt64) {
        random = SeededGenerator(seed: seed)
        channels = Int.random(in: 1...3, using: &random)
        engines = [BlockEngine(channels: channels), BlockEngine(channels: channels)]
        flushesAsked = Array(repeating: [], count: channels)
        flushesAnswered = Array(repeating: 0, count: channels)
        succession = EngineSuccession(
            audio: EngineAudio(sampleRate: 1_000, channels: channels, isMultichannel: channels > 1),
            hearingMargin: .zero)
        losesFirst = Int.random(in: 0..<8, using: &random) > 0
    }

    mutating func play() {
        let steps = Int.random(in: 1...80, using: &random)
        let loss = losesFirst ? Int.random(in: 0...steps + 5, using: &random) : .max
        if loss == 0 {
            engines[0].isLost = true
            run(succession.firstRefused("chaos"))
        }
        for step in 1...steps {
            if step == loss { lose() }
            self.step()
        }
        run(succession.finishAsked())
        for step in steps + 1...steps + 5 {
            if step == loss, !engines[0].hasEnded { lose() }
            engineStep()
        }
        // What is left, as fast as they can.
        for _ in 0..<1_000 where log.last != "ended" { engineStep(isHurrying: true) }
    }

    private mutating func lose() {
        guard !engines[0].isLost, !engines[0].hasEnded else { return }
        engines[0].isLost = true
        switch Int.random(in: 0..<3, using: &random) {
        case 0 where !engines[0].isFinished: run(succession.said(.ended, by: .first))
        case 1 where !engines[0].isFinished && !isHeldBack: sendAudio()
        default: run(succession.said(.failed("chaos"), by: .first))
        }
    }

    private mutating func step() {
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<4: if !isHeldBack { sendAudio() }
        case 4:
            let channel = Int.random(in: 0..<channels, using: &random)
            flushesAsked[channel].append(blocks)
            run(succession.flushAsked(channel: channel))
        default: engineStep()
        }
    }

    private mutating func sendAudio() {
        var samples: [Int16] = []
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            for _ in 0..<Self.block {
                for channel in 0..<channels { samples.append(Self.isSilent(blocks, channel) ? -1 : Int16(blocks)) }
            }
            blocks += 1
        }
        if Int.random(in: 0..<10, using: &random) == 0 {
            // As if handed in while something else was being done.
            succession.audioWaits()
            isHeldBack = true
            run(succession.audioCame(samples))
            return
        }
        run(succession.audioCame(samples))
        switch succession.outcome() {
        case .sent: break
        case .backpressure: isHeldBack = true
        case .dropped: broken.append("dropped")
        }
    }

    private mutating func engineStep(isHurrying: Bool = false) {
        let index = engines[0].isLost ? 1 : 0
        let engine: EngineSuccession.Engine = index == 0 ? .first : .second
        let channel = Int.random(in: 0..<channels, using: &random)
        let (given, heard) = (engines[index].given[channel], engines[index].blocks)
        let through = given >= heard ? given : Int.random(in: given...heard, using: &random)
        func say(_ event: EngineEvent) { run(succession.said(event, by: engine)) }
        if engines[index].isBlocked, isHurrying || Bool.random(using: &random) {
            engines[index].isBlocked = false
            return say(.capacity)
        }
        switch isHurrying ? 3 : Int.random(in: 0..<6, using: &random) {
        case 0, 1:
            // Words are told before what says how far has been listened.
            let told = max(engines[index].told[channel], through)
            engines[index].told[channel] = told
            say(.partial(engines[index].result(channel, through: told)))
            guard Bool.random(using: &random) else { break }
            say(.progress(channel: channel, through: .milliseconds(told * Self.block)))
        case 2: say(engines[index].final(channel, through: through))
        default:
            if let flush = engines[index].flushes.first {
                engines[index].flushes.removeFirst()
                say(engines[index].final(flush.channel, through: flush.blocks))
                say(.flushed(channel: flush.channel))
            } else if engines[index].isFinished, !engines[index].isBlocked, !engines[index].hasEnded {
                engines[index].hasEnded = true
                for channel in 0..<channels { say(engines[index].final(channel, through: engines[index].blocks)) }
                say(.ended)
            }
        }
    }

    private mutating func run(_ actions: [EngineSuccession.Action]) {
        var actions = actions
        while !actions.isEmpty {
            let action = actions.removeFirst()
            switch action {
            case .send(let engine, let samples): actions += send(samples, to: engine)
            case .flush(let engine, let channel):
                let index = engine == .first ? 0 : 1
                engines[index].flushes.append((channel, engines[index].blocks))
            case .finish(let engine): engines[engine == .first ? 0 : 1].isFinished = true
            case .cancel(let engine): if engine == .second { broken.append("the second was cancelled") }
            case .openSecond(_, let lost):
                if lost > .zero { broken.append("audio was lost") }
                actions += succession.opened(EngineSuccessionTests.second)
            case .deliver(let event): deliver(event)
            }
        }
    }

    private mutating func send(_ samples: [Int16], to engine: EngineSuccession.Engine) -> [EngineSuccession.Action] {
        let index = engine == .first ? 0 : 1
        if index == 1, engines[1].isBlocked { broken.append("a send without room") }
        engines[index].take(samples)
        if engines[index].isLost { return succession.took(.dropped, by: engine) }
        guard Int.random(in: 0..<4, using: &random) == 0 else { return succession.took(.sent, by: engine) }
        engines[index].isBlocked = true
        return succession.took(.backpressure, by: engine)
    }

    private mutating func deliver(_ event: EngineEvent) {
        log.append(event.trace)
        switch event {
        case .final(let result): finals.append(result)
        case .flushed(let channel):
            let position = flushesAsked[channel][flushesAnswered[channel]]
            flushesAnswered[channel] += 1
            let covered = finals.last { $0.channel == channel }?.through ?? .zero
            if covered < .milliseconds(position * Self.block) { broken.append("flushed before its finals") }
        case .capacity: isHeldBack = false
        case .partial(let result):
            let covered = finals.last { $0.channel == result.channel }?.through ?? .zero
            if result.words.contains(where: { $0.start < covered }) { broken.append("a word twice in a partial") }
        default: break
        }
    }
}
