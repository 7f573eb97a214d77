import Testing

@testable import Hansard

@Suite struct AccessTokenTests {
    /// Not a MAC, but like one: every bit of the payload moves it.
    static func code(_ payload: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        for round in UInt8(0)..<8 {
            let checksum = CRC32.ieee.checksum([round] + payload + bytes)
            bytes += (0..<4).map { UInt8(truncatingIfNeeded: checksum >> (8 * UInt32($0))) }
        }
        return bytes
    }

    static func read(_ text: String) -> AccessToken? {
        AccessToken(text) { payload, code in Array(Self.code(payload).prefix(AccessToken.authenticationBytes)) == code }
    }

    static let token = AccessToken(key: Fixtures.keyID, expiresAt: 1_750_000_030, scopes: [.listen])

    @Test func itRoundTrips() throws {
        for scopes in [[], [.listen], Set(Scope.allCases), [.usageRead, .sessionsTerminate]] as [Set<Scope>] {
            for expiry in [0, 1_750_000_000, 1 << 39] as [Int64] {
                let token = AccessToken(key: Fixtures.keyID, expiresAt: expiry, scopes: scopes)
                let text = try #require(token.encoded(authenticate: Self.code))
                #expect(Self.read(text) == token)
            }
        }
    }

    /// libwebsockets drops subprotocol values of more than 60 characters.
    @Test func itIsAtMost60CharactersOfASubprotocolToken() throws {
        let text = try #require(Self.token.encoded(authenticate: Self.code))
        #expect(text.utf8.count <= 60)
        #expect(text.hasPrefix("hst_"))
        #expect(text.utf8.allSatisfy { Base62.isDigit($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_") })
    }

    @Test func everyBitIsUnderTheCode() throws {
        let text = try #require(Self.token.encoded(authenticate: Self.code))
        let bytes = try #require(Base64URL.decode(text.utf8.dropFirst(4)))
        for bit in 0..<bytes.count * 8 {
            var changed = bytes
            changed[bit / 8] ^= 1 << (bit % 8)
            #expect(Self.read("hst_" + Base64URL.encode(changed)) == nil, "bit \(bit)")
        }
    }

    @Test func itHasOneSpellingOnly() throws {
        let text = try #require(Self.token.encoded(authenticate: Self.code))
        for other in [text + "A", text + "AA", text + "=", " " + text, text + " ", String(text.dropLast()), "hst_", ""]
        {
            #expect(Self.read(other) == nil, "'\(other)'")
        }
        #expect(Self.read(text.replacing("hst_", with: "HST_")) == nil)
    }

    @Test func aKeyOfAnotherFormHasNoToken() {
        for name in ["key_short", "adm_0000000000000000000000", "", "key_" + String(repeating: "z", count: 22)] {
            let token = AccessToken(key: KeyID(name), expiresAt: 1, scopes: [])
            #expect(token.encoded(authenticate: Self.code) == nil)
        }
    }

    @Test func junkIsRefusedWithoutAskingForTheCode() {
        var random = SeededGenerator(seed: 11)
        for length in 0..<80 {
            let text = Base64URL.encode(random.bytes(length))
            #expect(AccessToken("hst_" + text, isAuthentic: { payload, _ in payload.first == 0 }) == nil)
        }
    }
}

@Suite struct Base64URLTests {
    /// RFC 4648 section 10, without padding.
    @Test(arguments: [
        ("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE"),
        ("foobar", "Zm9vYmFy"),
    ]) func theVectorsOfTheRFC(text: String, encoded: String) {
        #expect(Base64URL.encode(Array(text.utf8)) == encoded)
        #expect(Base64URL.decode(encoded.utf8) == Array(text.utf8))
    }

    @Test func theLastTwoDigitsAreSafeInURLs() {
        #expect(Base64URL.encode([0xFB, 0xFF]) == "-_8")
        #expect(Base64URL.decode("-_8".utf8) == [0xFB, 0xFF])
    }

    @Test(arguments: ["A", "Zm9vA", "Zh", "Zm9", "Zg==", "Zm9v\n", "+/", "Zm 9v"])
    func otherSpellingsAreRefused(text: String) {
        #expect(Base64URL.decode(text.utf8) == nil)
    }

    @Test func itRoundTrips() {
        var random = SeededGenerator(seed: 2)
        for length in 0..<100 {
            let bytes = random.bytes(length)
            #expect(Base64URL.decode(Base64URL.encode(bytes).utf8) == bytes)
        }
    }
}
