import Foundation
import Hansard
import Testing

@testable import HansardServer

/// The search for the newest, against names that a real store could hold.
@Suite struct S3TranscriptListingTests {
    private typealias Name = (name: String, size: Int)

    private func names(_ sessions: [SessionID], others: [String] = []) -> [Name] {
        let own = sessions.map { ("\(S3TranscriptStore.dayPath(of: $0.startedAt))/\($0).json", 7) }
        return (own + others.map { ($0, 1) }).sorted { $0.0 < $1.0 }
    }

    /// Runs a search to its end; nil if it gives up.
    private func search(
        _ names: [Name], before: SessionID?, limit: Int, now: Date, page: Int
    ) -> (found: [SessionID]?, lists: Int) {
        var listing = S3TranscriptListing(before: before, limit: limit, now: now)
        while true {
            switch listing.next() {
            case .done(let entries): return (entries.map(\.session), listing.lists)
            case .giveUp: return (nil, listing.lists)
            case .list(let startAfter):
                let start = startAfter.map { after in names.firstIndex { $0.name > after } ?? names.count } ?? 0
                let part = names[start...].prefix(page)
                listing.listed(Array(part), isWhole: part.endIndex == names.count)
            }
        }
    }

    private func sessions(_ milliseconds: [Int64], _ random: inout SeededGenerator) -> [SessionID] {
        milliseconds.map { time in
            SessionID(
                startedAt: Date(timeIntervalSince1970: Double(time) / 1_000),
                random: (0..<10).map { _ in UInt8.random(in: 0...255, using: &random) })
        }
    }

    /// Any spread over time, any clock, any page: always the newest, in order.
    @Test func itIsAlwaysTheNewest() {
        var random = SeededGenerator(seed: 21)
        let start: Int64 = 1_700_000_000_000
        for round in 0..<400 {
            let count = Int.random(in: 0...60, using: &random)
            let spreads: [Int64] = [1, 1_000, 3_600_000, 86_400_000, 90 * 86_400_000, 2_000 * 86_400_000]
            let spread = spreads.randomElement(using: &random) ?? 1
            let times = (0..<count).map { _ in start + Int64.random(in: 0..<spread, using: &random) }
            let all = sessions(times, &random)
            let others = [
                "README", "2023/11/notes.txt", "2023/11/14/x.json", "zzz", "2024/01/01/\(Sample.session(1)).json",
            ]
            let sorted = all.sorted { $0.description > $1.description }
            let page = Int.random(in: 8...40, using: &random)
            let limit = Int.random(in: 1...20, using: &random)
            let skews: [Int64] = [-86_400_000, 0, spread, 2 * spread, 400 * 86_400_000]
            let skew = skews.randomElement(using: &random) ?? 0
            let now = Date(timeIntervalSince1970: Double(start + skew) / 1_000)
            let before = Bool.random(using: &random) ? sorted.randomElement(using: &random) : nil
            let expected = sorted.filter { session in before.map { session.description < $0.description } ?? true }
            let (found, lists) = search(
                names(all, others: Bool.random(using: &random) ? others : []), before: before, limit: limit, now: now,
                page: page)
            #expect(found == Array(expected.prefix(limit)), "round \(round), \(lists) lists")
        }
    }

    @Test func aSmallTenantIsOneList() {
        var random = SeededGenerator(seed: 5)
        let all = sessions((0..<1_000).map { 1_700_000_000_000 + Int64($0) * 3_600_000 }, &random)
        let newest = all.sorted { $0.description > $1.description }
        let now = Date(timeIntervalSince1970: 1_710_000_000)
        #expect(search(names(all), before: nil, limit: 100, now: now, page: 1_000).lists == 1)
        #expect(search(names(all), before: newest[500], limit: 20, now: now, page: 1_000).lists == 1)
        #expect(search([], before: nil, limit: 20, now: now, page: 1_000).lists == 1)
    }

    /// 300 times what one list holds, over a year: evenly, and nearly all on one busy day.
    @Test(arguments: [false, true]) func aLargeTenantIsFewLists(_ isUneven: Bool) {
        var random = SeededGenerator(seed: 6)
        let year: Int64 = 365 * 86_400_000
        let start: Int64 = 1_700_000_000_000
        let times = (0..<15_000).map { number in
            isUneven && number % 50 != 0
                ? start + 200 * 86_400_000 + Int64.random(in: 0..<86_400_000, using: &random)
                : start + Int64.random(in: 0..<year, using: &random)
        }
        let all = sessions(times, &random).sorted { $0.description > $1.description }
        let names = names(all)
        let now = Date(timeIntervalSince1970: Double(start + year) / 1_000)
        var most = 0
        for position in stride(from: -1, to: all.count - 1, by: 997) {
            let before = position < 0 ? nil : all[position]
            let (found, lists) = search(names, before: before, limit: 20, now: now, page: 50)
            #expect(found == Array(all[(position + 1)...].prefix(20)))
            most = max(most, lists)
        }
        #expect(most <= 20, "\(most) lists")
    }

    /// More in one millisecond than a list holds: then it goes on name by name.
    @Test func aBurstIsSearchedThrough() {
        var random = SeededGenerator(seed: 8)
        let all = sessions([Int64](repeating: 1_700_000_000_000, count: 95), &random)
        let newest = all.sorted { $0.description > $1.description }
        let now = Date(timeIntervalSince1970: 1_700_000_001)
        #expect(search(names(all), before: nil, limit: 20, now: now, page: 10).found == Array(newest.prefix(20)))
    }

    @Test func aBucketFullOfOtherThingsIsGivenUp() {
        let others = (0..<2_000).map { "x\($0)" }
        let (found, lists) = search(
            names([], others: others), before: nil, limit: 20, now: Date(timeIntervalSince1970: 1_700_000_000), page: 10
        )
        #expect(found == nil)
        #expect(lists == S3TranscriptListing.maximumLists)
    }

    /// A session copied to another day, or named in another way, is not where `get` looks.
    @Test func onlyNamesOfOursCount() {
        let session = Sample.session(1)
        let day = S3TranscriptStore.dayPath(of: session.startedAt)
        let wrong = [
            "2001/01/01/\(session).json", "\(day)/\(session).JSON", "\(day)/\(session)", "\(session).json",
            "\(day)/x/\(session).json", "\(day)/\(session.description.uppercased()).json", "\(day)/.json", "", ".json",
        ]
        let now = session.startedAt
        #expect(search(names([], others: wrong), before: nil, limit: 20, now: now, page: 100).found == [])
        #expect(search(names([session], others: wrong), before: nil, limit: 20, now: now, page: 100).found == [session])
    }

    /// Until the year 2100; later, dates are too coarse for ids too.
    @Test func aPlaceIsJustBeforeItsMillisecond() {
        var random = SeededGenerator(seed: 9)
        for _ in 0..<500 {
            let time = Int64.random(in: 0...4_102_444_800_000, using: &random)
            let place = S3TranscriptListing.place(of: time)
            let around = names(sessions([time - 1, time, time + 1].filter { $0 >= 0 }, &random))
            #expect(around.filter { $0.name > place }.count == 2, "\(place) \(around)")
        }
    }
}
