import Glibc

/// A frame that a client sends (RFC 6455 section 5.2): one whole message, masked as section 5.3 demands.
struct ClientFrame {
    /// The most that stands before the payload: two bytes, eight of its length, four of the key.
    static let largestHeader = 14

    /// What the message is.
    enum Opcode: UInt8 {
        case text = 1
        case binary = 2
    }

    let opcode: Opcode
    let payload: UnsafeRawBufferPointer
    let key: MaskKey

    /// Writes the frame to where there is room for the payload and `largestHeader`, and answers its length.
    func write(to start: UnsafeMutablePointer<UInt8>) -> Int {
        let isFinal: UInt8 = 0x80
        let isMasked: UInt8 = 0x80
        var end = start
        func put(_ bytes: some FixedWidthInteger) {
            UnsafeMutableRawPointer(end).storeBytes(of: bytes.bigEndian, as: type(of: bytes))
            end += MemoryLayout.size(ofValue: bytes)
        }
        put(isFinal | opcode.rawValue)
        switch payload.count {
        case ..<126: put(isMasked | UInt8(payload.count))
        case ..<65_536:
            put(isMasked | 126)
            put(UInt16(payload.count))
        default:
            put(isMasked | 127)
            put(UInt64(payload.count))
        }
        put(key.bits)
        key.mask(payload, to: UnsafeMutableRawPointer(end))
        return end + payload.count - start
    }
}

/// The four bytes with which a frame is masked, the first of them the highest.
struct MaskKey: Equatable {
    let bits: UInt32

    /// Writes each byte, changed by the key's byte that is its turn. Eight at a time, which the compiler makes more of.
    func mask(_ bytes: UnsafeRawBufferPointer, to target: UnsafeMutableRawPointer) {
        let twice = (UInt64(bits) << 32 | UInt64(bits)).bigEndian
        let wordsEnd = bytes.count & ~7
        for offset in stride(from: 0, to: wordsEnd, by: 8) {
            let word = bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            target.storeBytes(of: word ^ twice, toByteOffset: offset, as: UInt64.self)
        }
        withUnsafeBytes(of: twice) { key in
            for offset in wordsEnd..<bytes.count {
                target.storeBytes(of: bytes[offset] ^ key[offset & 7], toByteOffset: offset, as: UInt8.self)
            }
        }
    }
}

/// The keys of one loop's frames. Nobody may foresee them (RFC 6455 section 5.3), so they come from the kernel; asking it for
/// each would cost a system call a message, so that they are fetched many at a time.
final class MaskKeys {
    /// 256 bytes, which is the most that `getentropy` gives (getentropy(3)).
    private static let batch = 64
    private var fetched: [UInt32] = []

    func next() -> MaskKey {
        if fetched.isEmpty { fetch() }
        return MaskKey(bits: fetched.removeLast())
    }

    private func fetch() {
        fetched.append(contentsOf: repeatElement(0, count: MaskKeys.batch))
        let code = fetched.withUnsafeMutableBytes { getentropy($0.baseAddress, $0.count) }
        // It waits for the kernel's generator to be seeded, and there is no other way to fail but a sandbox that forbids it.
        precondition(code == 0, "getentropy failed: \(errno)")
    }
}
