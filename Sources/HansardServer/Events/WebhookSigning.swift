import Crypto
import Foundation
import HTTPClient

/// Signs what is sent to a receiver as Standard Webhooks has it
/// (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
struct WebhookSigning: Sendable {
    /// What a secret's text begins with.
    static let prefix = "whsec_"
    /// Bytes of a secret.
    static let keyLength = 24...64

    /// While a secret is replaced there are two, and a receiver may know either.
    let keys: [[UInt8]]

    init(_ secrets: [Secret]) { keys = secrets.compactMap { Self.key($0.revealed) } }

    /// The bytes of `whsec_` and base64; nil if it is none.
    static func key(_ text: String) -> [UInt8]? {
        guard text.hasPrefix(prefix), let bytes = Data(base64Encoded: String(text.dropFirst(prefix.count))),
            keyLength.contains(bytes.count)
        else { return nil }
        return Array(bytes)
    }

    /// The fields that say which message it is, when it is sent, and that it is ours. The message's name is made of what it says:
    /// it is the same when it is sent again, and another one when it holds anything else.
    func headers(of body: [UInt8], at time: Date) -> [TransferHeader] {
        let id = "msg_" + Array(SHA256.hash(body).prefix(16)).hexadecimal
        let timestamp = "\(Int(time.timeIntervalSince1970))"
        let signatures = keys.map { key in
            "v1,"
                + Data(HMACSHA256.authenticate(Array("\(id).\(timestamp).".utf8) + body, key: key))
                .base64EncodedString()
        }
        let named = [TransferHeader("webhook-id", id), TransferHeader("webhook-timestamp", timestamp)]
        return keys.isEmpty
            ? named : named + [TransferHeader("webhook-signature", signatures.joined(separator: " "))]
    }
}
