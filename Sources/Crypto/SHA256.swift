internal import COpenSSL

/// SHA-256 (FIPS 180-4) by OpenSSL's EVP interface: at once, or piece by piece.
///
/// An instance belongs to one task or thread at a time. It owns its `EVP_MD_CTX`, which is why it is a class: the
/// context is freed with the last reference, on whatever path.
/// Source: https://docs.openssl.org/3.0/man3/EVP_DigestInit/
public final class SHA256 {
    /// Bytes of a digest.
    public static let byteCount = 32

    private let context: OpaquePointer

    /// Begins an empty message.
    public init() {
        // EVP_MD_CTX_new and EVP_DigestInit_ex fail only when memory has run out or when OpenSSL's default provider is
        // missing; neither can be handled by a caller.
        guard let context = EVP_MD_CTX_new() else { preconditionFailure("OpenSSL could not allocate a digest context") }
        self.context = context
        precondition(EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1, "OpenSSL's default provider has no SHA-256")
    }

    deinit { EVP_MD_CTX_free(context) }

    /// Appends bytes to the message. Allocates nothing, so that audio paths may call it.
    public func update(_ bytes: UnsafeRawBufferPointer) {
        // An empty buffer may have no address, which EVP_DigestUpdate accepts only by accident.
        guard let start = bytes.baseAddress, !bytes.isEmpty else { return }
        let result = EVP_DigestUpdate(context, start, bytes.count)
        precondition(result == 1, "EVP_DigestUpdate fails only without a preceding init, which init() made")
    }

    /// Appends bytes to the message. Allocates nothing.
    public func update(_ bytes: Span<UInt8>) {
        bytes.withUnsafeBytes { update($0) }
    }

    /// Ends the message and begins an empty one.
    ///
    /// - Returns: the 32 bytes of the digest.
    public func finalize() -> [UInt8] {
        let digest = [UInt8](unsafeUninitializedCapacity: Self.byteCount) { buffer, count in
            let result = EVP_DigestFinal_ex(context, buffer.baseAddress, nil)
            precondition(result == 1, "EVP_DigestFinal_ex fails only without a preceding init, which init() made")
            count = Self.byteCount
        }
        // The context cannot be used after a final until it is initialised again; nil keeps the algorithm.
        precondition(EVP_DigestInit_ex(context, nil, nil) == 1, "re-initialising a digest context cannot fail")
        return digest
    }

    /// The digest of a whole message.
    ///
    /// - Returns: 32 bytes.
    public static func hash(_ bytes: Span<UInt8>) -> [UInt8] {
        let message = SHA256()
        message.update(bytes)
        return message.finalize()
    }

    /// The digest of a whole message.
    ///
    /// - Returns: 32 bytes.
    public static func hash(_ bytes: [UInt8]) -> [UInt8] {
        hash(bytes.span)
    }
}
