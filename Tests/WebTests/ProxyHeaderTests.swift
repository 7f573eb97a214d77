import Foundation
import Testing

@testable import Web

@Suite struct ProxyHeaderTests {
    static let signature: [UInt8] = Array("\r\n\r\n\0\r\nQUIT\n".utf8)

    static func header(
        command: UInt8 = 0x21,
        family: UInt8 = 0x11,
        rest: [UInt8] = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 1, 0xbb],
        length: Int? = nil
    ) -> [UInt8] {
        let length = length ?? rest.count
        return signature + [command, family, UInt8(length >> 8), UInt8(length & 255)] + rest
    }

    static let four = PeerAddress(address: IPAddress("192.0.2.7")!, port: 12_345)

    @Test func readsIPv4AndIPv6() {
        let bytes = ProxyHeaderTests.header()
        #expect(ProxyHeader.parse(bytes) == .complete(ProxyHeader(source: ProxyHeaderTests.four), length: 28))
        let source = IPAddress("2001:db8::1")!
        let six = ProxyHeaderTests.header(
            family: 0x21,
            rest: source.bytes + IPAddress("::1")!.bytes + [0, 80, 1, 2] + [9, 9, 9]
        )
        #expect(
            ProxyHeader.parse(six)
                == .complete(ProxyHeader(source: PeerAddress(address: source, port: 80)), length: 16 + 39)
        )
        let mapped = ProxyHeaderTests.header(
            family: 0x21,
            rest: [UInt8](repeating: 0, count: 10) + [255, 255, 192, 0, 2, 7]
                + [UInt8](repeating: 0, count: 16) + [0x30, 0x39, 0, 0]
        )
        #expect(ProxyHeader.parse(mapped) == .complete(ProxyHeader(source: ProxyHeaderTests.four), length: 52))
    }

    @Test func whatFollowsTheHeaderIsNotTouched() {
        let bytes = ProxyHeaderTests.header() + Array("GET / HTTP/1.1".utf8)
        #expect(ProxyHeader.parse(bytes) == .complete(ProxyHeader(source: ProxyHeaderTests.four), length: 28))
    }

    @Test func everyPrefixIsIncomplete() {
        let bytes = ProxyHeaderTests.header(rest: [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 1, 0xbb, 4, 0, 1, 7])
        for count in 0..<bytes.count { #expect(ProxyHeader.parse(bytes.prefix(count)) == .incomplete, "\(count)") }
    }

    @Test(arguments: [
        (0x20, 0x00, [] as [UInt8]), (0x20, 0x11, []), (0x21, 0x00, [1, 2, 3]), (0x20, 0x11, [1, 2]),
        (0x21, 0x31, [UInt8](repeating: 0x2f, count: 216)), (0x21, 0x12, [UInt8](repeating: 1, count: 12)),
    ])
    func localUnspecifiedUnixAndDatagramNameNobody(command: UInt8, family: UInt8, rest: [UInt8]) {
        let bytes = ProxyHeaderTests.header(command: command, family: family, rest: rest)
        #expect(ProxyHeader.parse(bytes) == .complete(ProxyHeader(source: nil), length: 16 + rest.count))
    }

    @Test func malformedHeadersAreRefusedAtTheFirstWrongByte() {
        func isMalformed(_ bytes: [UInt8]) -> Bool {
            if case .malformed = ProxyHeader.parse(bytes) { return true }
            return false
        }
        for index in 0..<12 {
            var bytes = Array(ProxyHeaderTests.header().prefix(index + 1))
            bytes[index] ^= 0x40
            #expect(isMalformed(bytes), "byte \(index)")
        }
        #expect(isMalformed(Array("PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n".utf8)))
        for command in [0x11, 0x31, 0x01, 0x22, 0x2f] as [UInt8] {
            #expect(isMalformed(ProxyHeaderTests.header(command: command)))
        }
        for family in [0x13, 0x41, 0xf1, 0x1f] as [UInt8] {
            #expect(isMalformed(ProxyHeaderTests.header(family: family)))
        }
        #expect(isMalformed(ProxyHeaderTests.header(length: 11)))
        #expect(isMalformed(ProxyHeaderTests.header(family: 0x21)))
        #expect(isMalformed(ProxyHeaderTests.header(length: 0xffff)))
    }

    /// Every outcome must keep the parser's promises, whatever the bytes, and whether they come at once or not.
    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func keepsItsPromisesOnAnyBytes(seed: UInt64) {
        var random = SplitMix(state: seed)
        for _ in 0..<20_000 {
            var bytes = ProxyHeaderTests.header(
                command: [0x20, 0x21].randomElement(using: &random)!,
                family: [0x00, 0x11, 0x21, 0x31, 0x12].randomElement(using: &random)!,
                rest: (0..<Int.random(in: 0...260, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random)
                }
            )
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            let whole = ProxyHeader.parse(bytes)
            if case .complete(_, let length) = whole {
                #expect(length >= 16 && length <= bytes.count)
                #expect(ProxyHeader.parse(bytes.prefix(length)) == whole)
                #expect(ProxyHeader.parse(bytes.prefix(length - 1)) == .incomplete)
            }
            let cut = bytes.prefix(Int.random(in: 0...bytes.count, using: &random))
            switch (ProxyHeader.parse(cut), whole) {
            case (.incomplete, _), (.malformed, .malformed): break
            case (let part, _): #expect(part == whole)
            }
        }
    }
}

/// A seeded generator, so that what fails, fails again (Steele, Lea and Flood, "Fast splittable pseudorandom number generators").
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

@Suite struct AddressTests {
    @Test func rangesContainWhatTheyShould() throws {
        let ten = try #require(AddressRange("10.128.0.0/9"))
        #expect(ten.contains(IPAddress("10.200.1.1")!))
        #expect(!ten.contains(IPAddress("10.127.255.255")!))
        #expect(ten.contains(IPAddress("::ffff:10.200.1.1")!))
        #expect(!ten.contains(IPAddress("::1")!))
        #expect(AddressRange("0.0.0.0/0")!.contains(IPAddress("255.1.2.3")!))
        let one = try #require(AddressRange("2001:db8::7"))
        #expect(one.contains(IPAddress("2001:db8::7")!) && !one.contains(IPAddress("2001:db8::8")!))
        #expect("\(PeerAddress(address: IPAddress("::1")!, port: 8))" == "[::1]:8")
        for text in ["", "10.0.0.0/33", "10.0.0/8", "a/8", "::/129", "10.0.0.0/8/8", "10.0.0.0/-1"] {
            #expect(AddressRange(text) == nil, "\(text)")
        }
    }

    /// A peer's mapped address is held as IPv4, so a range of mapped ones is a range of IPv4 (RFC 4291 section 2.5.5.2).
    @Test(arguments: [
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"), ("::ffff:a00:0/104", "10.0.0.0/8"), ("::FFFF:192.0.2.7", "192.0.2.7/32"),
        ("::ffff:192.0.2.7/128", "192.0.2.7/32"), ("::ffff:0:0/96", "0.0.0.0/0"), ("::ffff:10.1.2.3/104", "10.1.2.3/8"),
    ])
    func mappedRangesAreIPv4(_ text: String, _ same: String) throws {
        let range = try #require(AddressRange(text))
        #expect(range.description == same)
        for peer in ["10.200.1.1", "192.0.2.7", "192.0.2.8", "11.0.0.1", "::1"] {
            let mapped = try #require(IPAddress(peer.contains(":") ? peer : "::ffff:\(peer)"))
            #expect(range.contains(mapped) == AddressRange(same)?.contains(try #require(IPAddress(peer))), "\(peer)")
        }
    }

    @Test(arguments: [
        "::ffff:10.0.0.0/8", "::ffff:10.0.0.0/95", "::ffff:10.0.0.0/129", "::ffff:10.0.0.0/", "10.0.0.0/+8",
    ])
    func aPrefixThatCutsTheMappingIsNone(_ text: String) { #expect(AddressRange(text) == nil) }

    @Test func aBucketAllowsABurstThenARateThenNothing() {
        var limiter = AddressLimiter(rate: 2, burst: 3, capacity: 8)
        let address = IPAddress("192.0.2.1")!
        for _ in 0..<3 { #expect(limiter.connectionCame(from: address, at: .zero) == .allowed) }
        for _ in 0..<3 { #expect(limiter.connectionCame(from: address, at: .zero) == .refused(retryAfter: 1)) }
        #expect(limiter.connectionCame(from: address, at: .zero) == .dropped)
        #expect(limiter.connectionCame(from: IPAddress("192.0.2.2")!, at: .zero) == .allowed)
        #expect(limiter.connectionCame(from: address, at: .milliseconds(500)) == .allowed)
        #expect(limiter.connectionCame(from: address, at: .milliseconds(500)) == .refused(retryAfter: 1))
        for number in 0..<100 {
            _ = limiter.connectionCame(from: IPAddress("2001:db8:0:\(String(number, radix: 16))::1")!, at: .seconds(9))
            #expect(limiter.count <= 8)
        }
        var six = AddressLimiter(rate: 0.1, burst: 1)
        #expect(six.connectionCame(from: IPAddress("2001:db8::1")!, at: .zero) == .allowed)
        #expect(six.connectionCame(from: IPAddress("2001:db8::2")!, at: .zero) == .refused(retryAfter: 10))
    }
}

@Suite struct MechanicsTests {
    @Test func closeReasonsAreCutAtCharacters() {
        #expect(cutToCloseReason("short") == "short")
        #expect(cutToCloseReason(String(repeating: "a", count: 200)).utf8.count == 123)
        #expect(cutToCloseReason(String(repeating: "ä", count: 62)).utf8.count == 122)
        #expect(cutToCloseReason("a" + String(repeating: "👩‍👩‍👧‍👦", count: 9)).utf8.count == 101)
    }

    @Test func closeCodes() {
        let sendable: [UInt16] = [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4999]
        #expect(sendable.allSatisfy(isSendableCloseCode))
        #expect(![0, 999, 1004, 1005, 1006, 1015, 2999, 5000].contains(where: isSendableCloseCode))
    }

    @Test func keepAlivePingsWaitsAndHangsUp() {
        var state = KeepAlive()
        #expect(state.timerFired(isReadingPaused: false) == .ping)
        state.somethingCame()
        #expect(state.timerFired(isReadingPaused: false) == .ping)
        #expect(state.timerFired(isReadingPaused: true) == .wait)
        #expect(!state.hasTimedOut)
        #expect(state.timerFired(isReadingPaused: false) == .hangUp)
        #expect(state.hasTimedOut)
    }
}
