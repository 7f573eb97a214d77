import Foundation
import Hansard
import Testing

@testable import HansardServer

/// How much of one session's audio may go on.
@Suite struct AudioAllowanceTests {
    /// The audio of a test: its samples count up, so that what is lost, doubled or moved shows.
    private struct Heard {
        let audio: EngineAudio
        let allowance: AudioAllowance
        var frames: Int64 = 0
        private var given = 0
        private var expected = 0

        init(_ allowance: AudioAllowance, _ sampleRate: Int, _ channels: Int) {
            self.allowance = allowance
            audio = EngineAudio(sampleRate: sampleRate, channels: channels, isMultichannel: channels > 1)
        }

        /// So many frames arrive; those that may go on do.
        mutating func arrive(_ count: Int, goesOnAnyway: Bool = false) {
            var samples = (given..<given + count * audio.channels).map { Int16(truncatingIfNeeded: $0) }
            given += count * audio.channels
            allowance.cut(&samples, after: frames, of: audio, goesOnAnyway: goesOnAnyway)
            #expect(samples.count.isMultiple(of: audio.channels), "frames are whole")
            let inOrder = samples.indices.allSatisfy { samples[$0] == Int16(truncatingIfNeeded: expected + $0) }
            #expect(inOrder)
            expected += samples.count
            frames += Int64(samples.count / audio.channels)
            #expect(allowance.isHolding == (expected < given))
        }
    }

    private static let shapes = [
        (16_000, 1), (44_100, 1), (11_025, 1), (44_100, 2), (11_025, 3), (8_000, 8), (48_000, 2),
    ]

    @Test(arguments: shapes) func neverMoreGoesOnThanWasTaken(_ sampleRate: Int, _ channels: Int) async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits(maxMinutesPerMonth: 1))
        let life = try fixture.begin()
        let allowance = AudioAllowance(caller: fixture.caller, minutes: life.minutes)
        #expect(allowance.isLimited)
        life.minutes.join(Sample.session(1), allowance.owners) { _ in }
        var heard = Heard(allowance, sampleRate, channels)
        var random = UInt64(sampleRate)
        // 62 seconds, in pieces of up to a second and a half.
        var left = 62 * sampleRate
        while left > 0 {
            random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let count = min(left, Int(random >> 33) % (3 * sampleRate / 2))
            heard.arrive(count)
            left -= count
            let mark = fixture.mark(life, fixture.tenant) ?? 0
            #expect(heard.frames * 1_000 <= min(mark, fixture.granted(fixture.tenant)) * Int64(sampleRate))
        }
        try await eventually("the minute is over") {
            heard.arrive(0)
            return life.minutes.supply(allowance.owners) == .exhausted
        }
        #expect(heard.frames == 60 * Int64(sampleRate), "all of the minute, and not a frame more")
        #expect(allowance.isHolding)
        allowance.drop()
        #expect(!allowance.isHolding)
        life.minutes.leave(Sample.session(1), allowance.owners)
        await life.stop()
        #expect(fixture.granted(fixture.tenant) == 60_000)
    }

    /// Pieces far shorter than a millisecond are not charged one each.
    @Test func shortPiecesCostWhatLongOnesDo() async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits(maxMinutesPerMonth: 5))
        let life = try fixture.begin()
        let allowance = AudioAllowance(caller: fixture.caller, minutes: life.minutes)
        life.minutes.join(Sample.session(1), allowance.owners) { _ in }
        var heard = Heard(allowance, 44_100, 2)
        for _ in 0..<44_100 { heard.arrive(1) }
        try await eventually("a second goes on") {
            heard.arrive(0)
            return !allowance.isHolding
        }
        #expect(heard.frames == 44_100)
        life.minutes.leave(Sample.session(1), allowance.owners)
        await life.stop()
        #expect(fixture.granted(fixture.tenant) == 1_000)
    }

    @Test(arguments: shapes) func secondsOfASessionAreExactToTheFrame(_ sampleRate: Int, _ channels: Int) async throws {
        let fixture = try await MinutesFixture(
            tenant: QuotaLimits(maxSecondsPerSession: 7), key: QuotaLimits(maxSecondsPerSession: 3))
        let life = try fixture.begin()
        let allowance = AudioAllowance(caller: fixture.caller, minutes: life.minutes)
        #expect(allowance.seconds == 3)
        #expect(allowance.owners.isEmpty)
        var heard = Heard(allowance, sampleRate, channels)
        func isOver() -> Bool {
            allowance.isOver(AudioTime(frames: heard.frames, sampleRate: sampleRate))
        }
        heard.arrive(3 * sampleRate - 1)
        #expect(!allowance.isHolding && !isOver())
        heard.arrive(1)
        #expect(!allowance.isHolding && isOver(), "the last frame is within")
        heard.arrive(1)
        #expect(allowance.isHolding && isOver())
        heard.arrive(sampleRate)
        #expect(heard.frames == Int64(3 * sampleRate))
        await life.stop()
    }

    @Test func bothLimitsHold() async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits(maxMinutesPerMonth: 1, maxSecondsPerSession: 4))
        let life = try fixture.begin()
        let allowance = AudioAllowance(caller: fixture.caller, minutes: life.minutes)
        life.minutes.join(Sample.session(1), allowance.owners) { _ in }
        var heard = Heard(allowance, 11_025, 1)
        heard.arrive(10 * 11_025)
        try await eventually("four seconds go on") {
            heard.arrive(0)
            return heard.frames >= 4 * 11_025
        }
        heard.arrive(100)
        #expect(heard.frames == 4 * 11_025)
        life.minutes.leave(Sample.session(1), allowance.owners)
        await life.stop()
        #expect(fixture.granted(fixture.tenant) == 4_000, "what does not go on is not taken")
    }

    @Test func whereItGoesOnAnywayItIsGrantedAfterwards() async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits(maxMinutesPerMonth: 5))
        let life = try fixture.begin()
        life.store.faults.set { _, _ in .away }
        let allowance = AudioAllowance(caller: fixture.caller, minutes: life.minutes)
        life.minutes.join(Sample.session(1), allowance.owners) { _ in }
        var heard = Heard(allowance, 44_100, 1)
        heard.arrive(44_100)
        #expect(heard.frames == 0)
        heard.arrive(44_100, goesOnAnyway: true)
        #expect(heard.frames == 88_200)
        #expect(!allowance.isHolding)
        life.store.faults.clear()
        try await eventually("it is granted") { fixture.granted(fixture.tenant) >= 2_000 }
        life.minutes.leave(Sample.session(1), allowance.owners)
        await life.stop()
        #expect(fixture.granted(fixture.tenant) == 2_000)
    }

    @Test func withoutLimitsEverythingGoesOn() async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits())
        let life = try fixture.begin()
        let allowance = AudioAllowance(caller: fixture.caller, minutes: life.minutes)
        #expect(!allowance.isLimited)
        var heard = Heard(allowance, 16_000, 1)
        heard.arrive(1_000_000)
        #expect(heard.frames == 1_000_000)
        #expect(!allowance.isOver(.milliseconds(.max / 1_000_000)))
        await life.stop()
    }

    // MARK: Limits that change

    private static func caller(_ caller: Caller, _ change: (inout QuotaLimits, inout QuotaLimits) -> Void) -> Caller {
        var caller = caller
        change(&caller.tenant.quotas, &caller.key.quotas)
        return caller
    }

    @Test func minutesThatBecomeLimitedCountFromThenOn() async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits(maxMinutesPerMonth: 1))
        let life = try fixture.begin()
        let before = Self.caller(fixture.caller) { tenant, _ in tenant = QuotaLimits(version: 0) }
        let allowance = AudioAllowance(caller: before, minutes: life.minutes)
        var heard = Heard(allowance, 44_100, 1)
        heard.arrive(100 * 44_100 + 1)
        #expect(heard.frames == 100 * 44_100 + 1)
        let joining = allowance.limitsAre(of: fixture.caller, after: heard.frames, sampleRate: 44_100)
        #expect(joining == [fixture.tenant] && allowance.owners == joining)
        #expect(allowance.limitsAre(of: fixture.caller, after: heard.frames, sampleRate: 44_100).isEmpty, "once")
        life.minutes.join(Sample.session(1), joining) { _ in }
        heard.arrive(70 * 44_100)
        try await eventually("the minute is over") {
            heard.arrive(0)
            return life.minutes.supply(allowance.owners) == .exhausted
        }
        // A millisecond that had been begun goes on whole.
        #expect((160 * 44_100...160 * 44_100 + 45).contains(heard.frames), "a minute from the change on")
        life.minutes.leave(Sample.session(1), allowance.owners)
        await life.stop()
        #expect(fixture.granted(fixture.tenant) == 60_000)
    }

    @Test func aKeyThatBecomesLimitedJoinsItsTenant() async throws {
        let fixture = try await MinutesFixture(
            tenant: QuotaLimits(maxMinutesPerMonth: 5), key: QuotaLimits(maxMinutesPerMonth: 1, version: 2))
        let life = try fixture.begin()
        let before = Self.caller(fixture.caller) { _, key in key = QuotaLimits(version: 1) }
        let allowance = AudioAllowance(caller: before, minutes: life.minutes)
        life.minutes.join(Sample.session(1), allowance.owners) { _ in }
        var heard = Heard(allowance, 16_000, 1)
        heard.arrive(30 * 16_000)
        try await eventually("half a minute goes on") {
            heard.arrive(0)
            return !allowance.isHolding
        }
        let joining = allowance.limitsAre(of: fixture.caller, after: heard.frames, sampleRate: 16_000)
        #expect(joining == [fixture.key] && allowance.owners == [fixture.tenant, fixture.key])
        life.minutes.join(Sample.session(1), joining) { _ in }
        heard.arrive(70 * 16_000)
        try await eventually("the key's minute is over") {
            heard.arrive(0)
            return life.minutes.supply([fixture.key]) == .exhausted
        }
        #expect(heard.frames == 90 * 16_000)
        life.minutes.leave(Sample.session(1), allowance.owners)
        await life.stop()
        #expect(fixture.granted(fixture.tenant) == 90_000 && fixture.granted(fixture.key) == 60_000)
    }

    @Test func secondsOfASessionChangeWhileItRuns() async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits())
        let life = try fixture.begin()
        let allowance = AudioAllowance(caller: fixture.caller, minutes: life.minutes)
        var heard = Heard(allowance, 8_000, 1)
        heard.arrive(10 * 8_000)
        var caller = Self.caller(fixture.caller) { tenant, _ in
            tenant = QuotaLimits(maxSecondsPerSession: 12, version: 2)
        }
        #expect(allowance.limitsAre(of: caller, after: heard.frames, sampleRate: 8_000).isEmpty)
        heard.arrive(3 * 8_000)
        #expect(heard.frames == 12 * 8_000 && allowance.isHolding)
        caller.tenant.quotas = QuotaLimits(version: 3)
        _ = allowance.limitsAre(of: caller, after: heard.frames, sampleRate: 8_000)
        heard.arrive(0)
        #expect(heard.frames == 13 * 8_000 && !allowance.isHolding)
        await life.stop()
    }
}
