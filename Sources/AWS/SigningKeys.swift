import Crypto
import EventLoops

/// Signing keys that were derived before: they change once a day, and deriving one costs four of the five HMACs of a
/// signature. Any thread may use it.
public final class SigningKeys: Sendable, CustomReflectable {
    /// Keys that are kept; more than a process has of services and, while they change, of credentials.
    static let maximumCount = 16

    private struct Key {
        var secret: String
        var day: String
        var region: String
        var service: String
        var bytes: [UInt8]
    }

    /// The one used last is first.
    private let keys = Locked<[Key]>([])

    /// Without keys.
    public init() {}

    /// Nothing: neither secrets nor what is derived from them gets into a log by way of a mirror.
    public var customMirror: Mirror { Mirror(self, children: [:]) }

    /// The key of a day (`20150830`, UTC), region and service.
    func key(secret: String, day: String, region: String, service: String) -> [UInt8] {
        keys.withLock { keys in
            let found = keys.firstIndex {
                $0.day == day && $0.service == service && $0.region == region && $0.secret == secret
            }
            if let found {
                if found > 0 { keys.swapAt(found, 0) }
                return keys[0].bytes
            }
            let bytes = Self.derive(secret: secret, day: day, region: region, service: service)
            if keys.count == Self.maximumCount { keys.removeLast() }
            keys.insert(Key(secret: secret, day: day, region: region, service: service, bytes: bytes), at: 0)
            return bytes
        }
    }

    /// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html, step 4
    static func derive(secret: String, day: String, region: String, service: String) -> [UInt8] {
        let steps = [day, region, service, "aws4_request"]
        return steps.reduce(Array("AWS4".utf8) + secret.utf8) { key, step in
            HMACSHA256.authenticate(Array(step.utf8), key: key)
        }
    }
}
