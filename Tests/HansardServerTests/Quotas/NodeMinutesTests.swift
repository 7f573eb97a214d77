import EventLoops
import Foundation
import Hansard
import Logging
import Testing

@testable import HansardServer

/// What a node gives its sessions, what it says of that on its disk, and what its next life makes of it.
@Suite struct NodeMinutesTests {
    private static let session = Sample.session(1)

    @Test func nothingIsGivenThatTheDiskDoesNotKnow() async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits(maxMinutesPerMonth: 2))
        let life = try fixture.begin()
        #expect(fixture.marks.read() == [:], "from the start on a missing file means something")
        let told = Locked(0)
        life.minutes.join(Self.session, [fixture.tenant]) { _ in told.withLock { $0 += 1 } }
        var used: Int64 = 0
        try await eventually("everything is given") {
            let taken = life.minutes.take(700, [fixture.tenant])
            used += taken
            if taken > 0 {
                #expect(used <= fixture.mark(life, fixture.tenant) ?? 0)
                #expect(used <= fixture.granted(fixture.tenant))
            }
            return life.minutes.supply([fixture.tenant]) == .exhausted
        }
        #expect(used == 120_000)
        #expect(fixture.granted(fixture.tenant) == 120_000)
        #expect(told.withLock { $0 } > 0)
        try await eventually("who comes is refused") { life.minutes.isExhausted(for: fixture.caller) }
        await life.stop()
    }

    @Test func aDiskThatFailsGivesNothing() async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits(maxMinutesPerMonth: 2))
        let life = try fixture.begin()
        let beside = fixture.folder.url.appending(path: "minutes.new")
        try FileManager.default.createDirectory(at: beside, withIntermediateDirectories: false)
        let told = Locked(0)
        life.minutes.join(Self.session, [fixture.tenant]) { _ in told.withLock { $0 += 1 } }
        try await eventually("whoever waits learns since when") {
            #expect(life.minutes.take(1, [fixture.tenant]) == 0)
            if case .unavailable = life.minutes.supply([fixture.tenant]) { return true }
            return false
        }
        #expect(fixture.granted(fixture.tenant) > 0, "it is not for want of minutes")
        let before = told.withLock { $0 }
        try await eventually("it is told again") {
            #expect(life.minutes.take(1, [fixture.tenant]) == 0)
            return told.withLock { $0 } > before + 1
        }
        #expect(life.log.count(of: "cannot be written down", atLeast: .error) == 1)
        #expect(fixture.marks.read() == [:])
        try FileManager.default.removeItem(at: beside)
        try await life.take(1_000, [fixture.tenant])
        #expect(life.minutes.supply([fixture.tenant]) == .available)
        await life.stop()
    }

    @Test func twoOwnersGiveTheSame() async throws {
        let fixture = try await MinutesFixture(
            tenant: QuotaLimits(maxMinutesPerMonth: 5), key: QuotaLimits(maxMinutesPerMonth: 1))
        let life = try fixture.begin()
        let owners = life.minutes.owners(of: fixture.caller)
        #expect(owners == [fixture.tenant, fixture.key])
        life.minutes.join(Self.session, owners) { _ in }
        try await life.take(59_000, owners)
        var rest: Int64 = 0
        try await eventually("the key's minute is over") {
            rest += life.minutes.take(5_000, owners)
            return life.minutes.supply(owners) == .exhausted
        }
        #expect(rest == 1_000)
        try await eventually("the tenant has more") { life.minutes.supply([fixture.tenant]) == .available }
        try await eventually("who comes is refused") { life.minutes.isExhausted(for: fixture.caller) }
        life.minutes.leave(Self.session, owners)
        await life.stop()
        #expect(fixture.granted(fixture.tenant) == 60_000)
        #expect(fixture.granted(fixture.key) == 60_000)
    }

    @Test func whatIsNotLimitedHasNoOwners() async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits(maxConcurrentSessions: 1))
        let life = try fixture.begin()
        #expect(life.minutes.owners(of: fixture.caller).isEmpty)
        #expect(!life.minutes.isExhausted(for: fixture.caller))
        await life.stop()
        #expect(life.store.faults.calls.isEmpty)
    }

    // MARK: Lives

    @Test func whatAnEarlierLifeHadLeftIsGivenBack() async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits(maxMinutesPerMonth: 10))
        let first = try fixture.begin()
        first.minutes.join(Self.session, [fixture.tenant]) { _ in }
        try await first.take(12_000, [fixture.tenant])
        try await first.kill()
        let held = fixture.granted(fixture.tenant)
        let mark = try #require(fixture.mark(first, fixture.tenant))
        #expect(mark >= 12_000)
        let second = try fixture.begin()
        try await eventually("the grant of the first life is retired") {
            fixture.ledger.withLock { $0.grants(heldBy: first.holder) }.isEmpty
        }
        #expect(fixture.granted(fixture.tenant) == min(mark, held))
        try await eventually("it is said") { second.log.count(of: "given back", atLeast: .notice) == 1 }
        // Once only, however many lives there are.
        second.minutes.join(Self.session, [fixture.tenant]) { _ in }
        try await second.take(1_000, [fixture.tenant])
        await second.stop()
        #expect(fixture.granted(fixture.tenant) == min(mark, held) + 1_000)
        let third = try fixture.begin()
        try await eventually("the second life is settled too") {
            fixture.ledger.withLock { $0.grants(heldBy: second.holder) }.isEmpty
        }
        await third.stop()
        #expect(fixture.granted(fixture.tenant) == min(mark, held) + 1_000)
    }

    @Test func aLifeThatDiesBeforeItHasSettledLeavesThatToTheNext() async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits(maxMinutesPerMonth: 10))
        let first = try fixture.begin()
        first.minutes.join(Self.session, [fixture.tenant]) { _ in }
        try await first.take(2_000, [fixture.tenant])
        try await first.kill()
        let held = fixture.granted(fixture.tenant)
        let mark = try #require(fixture.mark(first, fixture.tenant))
        let second = try fixture.begin()
        try await second.kill()
        if fixture.ledger.withLock({ $0.grants(heldBy: first.holder) }).isEmpty {
            #expect(fixture.granted(fixture.tenant) == min(mark, held))
        } else {
            #expect(fixture.mark(first, fixture.tenant) == mark)
        }
        let third = try fixture.begin()
        try await eventually("the first life is settled") {
            fixture.ledger.withLock { $0.grants(heldBy: first.holder) }.isEmpty
        }
        await third.stop()
        #expect(fixture.granted(fixture.tenant) == min(mark, held))
    }

    @Test func aLifeThatDiedBeforeItCouldSpendAnythingGivesAllBack() async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits(maxMinutesPerMonth: 10))
        let first = try fixture.begin()
        let beside = fixture.folder.url.appending(path: "minutes.new")
        try FileManager.default.createDirectory(at: beside, withIntermediateDirectories: false)
        first.minutes.join(Self.session, [fixture.tenant]) { _ in }
        try await eventually("it has a grant") { fixture.granted(fixture.tenant) > 0 }
        try await first.kill()
        try FileManager.default.removeItem(at: beside)
        let second = try fixture.begin(after: first.holder)
        try await eventually("it is given back") { fixture.granted(fixture.tenant) == 0 }
        await second.stop()
    }

    @Test func withoutTheFileEverythingStaysCharged() async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits(maxMinutesPerMonth: 10))
        let first = try fixture.begin()
        first.minutes.join(Self.session, [fixture.tenant]) { _ in }
        try await first.take(2_000, [fixture.tenant])
        try await first.kill()
        let held = fixture.granted(fixture.tenant)
        try FileManager.default.removeItem(at: fixture.folder.url.appending(path: "minutes"))
        let second = try fixture.begin(after: first.holder)
        second.minutes.join(Self.session, [fixture.tenant]) { _ in }
        try await second.take(1_000, [fixture.tenant])
        await second.stop()
        #expect(fixture.granted(fixture.tenant) == held + 1_000)
        #expect(!second.store.faults.calls.contains("retire"))
    }

    // MARK: Months

    @Test func aNewMonthBeginsAnew() async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits(maxMinutesPerMonth: 1))
        let life = try fixture.begin()
        let month = fixture.period
        life.minutes.join(Self.session, [fixture.tenant]) { _ in }
        try await life.take(60_000, [fixture.tenant])
        try await eventually("the month is used up") {
            life.minutes.take(1, [fixture.tenant]) == 0 && life.minutes.supply([fixture.tenant]) == .exhausted
        }
        fixture.clock.withLock { $0 = month.end }
        #expect(fixture.period == month.next)
        try await life.take(25_000, [fixture.tenant])
        #expect(fixture.granted(fixture.tenant, month) == 60_000)
        #expect(fixture.granted(fixture.tenant) >= 25_000)
        await life.stop()
        #expect(fixture.granted(fixture.tenant) == 25_000)
    }

    /// What a month had used stays so, though the node that used it dies in the month after.
    @Test func aMonthThatIsOverKeepsWhatItUsed() async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits(maxMinutesPerMonth: 10))
        let first = try fixture.begin()
        let before = fixture.period
        // So that it must remember.
        first.store.faults.set { name, _ in name == "retire" ? .away : .works }
        first.minutes.join(Self.session, [fixture.tenant]) { _ in }
        try await first.take(7_000, [fixture.tenant])
        fixture.clock.withLock { $0 = before.end }
        try await eventually("the rest of the month is given back") { fixture.granted(fixture.tenant, before) == 7_000 }
        // Enough that the marks are written again.
        try await first.take(20_000, [fixture.tenant])
        try await first.kill()
        let second = try fixture.begin()
        try await eventually("the first life is settled") {
            fixture.ledger.withLock { $0.grants(heldBy: first.holder) }.isEmpty
        }
        await second.stop()
        #expect(fixture.granted(fixture.tenant, before) == 7_000)
        #expect(fixture.granted(fixture.tenant) >= 20_000)
    }

    @Test func nothingStaysOfMonthsThatAreOver() async throws {
        let fixture = try await MinutesFixture(
            tenant: QuotaLimits(maxMinutesPerMonth: 10), key: QuotaLimits(maxMinutesPerMonth: 10))
        let life = try fixture.begin()
        var months = [fixture.period]
        life.minutes.join(Self.session, [fixture.tenant]) { _ in }
        for _ in 0..<3 {
            // A key whose sessions come and go, and a tenant whose session stays.
            life.minutes.join(Sample.session(2), [fixture.key]) { _ in }
            try await life.take(2_000, [fixture.tenant, fixture.key])
            life.minutes.leave(Sample.session(2), [fixture.key])
            let over = fixture.period
            fixture.clock.withLock { $0 = over.end }
            try await eventually("the month has turned") {
                life.minutes.state.withLock { $0.holdings.count == 1 && $0.past.isEmpty && $0.closed.isEmpty }
            }
            months.append(fixture.period)
        }
        try await eventually("the months that are over are settled") {
            fixture.ledger.withLock { $0.grants(heldBy: life.holder) }.allSatisfy { $0.period == months.last }
        }
        for month in months.dropLast() {
            #expect(fixture.granted(fixture.tenant, month) == 2_000 && fixture.granted(fixture.key, month) == 2_000)
        }
        try await life.take(1_000, [fixture.tenant])
        await life.stop()
        #expect(fixture.granted(fixture.tenant) == 1_000)
    }

    /// Clocks are set back a little now and then.
    @Test func aMonthDoesNotComeBack() async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits(maxMinutesPerMonth: 10))
        let life = try fixture.begin()
        let month = fixture.period
        life.minutes.join(Self.session, [fixture.tenant]) { _ in }
        fixture.clock.withLock { $0 = month.end }
        try await eventually("the month has turned") {
            life.minutes.state.withLock { $0.holdings.values.first?.grant.period == month.next }
        }
        fixture.clock.withLock { $0 = month.end - 1 }
        try await Task.sleep(for: MinuteGrant.lookInterval * 2)
        #expect(life.minutes.state.withLock { $0.holdings.values.first?.grant.period } == month.next)
        try await life.take(4_000, [fixture.tenant])
        #expect(fixture.granted(fixture.tenant, month.next) >= 4_000)
        #expect(fixture.granted(fixture.tenant, month) == 0)
        #expect(life.minutes.supply([fixture.tenant]) != .retired)
        await life.stop()
    }

    // MARK: The store

    @Test func whileTheStoreIsAwayNothingNewIsGivenAndWhatWasChargedIsGrantedLater() async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits(maxMinutesPerMonth: 10))
        let life = try fixture.begin()
        life.store.faults.set { _, _ in .away }
        life.minutes.join(Self.session, [fixture.tenant]) { _ in }
        try await eventually("it is known to be away") {
            #expect(life.minutes.take(1_000, [fixture.tenant]) == 0)
            if case .unavailable = life.minutes.supply([fixture.tenant]) { return true }
            return false
        }
        #expect(!life.minutes.isExhausted(for: fixture.caller))
        life.minutes.charge(3_000, [fixture.tenant])
        life.store.faults.clear()
        try await eventually("it is granted after the fact") { fixture.granted(fixture.tenant) >= 3_000 }
        try await life.take(500, [fixture.tenant])
        await life.stop()
        #expect(fixture.granted(fixture.tenant) == 3_500)
    }

    @Test func lostAnswersChargeNothingTwice() async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits(maxMinutesPerMonth: 2))
        let life = try fixture.begin()
        life.store.faults.set { _, number in number.isMultiple(of: 2) ? .answerLost : .works }
        life.minutes.join(Self.session, [fixture.tenant]) { _ in }
        try await life.take(50_000, [fixture.tenant])
        life.minutes.leave(Self.session, [fixture.tenant])
        await life.stop()
        #expect(fixture.granted(fixture.tenant) == 50_000)
    }

    @Test func aRaiseIsAskedForWithoutWaiting() async throws {
        let fixture = try await MinutesFixture(tenant: QuotaLimits(maxMinutesPerMonth: 1, version: 1))
        let life = try fixture.begin()
        life.minutes.join(Self.session, [fixture.tenant]) { _ in }
        try await life.take(60_000, [fixture.tenant])
        try await eventually("nothing is left") {
            life.minutes.take(1, [fixture.tenant]) == 0 && life.minutes.supply([fixture.tenant]) == .exhausted
        }
        var tenant = fixture.caller.tenant
        tenant.quotas = QuotaLimits(maxMinutesPerMonth: 2, version: 2)
        fixture.tenants.set(tenants: [tenant], keys: [Sample.apiKey(1)])
        try await fixture.access.refresh()
        try await life.take(60_000, [fixture.tenant])
        await life.stop()
        #expect(fixture.granted(fixture.tenant) == 120_000)
    }
}
