internal import COpenSSL

/// HMAC with SHA-256 (RFC 2104, FIPS 198-1) by OpenSSL.
public enum HMACSHA256 {
    /// Bytes of an authentication code.
    public static let byteCount = 32

    /// The authentication code of a message. Compare it by `constantTimeEquals`, never by `==`.
    ///
    /// - Parameters:
    ///   - message: any length, 0 included.
    ///   - key: any length, 0 included; above 64 bytes its SHA-256 is used (RFC 2104, section 2).
    /// - Returns: 32 bytes.
    public static func authenticate(_ message: Span<UInt8>, key: Span<UInt8>) -> [UInt8] {
        key.withUnsafeBytes { key in
            message.withUnsafeBytes { message in
                [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
                    // To HMAC() a null key means "the key of the previous call": an empty key needs an address.
                    let noKey: [UInt8] = [0]
                    let result = noKey.withUnsafeBytes { noKey in
                        HMAC(
                            EVP_sha256(),
                            key.baseAddress ?? noKey.baseAddress,
                            Int32(key.count),
                            message.baseAddress,
                            message.count,
                            buffer.baseAddress,
                            nil
                        )
                    }
                    precondition(result != nil, "HMAC() fails only without memory or OpenSSL's default provider")
                    count = byteCount
                }
            }
        }
    }

    /// The authentication code of a message; see the other form.
    public static func authenticate(_ message: [UInt8], key: [UInt8]) -> [UInt8] {
        authenticate(message.span, key: key.span)
    }
}
