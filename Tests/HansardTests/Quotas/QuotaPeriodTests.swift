import Foundation
import Hansard
import Testing

@Suite struct QuotaPeriodTests {
    private let calendar = {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = .gmt
        return calendar
    }()

    private func date(_ text: String) throws -> Date { try Date.ISO8601FormatStyle().parse(text) }

    @Test func everyMonthIsTheCalendars() throws {
        // Foundation's calendar is Julian before 1582.
        for year in [1583, 1600, 1899, 1900, 1969, 1970, 1972, 2000, 2026, 2027, 2028, 2100, 2400, 9998] {
            for month in 1...12 {
                let start = try #require(calendar.date(from: DateComponents(year: year, month: month)))
                let period = QuotaPeriod(start)
                let monthText = month < 10 ? "0\(month)" : "\(month)"
                #expect(period.description == "\(year)-\(monthText)")
                #expect(period.start == start)
                let end = try #require(calendar.date(byAdding: .month, value: 1, to: start))
                #expect(period.end == end)
                #expect(QuotaPeriod(end.addingTimeInterval(-0.001)) == period && QuotaPeriod(end) == period.next)
                #expect(QuotaPeriod(period.description) == period)
                #expect(period < period.next)
            }
        }
    }

    @Test func theYearsAroundAreCut() throws {
        // The first day of the Julian year 1.
        #expect(QuotaPeriod(.distantPast).description == "0000-12")
        #expect(QuotaPeriod(.distantFuture).description == "4001-01")
        #expect(QuotaPeriod(Date(timeIntervalSince1970: -1e15)).description == "0000-01")
        #expect(QuotaPeriod(Date(timeIntervalSince1970: 1e15)).description == "9999-12")
        #expect(QuotaPeriod(Date(timeIntervalSince1970: .infinity)).description == "9999-12")
    }

    @Test(arguments: [
        "", "2026", "2026-1", "2026-00", "2026-13", "2026-1x", "+026-01", "-026-01", "2026/01", "2026-+1",
        "２026-1",
    ])
    func otherTextsAreNone(_ text: String) { #expect(QuotaPeriod(text) == nil) }
}

@Suite struct QuotaOwnerTests {
    @Test func theTextFormIsReadBack() throws {
        let tenant = TenantID(UUID())
        #expect(QuotaOwner.tenant(tenant).description == "T#\(tenant)")
        #expect(QuotaOwner.key(KeyID("key_1")).description == "K#key_1")
        for owner in [QuotaOwner.tenant(tenant), .key(KeyID("key_1"))] {
            #expect(QuotaOwner(owner.description) == owner)
        }
        for text in ["", "T#", "K#", "T#x", "X#1", "key_1"] { #expect(QuotaOwner(text) == nil) }
    }

    @Test func limitsOfQuotas() {
        let tenant = QuotaLimits(maxConcurrentSessions: 3, maxMinutesPerMonth: 2, policy: .soft, version: 4)
        let key = QuotaLimits(maxMinutesPerMonth: 1, version: 7)
        #expect(tenant.minutes == MinuteLimit(milliseconds: 120_000, policy: .soft, version: 4))
        #expect(tenant.minutes.ceiling == nil)
        #expect(key.minutes(under: tenant) == MinuteLimit(milliseconds: 60_000, policy: .soft, version: 11))
        #expect(QuotaLimits(maxMinutesPerMonth: .max).minutes.ceiling == .max)
        #expect(ClaimLimits(tenant: tenant, key: key).key == nil, "minutes are not counted by claims")
        let limited = QuotaLimits(maxNewSessionsPerMinute: 0, version: 2)
        let limits = ClaimLimits(tenant: tenant, key: limited)
        #expect(limits.tenant == AdmissionLimit(sessions: 3, version: 4))
        #expect(limits.key == AdmissionLimit(sessions: nil, newPerMinute: 0, version: 2))
    }
}
