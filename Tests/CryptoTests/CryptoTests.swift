import Crypto
import Testing

func ascii(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite struct SHA256Tests {
    /// FIPS 180-4 examples and the empty message of NIST's CAVP set.
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
        (
            "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"
        ),
    ])
    func publishedVectors(message: String, digest: String) {
        #expect(SHA256.hash(ascii(message)).hexadecimal == digest)
    }

    @Test func aMillionTimesA() {
        let piece = [UInt8](repeating: UInt8(ascii: "a"), count: 1_000)
        let message = SHA256()
        for _ in 0..<1_000 { piece.withUnsafeBytes { message.update($0) } }
        #expect(message.finalize().hexadecimal == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }

    @Test func anySplitGivesTheDigestOfTheWhole() {
        var random = SystemRandomNumberGenerator()
        let incremental = SHA256()
        for _ in 0..<300 {
            let whole = SecureRandom.bytes(count: Int.random(in: 0...500, using: &random))
            var rest = whole[...]
            while !rest.isEmpty {
                let piece = rest.prefix(Int.random(in: 0...130, using: &random))
                piece.withUnsafeBytes { incremental.update($0) }
                rest = rest.dropFirst(piece.count)
            }
            #expect(incremental.finalize() == SHA256.hash(whole), "message \(whole.hexadecimal)")
        }
    }

    @Test func finalizeBeginsAnEmptyMessage() {
        let message = SHA256()
        message.update(ascii("abc").span)
        #expect(message.finalize() != message.finalize())
        #expect(message.finalize() == SHA256.hash([]))
    }
}

@Suite struct HMACSHA256Tests {
    /// RFC 4231, test cases 1 to 4, 6 and 7 (5 truncates its output).
    @Test(arguments: [
        (
            [UInt8](repeating: 0x0b, count: 20), ascii("Hi There"),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        ),
        (
            ascii("Jefe"), ascii("what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        ),
        (
            [UInt8](repeating: 0xaa, count: 20), [UInt8](repeating: 0xdd, count: 50),
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"
        ),
        (
            Array(0x01...0x19), [UInt8](repeating: 0xcd, count: 50),
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"
        ),
        (
            [UInt8](repeating: 0xaa, count: 131), ascii("Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        ),
        (
            [UInt8](repeating: 0xaa, count: 131),
            ascii(
                "This is a test using a larger than block-size key and a larger than block-size data. "
                    + "The key needs to be hashed before being used by the HMAC algorithm."
            ),
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"
        ),
    ])
    func publishedVectors(key: [UInt8], message: [UInt8], code: String) {
        #expect(HMACSHA256.authenticate(message, key: key).hexadecimal == code)
    }

    @Test func emptyKeyAndMessage() {
        // The previous call's key must not be reused for an empty one.
        _ = HMACSHA256.authenticate(ascii("x"), key: ascii("another key"))
        #expect(
            HMACSHA256.authenticate([], key: []).hexadecimal
                == "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"
        )
    }
}

@Suite struct SecureRandomTests {
    @Test func lengthsAndDifference() {
        #expect(SecureRandom.bytes(count: 0).isEmpty)
        #expect(SecureRandom.bytes(count: 33).count == 33)
        #expect(SecureRandom.bytes(count: 32) != SecureRandom.bytes(count: 32))
    }

    @Test func everyBitIsUsed() {
        let bytes = SecureRandom.bytes(count: 4_096)
        #expect(bytes.reduce(0, |) == 0xff)
        #expect(bytes.reduce(0xff, &) == 0)
    }
}

@Suite struct ConstantTimeTests {
    @Test func equality() {
        #expect(constantTimeEquals([], []))
        #expect(constantTimeEquals([1, 2, 3], [1, 2, 3]))
        #expect(!constantTimeEquals([1, 2, 3], [1, 2, 4]))
        #expect(!constantTimeEquals([0, 2, 3], [1, 2, 3]))
        #expect(!constantTimeEquals([1, 2, 3], [1, 2]))
        #expect(!constantTimeEquals([], [0]))
    }
}

@Suite struct HexadecimalTests {
    @Test func eachByteHasTwoDigits() {
        #expect([UInt8]().hexadecimal == "")
        #expect([0, 1, 0x9f, 0xff].hexadecimal == "00019fff")
    }
}
