import Foundation
import Hansard
import Testing

@testable import HansardServer

/// Moments as other programs write them (RFC 3339).
@Suite struct TimestampTests {
    @Test(arguments: [
        ("1970-01-01T00:00:00Z", 0), ("2026-11-22T10:00:00Z", 1_795_341_600), ("2026-11-22t10:00:00z", 1_795_341_600),
        ("2026-11-22T10:00:00.250Z", 1_795_341_600.25), ("2026-11-22T12:30:00+02:30", 1_795_341_600),
        ("2026-11-21T14:56:00-19:04", 1_795_341_600), ("2024-02-29T00:00:00Z", 1_709_164_800),
        ("2000-02-29T00:00:00Z", 951_782_400), ("1969-12-31T23:59:59Z", -1), ("2016-12-31T23:59:60Z", 1_483_228_800),
        ("1900-01-01T00:00:00Z", -2_208_988_800), ("9999-12-31T23:59:59Z", 253_402_300_799),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799.999), ("1900-03-01T00:00:00Z", -2_203_891_200),
        ("1900-01-01T23:59:00+23:59", -2_208_988_800), ("9999-12-31T00:00:59-23:59", 253_402_300_799),
    ]) func timesAreRead(_ text: String, _ seconds: Double) {
        #expect(Timestamp.read(text)?.timeIntervalSince1970 == seconds, "\(text)")
    }

    /// What is read is written the same, also in the first year and the last.
    @Test(arguments: ["1900-01-01T00:00:00.000Z", "1900-02-28T23:59:59.999Z", "9999-12-31T23:59:59.999Z"])
    func theFirstAndTheLastYearComeBack(_ text: String) throws {
        #expect(Timestamp.format(try #require(Timestamp.read(text))) == text)
    }

    /// Before 1583 a time would come back by the Julian calendar, days away from what was sent.
    @Test(arguments: [
        "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1582-10-15T00:00:00Z", "1899-12-31T23:59:59.999Z",
        "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "-2026-01-01T00:00:00Z", "+2026-01-01T00:00:00Z",
        "1900-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "9999-12-31T23:59:60Z",
    ]) func otherYearsAreRefusedByName(_ text: String) throws {
        let field = JSONField(value: .string(text), pointer: "/expires_at")
        let error = try #require(throws: HansardError.self) { try field.time() }
        #expect(error.field == "/expires_at")
        #expect(error.message.hasPrefix("expires_at must be a time"))
        #expect(error.message.hasSuffix("in the years 1900 to 9999"))
    }

    /// Each day of four hundred years follows the one before, and Foundation writes what was read.
    @Test func everyDayIsInItsPlace() throws {
        var expected = try #require(Timestamp.read("1900-01-01T00:00:00Z"))
        for year in stride(from: 1900, to: 2300, by: 1) {
            for month in 1...12 {
                for day in 1...31 {
                    let text = String(format: "%04d-%02d-%02dT00:00:00Z", year, month, day)
                    guard let date = Timestamp.read(text) else { continue }
                    #expect(date == expected, "\(text)")
                    if day == 1 { #expect(Timestamp.format(date) == text.replacing("Z", with: ".000Z")) }
                    expected += 86_400
                }
            }
        }
    }

    @Test(arguments: [
        "", "2026", "2026-11-22", "2026-11-22T10:00:00", "2026-11-22 10:00:00Z", "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z", "2026-11-31T00:00:00Z", "2025-02-29T00:00:00Z", "1900-02-29T00:00:00Z",
        "2026-11-22T24:00:00Z", "2026-11-22T10:60:00Z", "2026-11-22T10:00:61Z", "2026-11-22T10:00:00.Z",
        "2026-11-22T10:00:00+24:00", "2026-11-22T10:00:00+0100", "2026-11-22T10:00:00Zx", "+026-11-22T10:00:00Z",
        "2026-11-22T10:00:00Z\0", "２026-11-22T10:00:00Z",
        "2026-11-22T10:00:00." + String(repeating: "0", count: 60) + "Z",
    ]) func whatIsNoTimeIsRefused(_ text: String) {
        #expect(Timestamp.read(text) == nil, "\(text)")
    }
}
