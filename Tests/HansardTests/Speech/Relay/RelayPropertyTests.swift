import Testing

@testable import Hansard

/// Whatever a service does, and whenever: every word once, in order, at its time, and each request answered.
@Suite struct RelayPropertyTests {
    @Test(arguments: 0..<200) func everyWordOnce(_ seed: Int) {
        var random = SeededGenerator(seed: UInt64(seed) &+ 77)
        let speech = IndexedAudio.speech(
            blocks: .random(in: 50...600, using: &random), spoken: .random(in: 3...80, using: &random),
            quiet: .random(in: 4...20, using: &random))
        var simulation = RelaySimulation()
        var asked = 0
        var position = 0
        var calmUntil = Duration.zero
        while position < speech.count {
            let frames = [20, 50, 100, 100, 100, 250, 500].randomElement(using: &random) ?? 100
            let next = min(position + frames, speech.count)
            _ = simulation.send(Array(speech[position..<next]))
            let pace = [1, 1, 1, 1, 2, 0].randomElement(using: &random) ?? 1
            simulation.pass(.milliseconds((next - position) * pace))
            position = next
            // A request or a pause in the middle of a word cuts it in two, by the client's own wish.
            if position % IndexedAudio.blockFrames == 0 {
                if Int.random(in: 0..<60, using: &random) == 0 {
                    simulation.flush()
                    asked += 1
                }
                if Int.random(in: 0..<80, using: &random) == 0 {
                    simulation.pass(.seconds(.random(in: 1...30, using: &random)))
                }
            }
            guard simulation.elapsed > calmUntil, Int.random(in: 0..<50, using: &random) == 0 else { continue }
            simulation.fault(Self.fault(&random))
            calmUntil = simulation.elapsed + .seconds(.random(in: 0...50, using: &random))
        }
        simulation.finish()
        if Bool.random(using: &random) {
            simulation.pass(.milliseconds(.random(in: 0...3_000, using: &random)))
            simulation.fault(.ends(.failed("at the end")))
        }
        simulation.passUntilOver(within: .seconds(1_000))
        simulation.expectAllWords(of: speech, "seed \(seed)")
        #expect(simulation.flushes == asked, "seed \(seed)")
        #expect(simulation.metered.map { $0.milliseconds } == Int64(simulation.billed), "seed \(seed)")
    }

    private static func fault(_ random: inout SeededGenerator) -> RelaySimulation.Fault {
        switch Int.random(in: 0..<6, using: &random) {
        case 0: .ends(.clean)
        case 1: .ends(.limited("too many"))
        case 2: .isAway(.seconds(.random(in: 1...30, using: &random)))
        default: .ends(.failed("lost"))
        }
    }
}
