import Foundation
import Testing

@testable import Hansard

/// What is read of a spool file with damage in it.
@Suite struct SpoolFileDamageTests {
    /// Of several lengths, as records are.
    static let payloads: [[UInt8]] = [3, 40, 1, 300, 17].map { length in
        Array("{\"a\":\"\(String(repeating: "x", count: length))\"}".utf8)
    }
    static let file = payloads.flatMap(SpoolFraming.frame)
    static let ranges: [Range<Int>] = payloads.reduce(into: []) { ranges, payload in
        let start = ranges.last?.upperBound ?? 0
        ranges.append(start..<start + SpoolFraming.headerBytes + payload.count)
    }

    /// Checks that all frames but those that overlap the changed bytes are read.
    private static func check(_ bytes: [UInt8], changed: Range<Int>, _ what: String) {
        let intact = ranges.indices.filter { !ranges[$0].overlaps(changed) }
        let reading = SpoolFraming.read(bytes)
        let hasMore = intact.last.map { $0 > (ranges.firstIndex { $0.overlaps(changed) } ?? 0) } ?? false
        let isRight =
            reading.payloads.map(Array.init) == intact.map { payloads[$0] } && reading.isDamaged == hasMore
            && reading.payloadsBehindDamage == intact.count { ranges[$0].lowerBound >= changed.upperBound && hasMore }
            && reading.intactBytes == intact.reduce(0) { $0 + ranges[$1].count }
            && reading.intactBytes + reading.tornBytes + reading.damaged.reduce(0) { $0 + $1.count } == bytes.count
        if !isRight { Issue.record("\(what): \(reading)") }
    }

    @Test func anyFlippedBitCostsOneRecord() {
        for bit in 0..<Self.file.count * 8 {
            var bytes = Self.file
            bytes[bit / 8] ^= 1 << (bit % 8)
            Self.check(bytes, changed: bit / 8..<bit / 8 + 1, "bit \(bit)")
        }
    }

    /// A length that leads to a later record, past an intact one.
    @Test func aLengthIsNotBelieved() {
        var bytes = Self.file
        let length = Self.ranges[2].upperBound - Self.ranges[1].lowerBound - SpoolFraming.headerBytes
        bytes[Self.ranges[1].lowerBound] = UInt8(length)
        Self.check(bytes, changed: Self.ranges[1].lowerBound..<Self.ranges[1].lowerBound + 1, "a length")
    }

    @Test func aFileThatIsCutIsTorn() {
        for length in 0...Self.file.count {
            let reading = SpoolFraming.read(Array(Self.file.prefix(length)))
            let whole = Self.ranges.prefix { $0.upperBound <= length }
            #expect(!reading.isDamaged && reading.payloads.count == whole.count)
            #expect(reading.tornBytes == length - (whole.last?.upperBound ?? 0))
        }
    }

    @Test(arguments: [1, 2, 8, 12, 60, 200, 400]) func stretchesOfZerosCostWhatTheyTouch(_ count: Int) {
        for start in 0..<Self.file.count {
            let end = min(start + count, Self.file.count)
            var bytes = Self.file
            for place in start..<end { bytes[place] = 0 }
            // Zeros that were there before change nothing.
            let changed = (start..<end).filter { Self.file[$0] != 0 }
            guard let first = changed.first, let last = changed.last else { continue }
            Self.check(bytes, changed: first..<last + 1, "\(count) zeros at \(start)")
        }
    }

    /// Bytes that were lost from the middle, or came into it.
    @Test func whatIsShiftedIsFound() {
        for place in 0..<Self.file.count {
            var (less, more) = (Self.file, Self.file)
            less.remove(at: place)
            more.insert(0x7B, at: place)
            let hit = Self.ranges.firstIndex { $0.contains(place) } ?? 0
            // Between two frames it is in neither.
            let isBetween = Self.ranges[hit].lowerBound == place
            let rest = Self.payloads.indices.filter { $0 != hit }.map { Self.payloads[$0] }
            #expect(SpoolFraming.read(less).payloads.map(Array.init) == rest)
            #expect(SpoolFraming.read(more).payloads.map(Array.init) == (isBetween ? Self.payloads : rest))
        }
    }

    @Test(arguments: 0..<20) func noBytesAreTooStrange(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<200 {
            var bytes = Self.file
            for _ in 0..<Int.random(in: 1...20, using: &random) {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.removeSubrange(place..<min(bytes.count - 1, place + 9))
                default: bytes.insert(contentsOf: Self.file.prefix(place % 40), at: place)
                }
            }
            let reading = SpoolFraming.read(bytes)
            let known = Set(Self.payloads)
            #expect(reading.payloads.allSatisfy { known.contains(Array($0)) })
            #expect(
                reading.intactBytes + reading.tornBytes + reading.damaged.reduce(0) { $0 + $1.count } == bytes.count)
        }
    }

    /// Every twelve bytes a header whose length fits, of what could be a record but for its checksum.
    @Test func whatLooksLikeHeadersTakesBoundedWork() {
        let count = 16 << 20
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        while bytes.count < count {
            // So that it ends at a brace.
            let length = max(4, (count - bytes.count) / 2 / 12 * 12 + 4)
            bytes += (0..<4).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) }
            bytes += [0xFF, 0xFF, 0xFF, 0xFF, 0x7B, 0x22, 0x22, 0x7D]
        }
        let reading = SpoolFraming.read(bytes)
        #expect(reading.payloads.isEmpty)
        #expect(reading.wastedBytes > SpoolFraming.patience * bytes.count, "it was tempted")
        #expect(reading.wastedBytes <= (SpoolFraming.patience + 1) * bytes.count)
        #expect(reading.isDamaged && reading.tornBytes == 0, "what was not looked at may be anything")
    }

    /// One session's records without its beginning: damage had that.
    @Test func usageOfAStrayIsNotLost() throws {
        let id = SpoolRecoveryTests.id
        let end = SpoolRecoveryTests.end
        var recovery = SpoolRecovery()
        recovery.add(.ended(id, end))
        #expect(recovery.strays == [id] && recovery.sessions.isEmpty)
        let last = try #require(recovery.usage.last)
        #expect(last.isFinal && last.total.audio == end.usage.audioMilliseconds && last.tenant == end.usage.tenant)
        // Its own last record says as much.
        var whole = SpoolRecovery()
        for record in recovery.usage { whole.add(.metered(record)) }
        whole.add(.ended(id, end))
        #expect(whole.usage == recovery.usage)
    }
}
