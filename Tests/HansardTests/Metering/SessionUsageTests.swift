import Foundation
import Hansard
import Testing

/// What a session used, from its parts.
@Suite struct SessionUsageTests {
    private func segment(
        _ session: Int, _ engine: String, period: String = "2026-01", audio: Int64 = 1, channels: Int = 1,
        isFinal: Bool = true, fits: Bool = true
    ) throws -> UsageSegment {
        var group = UsageGroup()
        group[.engine] = engine
        let id = SessionID(
            startedAt: Date(timeIntervalSince1970: Double(session)), random: [UInt8](repeating: 0, count: 10))
        return UsageSegment(
            session: id, sessionStartedAt: id.startedAt, period: try #require(QuotaPeriod(period)), group: group,
            tags: ["a"], channels: channels,
            amounts: UsageCounters(audio: audio, connected: 2, engine: 3),
            isFinal: isFinal, fits: fits)
    }

    @Test func partsAreAddedUpBySession() throws {
        let sessions = SessionUsage.sessions(of: [
            try segment(2, "first", audio: 10), try segment(2, "second", period: "2026-02", audio: 5, channels: 2),
            try segment(2, "second", period: "2026-02", audio: 1, isFinal: false), try segment(1, "only"),
        ])
        #expect(sessions.count == 2)
        let two = try #require(sessions.first)
        #expect(two.first.group[.engine] == "first" && two.segments == 3 && two.channels == 2)
        #expect(two.amounts == UsageCounters(audio: 16, connected: 6, engine: 9))
        #expect(two.periods.map(\.description) == ["2026-01", "2026-02"])
        #expect(!two.isFinal, "its last part goes on")
        #expect(sessions[1].isFinal && sessions[1].segments == 1)
    }

    @Test func onlyWhatFitsCounts() throws {
        let sessions = SessionUsage.sessions(of: [
            try segment(2, "first", audio: 10, channels: 4, isFinal: true, fits: false),
            try segment(2, "second", period: "2026-02", audio: 5), try segment(1, "none", fits: false),
            try segment(0, "a", audio: 7), try segment(0, "b", isFinal: false, fits: false),
        ])
        #expect(sessions.map(\.segments) == [1, 1])
        #expect(sessions[0].first.group[.engine] == "second" && sessions[0].amounts.audio == 5)
        #expect(sessions[0].channels == 1 && sessions[0].periods.map(\.description) == ["2026-02"])
        #expect(!sessions[1].isFinal, "whether or not its last part fits")
    }

    @Test func groupsAreInTheOrderOfTheirDimensions() {
        func group(_ key: String?, _ tag: String?) -> UsageGroup {
            var group = UsageGroup()
            (group[.key], group[.tag]) = (key, tag)
            return group
        }
        let sorted = [
            group("a", "a"), group("a", "b"), group("a", nil), group("b", "a"), group(nil, "a"), group(nil, nil),
        ]
        #expect(sorted.reversed().sorted() == sorted)
        for one in sorted { #expect(!(one < one)) }
    }
}
