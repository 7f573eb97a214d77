import Testing

@testable import Hansard

/// Whole sessions with a random client and a random engine, repeatable by their seed: what must hold whatever happens.
@Suite struct SessionPropertyTests {
    @Test(arguments: 0..<150) func everySessionKeepsItsPromises(seed: Int) {
        var chaos = RandomSession(seed: UInt64(seed))
        chaos.play()
        Self.checkOrder(chaos.run.actions)
        Self.checkKept(chaos.run)
        Self.checkTiling(chaos)
        if !chaos.run.session.options.wantsInterim { #expect(chaos.run.actions.results.allSatisfy { $0.isFinal }) }
        #expect(chaos.run.actions.results.allSatisfy { $0.isFinal || !$0.isSpeechFinal && !$0.isFromFinalize })
        #expect(
            chaos.run.session.finals.map(\.transcript).sorted() == chaos.said.sorted(),
            "no final is lost, none is told twice"
        )
    }

    /// `settle`, then the metadata, then `close`, each once; nothing but them after `settle`.
    static func checkOrder(_ actions: [Session.Action]) {
        let tail = actions.trace.suffix(3).map { $0.split(separator: " ").first ?? "" }
        #expect(tail == ["settle", "metadata", "close"])
        for word in ["settle", "metadata", "close", "open"] {
            #expect(actions.trace.filter { $0.hasPrefix(word) }.count == 1, "\(word)")
        }
    }

    /// Numbers without a gap; every final with words kept right before it is sent.
    static func checkKept(_ run: borrowing SessionRun) {
        let kept = run.actions.kept
        #expect(kept.map(\.sequence) == Array(kept.indices))
        #expect(kept == run.session.finals)
        var previous: FinalResult?
        for action in run.actions {
            if case .send(.result(let result)) = action, result.isFinal, !result.transcript.isEmpty {
                #expect(previous?.transcript == result.transcript)
                #expect(previous?.start == result.start && previous?.end == result.end)
                #expect(previous?.channel == result.channel && previous?.isSpeechFinal == result.isSpeechFinal)
            } else {
                #expect(previous == nil, "a kept final was not sent at once")
            }
            if case .keep(let final) = action { previous = final } else { previous = nil }
        }
    }

    /// The finals of a channel cover its time line without gap or overlap; interim results begin after them.
    static func checkTiling(_ chaos: borrowing RandomSession) {
        for channel in chaos.run.session.channels.indices {
            var covered = AudioTime.zero
            var acknowledgements = 0
            for result in chaos.run.actions.results where result.channel == channel {
                #expect(result.channels == chaos.run.session.channels.count)
                #expect(result.start == covered)
                #expect(result.end >= result.start)
                if result.isFinal { covered = result.end }
                if result.isFromFinalize { acknowledgements += 1 }
            }
            if chaos.engineGaveEverything {
                #expect(covered == chaos.run.session.duration)
                #expect(acknowledgements == chaos.finalizesAsked[channel])
            } else {
                #expect(acknowledgements <= chaos.finalizesAsked[channel])
                #expect(covered <= chaos.run.session.duration)
            }
        }
    }
}

/// One random session from the first audio to `close`.
struct RandomSession: ~Copyable {
    private(set) var run: SessionRun
    /// What the engine said in finals.
    private(set) var said: [String] = []
    private(set) var finalizesAsked: [Int]
    private(set) var engineGaveEverything = false
    private var random: SeededGenerator
    private var heard: [Int]
    private var flushesOwed: [Int]
    private let sampleRate: Int
    private let channels: Int

    init(seed: UInt64) {
        random = SeededGenerator(seed: seed)
        sampleRate = [8_000, 11_025, 16_000, 44_100].randomElement(using: &random) ?? 8_000
        channels = Int.random(in: 1...3, using: &random)
        let isMultichannel = Bool.random(using: &random)
        let endpointing = [nil, 10, 300].randomElement(using: &random) ?? nil
        let wantsInterim = Bool.random(using: &random)
        run = SessionRun {
            $0.isMultichannel = isMultichannel
            $0.wantsInterim = wantsInterim
            $0.wantsSpeechStarted = true
            $0.endpointing = endpointing.map(AudioTime.milliseconds)
            $0.utteranceEnd = .milliseconds(1_000)
        }
        let resultChannels = isMultichannel ? channels : 1
        finalizesAsked = [Int](repeating: 0, count: resultChannels)
        flushesOwed = finalizesAsked
        heard = finalizesAsked
    }

    mutating func play() {
        run.claimed()
        run { [sampleRate, channels] in $0.audioDescribed(sampleRate: sampleRate, channels: channels) }
        for _ in 0..<Int.random(in: 0...60, using: &random) where run.session.isLive { step() }
        if run.session.isLive { endLive() }
        for _ in 0..<5 { engineStep() }
        switch Int.random(in: 0..<4, using: &random) {
        case 0: run.engine(.failed("chaos"))
        case 1:
            run.wait(.seconds(60))
            run.tick()
        default:
            if case .finishing = run.session.phase { engineGaveEverything = true }
            run.engine(.ended)
        }
        engineStep()
        run.tick()
        run.settled()
    }

    private mutating func step() {
        switch Int.random(in: 0..<12, using: &random) {
        case 0..<4: sendAudio()
        case 4: finalize()
        case 5: run.engineTook(.backpressure)
        case 6: run.engine(.capacity)
        case 7: run.received([.keepAlive, .unknown].randomElement(using: &random) ?? .keepAlive)
        case 8:
            run.wait(.milliseconds(Int.random(in: 0...2_000, using: &random)))
            run.tick()
        default: engineStep()
        }
    }

    private mutating func sendAudio() {
        var signal = Signal(sampleRate: sampleRate, seed: random.next())
        if Bool.random(using: &random) {
            signal.speech(seconds: Double.random(in: 0...0.4, using: &random), decibels: -20)
        } else {
            signal.noise(seconds: Double.random(in: 0...0.4, using: &random), decibels: -70)
        }
        run.audio(signal.samples.flatMap { [Int16](repeating: $0, count: channels) })
    }

    private mutating func finalize() {
        let channel = Bool.random(using: &random) ? nil : finalizesAsked.indices.randomElement(using: &random)
        for case .flushEngine(let index) in run.received(.finalize(channel: channel)) {
            finalizesAsked[index] += 1
            flushesOwed[index] += 1
        }
    }

    private mutating func endLive() {
        let causes = [Ending.closeStream, .clientGone, .terminated, .nodeRestarting]
        run.end(causes.randomElement(using: &random) ?? .closeStream)
    }

    /// The engine listens on, up to what was sent, and says something about it.
    private mutating func engineStep() {
        let channel = heard.indices.randomElement(using: &random) ?? 0
        let sent = Int(run.session.duration.milliseconds)
        let start = heard[channel]
        let through = Int.random(in: min(start, sent)...sent, using: &random)
        let text = Bool.random(using: &random) ? "" : "w\(random.next() % 1_000_000)"
        switch Int.random(in: 0..<4, using: &random) {
        case 0: run.engine(.partial(.said(text, from: start, through: through, channel: channel)))
        case 1:
            let wasOver = run.session.isEnded || isSettling
            run.engine(.final(.said(text, from: start, through: through, channel: channel)))
            heard[channel] = through
            if !wasOver, !text.isEmpty { said.append(text) }
        case 2: run.engine(.progress(channel: channel, through: .milliseconds(through)))
        default:
            guard flushesOwed[channel] > 0 else { return }
            flushesOwed[channel] -= 1
            run.engine(.flushed(channel: channel))
        }
    }

    private var isSettling: Bool { if case .settling = run.session.phase { true } else { false } }
}
