internal import COpenSSL

/// Random bytes for secrets, from OpenSSL's generator, which seeds itself from the kernel.
public enum SecureRandom {
    /// Unpredictable bytes. Any thread may call it.
    ///
    /// Traps if the generator cannot be seeded: a server that goes on with guessable keys is worse than none.
    /// Source: https://docs.openssl.org/3.0/man3/RAND_bytes/
    ///
    /// - Parameter count: from 0 on.
    public static func bytes(count: Int) -> [UInt8] {
        precondition(count >= 0 && count <= Int(Int32.max), "a count of bytes is from 0 to 2^31 - 1, not \(count)")
        return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            if count > 0 {
                let result = RAND_bytes(buffer.baseAddress, Int32(count))
                precondition(result == 1, "OpenSSL's random generator could not be seeded")
            }
            initialized = count
        }
    }
}
