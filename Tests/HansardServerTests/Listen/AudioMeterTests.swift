import Hansard
import Testing

@testable import HansardServer

@Suite struct AudioMeterTests {
    @Test func whatIsAddedAddsUp() {
        var meter = AudioMeter()
        // 100.3 ms at a time: milliseconds are cut off, and none is lost.
        let steps = (1...1_000).map { meter.heard(AudioTime(frames: Int64($0) * 1_003, sampleRate: 10_000)) }
        #expect(steps.map(\.added).reduce(0, +) == 100_300)
        #expect(steps.last?.total == 100_300)
        #expect(steps.count { $0.isRenewal } == 1)
        #expect(steps.firstIndex { $0.isRenewal }.map { $0 + 1 } == 599)
    }

    @Test func aJumpIsOneRenewal() {
        var meter = AudioMeter()
        let step = meter.heard(.milliseconds(125_000))
        #expect(step == AudioMeter.Step(added: 125_000, total: 125_000, isRenewal: true))
        #expect(!meter.heard(.milliseconds(184_999)).isRenewal)
        #expect(meter.heard(.milliseconds(185_000)).isRenewal)
    }
}
