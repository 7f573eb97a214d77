internal import COpenSSL

/// Whether two byte strings are equal, in a time that depends on their lengths alone, so that a forger learns nothing
/// from how long a refusal took. Strings of different lengths are unequal.
public func constantTimeEquals(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    guard left.count == right.count else { return false }
    if left.isEmpty { return true }
    return CRYPTO_memcmp(left, right, left.count) == 0
}
