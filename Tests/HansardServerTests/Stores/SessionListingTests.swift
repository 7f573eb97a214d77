import Foundation
import Hansard
import Testing

@testable import HansardServer

/// Which sessions a list shows, and how live and past ones become one list.
@Suite struct SessionListingTests {
    private func lease(_ number: Int, key: String = "key_1") -> Lease {
        var lease = Sample.lease(Sample.session(number), holder: Sample.epoch())
        lease.key = KeyID(key)
        return lease
    }

    private func row(_ number: Int) -> UsageRow { Sample.end(Sample.session(number), holder: Sample.epoch()).end.usage }

    private func isLive(_ one: ListedSession) -> Bool { if case .live = one { true } else { false } }

    private func page(
        _ live: [Int], _ past: [Int], before: Int? = nil, limit: Int = 100
    ) -> [ListedSession] {
        let newest = past.filter { $0 < before ?? .max }.sorted(by: >).prefix(limit)
        return ListedSession.page(
            live: live.map { lease($0) }, past: newest.map(row), before: before.map { Sample.session($0) }, limit: limit
        )
    }

    // MARK: Filters

    @Test(arguments: SessionFilter.Status.allCases.map(Optional.some) + [nil])
    func aStatusIsLiveOrPastOrBoth(_ status: SessionFilter.Status?) {
        var filter = SessionFilter()
        filter.status = status
        let isLive = status == .live || status == .active
        #expect(filter.hasPast == !isLive)
        #expect(filter.hasLive == (isLive || status == nil))
        #expect(!filter.isContradictory)
        filter.engine = "synthetic"
        #expect(!filter.hasLive, "which engine spoke is not known of live ones")
        #expect(filter.isContradictory == isLive)
        let state = status.flatMap { SessionState(rawValue: $0.rawValue) }
        #expect(status?.pastState == (state == .active ? nil : state))
    }

    @Test func everyStateThatIsStoredCanBeAskedFor() {
        let names = Set(SessionFilter.Status.allCases.map(\.rawValue))
        for state in SessionState.allCases where state != .detached { #expect(names.contains(state.rawValue)) }
    }

    @Test func liveOnesAreFilteredAsPastOnesAre() {
        var filter = SessionFilter()
        #expect(filter.includes(lease(5)))
        filter.key = KeyID("key_2")
        #expect(!filter.includes(lease(5)) && filter.includes(lease(5, key: "key_2")))
        filter.key = nil
        filter.startedFrom = moment(5)
        #expect(!filter.includes(lease(4)) && filter.includes(lease(5)) && filter.includes(lease(6)))
        filter.startedBefore = moment(6)
        #expect(filter.includes(lease(5)) && !filter.includes(lease(6)))
        filter.status = .completed
        #expect(!filter.includes(lease(5)))
    }

    /// The bound of a time is exact to the millisecond, however the time is written in binary.
    @Test func theFirstIdOfATimeIsTheLowest() {
        for milliseconds in [0, 1, 999, 1_000, 123_456] + Array(500_000..<501_000) {
            let time = moment(0).addingTimeInterval(Double(milliseconds) / 1_000)
            let bound = SessionID(firstFrom: time)
            let here = SessionID(startedAt: time, random: [UInt8](repeating: 0, count: 10))
            let before = SessionID(
                startedAt: time.addingTimeInterval(-0.001), random: [UInt8](repeating: 255, count: 10))
            #expect(bound <= here && before < bound, "\(milliseconds) ms")
            #expect(here < SessionID(firstFrom: time.addingTimeInterval(0.000_5)), "the next whole millisecond")
        }
        #expect(SessionID(firstFrom: Date(timeIntervalSince1970: -1)) <= SessionID(firstFrom: moment(0)))
    }

    @Test func idsAreOrderedAsTheDatabaseOrdersThem() {
        var generator = SeededGenerator(seed: 3)
        let ids =
            (0..<200).map { _ in
                Sample.session(1, startedAt: moment(.random(in: 0..<9, using: &generator)))
            } + (0..<200).map { _ in SessionID(UUID()) }
        #expect(ids.sorted() == ids.sorted { $0.description < $1.description })
    }

    // MARK: Pages

    @Test func liveAndPastAreOneListNewestFirst() {
        let shown = page([7, 2, 5], [6, 1, 4, 3])
        #expect(shown.map(\.session) == (1...7).reversed().map { Sample.session($0) })
        #expect(shown.map(isLive) == [true, false, true, false, false, true, false])
        #expect(
            page([7, 2, 5], [6, 1, 4, 3], before: 5, limit: 2).map(\.session) == [4, 3].map { Sample.session($0) })
        #expect(page([], []).isEmpty)
    }

    /// It was read as live, ended, and was read as past: it is there once.
    @Test func whoEndsBetweenTheTwoReadsIsThereOnce() {
        let shown = page([5, 3], [3, 2])
        #expect(shown.map(\.session) == [5, 3, 2].map { Sample.session($0) })
        #expect(shown.map(isLive) == [true, true, false])
    }

    /// Whatever begins or ends between pages, none that was there all the time is left out or shown twice.
    @Test func pagesLeadThroughEverythingWhileItChanges() {
        var generator = SeededGenerator(seed: 11)
        for _ in 0..<200 {
            let limit = Int.random(in: 1...7, using: &generator)
            var live = Set((0..<20).map { _ in Int.random(in: 1...40, using: &generator) })
            var past = Set(1...40).subtracting(live)
            var (seen, before): ([SessionID], Int?) = ([], nil)
            while true {
                let shown = page(Array(live), Array(past), before: before, limit: limit)
                seen += shown.map(\.session)
                guard shown.count == limit, let last = shown.last else { break }
                before = (1...60).first { Sample.session($0) == last.session }
                // One ends, another begins.
                if let ended = live.randomElement(using: &generator) { _ = (live.remove(ended), past.insert(ended)) }
                live.insert(.random(in: 41...60, using: &generator))
            }
            let old = seen.filter { $0 < Sample.session(41) }
            #expect(old == (1...40).reversed().map { Sample.session($0) })
        }
    }
}
