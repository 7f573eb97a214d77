import Testing

@testable import Hansard

@Suite struct SecretFormatTests {
    static func secret(_ kind: SecretFormat.Kind, seed: UInt64 = 1) -> String {
        var random = SeededGenerator(seed: seed)
        return SecretFormat.make(kind, random: random.bytes(32))
    }

    @Test(arguments: SecretFormat.Kind.allCases) func aSecretIsRecognised(kind: SecretFormat.Kind) {
        for seed in UInt64(0)..<50 {
            let secret = Self.secret(kind, seed: seed)
            #expect(SecretFormat.kind(of: secret) == kind)
            #expect(secret.utf8.count == kind.rawValue.utf8.count + 49)
        }
        for byte in [UInt8(0), 255] {
            #expect(SecretFormat.kind(of: SecretFormat.make(kind, random: [UInt8](repeating: byte, count: 32))) == kind)
        }
    }

    /// Written once and kept: a change of the format would lock every customer out.
    @Test func theFormatDoesNotChange() {
        let secret = SecretFormat.make(.liveKey, random: Array(0..<32))
        #expect(secret == "hsk_live_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf2trb0N")
    }

    @Test func everySingleCharacterIsChecked() {
        let secret = Array(Self.secret(.liveKey).utf8)
        for index in secret.indices {
            for replacement in "0Zz-_ é".utf8 where replacement != secret[index] {
                var changed = secret
                changed[index] = replacement
                #expect(SecretFormat.kind(of: String(decoding: changed, as: UTF8.self)) == nil)
            }
        }
    }

    @Test func otherLengthsAndNeighboursSwappedAreRefused() {
        let secret = Self.secret(.adminToken)
        for length in 0..<secret.count { #expect(SecretFormat.kind(of: String(secret.prefix(length))) == nil) }
        #expect(SecretFormat.kind(of: secret + "0") == nil)
        #expect(SecretFormat.kind(of: " " + secret) == nil)
        #expect(SecretFormat.kind(of: secret + "\n") == nil)
        var swapped = Array(secret.utf8)
        swapped.swapAt(10, 11)
        #expect(swapped == Array(secret.utf8) || SecretFormat.kind(of: String(decoding: swapped, as: UTF8.self)) == nil)
    }

    @Test func thePrefixIsUnderTheChecksum() {
        let test = "hsk_test_" + Self.secret(.liveKey).dropFirst(9)
        #expect(SecretFormat.kind(of: test) == nil)
    }

    @Test func namesRoundTrip() {
        var random = SeededGenerator(seed: 3)
        for _ in 0..<200 {
            let bytes = random.bytes(16)
            let name = SecretFormat.makeName(prefix: "key_", random: bytes)
            #expect(name.utf8.count == 26)
            #expect(SecretFormat.nameBytes(of: name, prefix: "key_") == bytes)
            #expect(SecretFormat.nameBytes(of: name, prefix: "adm_") == nil)
        }
        #expect(SecretFormat.nameBytes(of: "key_" + String(repeating: "z", count: 22), prefix: "key_") == nil)
        #expect(SecretFormat.nameBytes(of: "key_" + String(repeating: "0", count: 21), prefix: "key_") == nil)
        #expect(SecretFormat.nameBytes(of: "key_" + String(repeating: "-", count: 22), prefix: "key_") == nil)
    }

    @Test func aListShowsTheEndsOnly() {
        let secret = Self.secret(.testKey)
        let shown = SecretFormat.display(secret, kind: .testKey)
        #expect(shown.prefix == String(secret.prefix(13)) && shown.suffix == String(secret.suffix(4)))
    }
}

@Suite struct Base62Tests {
    @Test func knownNumbers() {
        #expect(Base62.encode([0], length: 3) == "000")
        #expect(Base62.encode([61], length: 1) == "z")
        #expect(Base62.encode([62], length: 2) == "10")
        #expect(Base62.encode([255, 255, 255, 255], length: 6) == "4gfFC3")
        #expect(Base62.decode("4gfFC3".utf8, byteCount: 4) == [255, 255, 255, 255])
        #expect(Base62.decode("4gfFC4".utf8, byteCount: 4) == nil, "one more does not fit")
    }

    @Test func digitsAreTheSixtyTwo() {
        #expect((0...255).filter { Base62.isDigit(UInt8($0)) }.count == 62)
    }

    @Test func itRoundTrips() {
        var random = SeededGenerator(seed: 5)
        for count in [1, 4, 16, 32] {
            let bytes = random.bytes(count)
            #expect(Base62.decode(Base62.encode(bytes, length: count * 2).utf8, byteCount: count) == bytes)
        }
    }
}

/// Check values of the CRC catalogue (reveng.sourceforge.io/crc-catalogue) and RFC 3720 appendix B.4.
@Suite struct CRC32Tests {
    @Test func checkValues() {
        #expect(CRC32.ieee.checksum("123456789".utf8) == 0xCBF4_3926)
        #expect(CRC32.castagnoli.checksum("123456789".utf8) == 0xE306_9283)
        #expect(CRC32.ieee.checksum("The quick brown fox jumps over the lazy dog".utf8) == 0x414F_A339)
        #expect(CRC32.castagnoli.checksum([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(CRC32.castagnoli.checksum([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
        #expect(CRC32.castagnoli.checksum((0..<32).map { UInt8($0) }) == 0x46DD_794E)
        #expect(CRC32.ieee.checksum([]) == 0 && CRC32.castagnoli.checksum([]) == 0)
    }
}
