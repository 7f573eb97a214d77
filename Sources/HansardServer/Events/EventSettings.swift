extension SettingType where Value == EventDestination {
    /// Where events are sent.
    static let eventDestination = SettingType(
        unit: Setting.addressUnit,
        expected:
            "an address such as https://host/path, without user and password; http:// only of 127.0.0.1, [::1] and localhost",
        parse: EventDestination.init,
        format: { $0.description }
    )
}

extension SettingType where Value == [Secret] {
    /// Secrets of Standard Webhooks.
    static let webhookSecrets = secretList(
        "\(WebhookSigning.prefix) and the base64 of \(WebhookSigning.keyLength.lowerBound) to "
            + "\(WebhookSigning.keyLength.upperBound) bytes, for example \(WebhookSigning.prefix)$(openssl rand -base64 32)"
    ) { WebhookSigning.key($0) != nil }
}

extension SettingType where Value == Secret {
    /// What a field of a request's head may hold.
    static let credentials = SettingType(
        unit: "secret",
        expected: "1 to 1024 visible characters, and spaces between them",
        parse: { text in
            let isVisible = text.utf8.allSatisfy { (0x20...0x7e).contains($0) }
            return (1...1_024).contains(text.utf8.count) && isVisible && text.first != " " && text.last != " "
                ? Secret(text) : nil
        },
        format: { _ in "***" }
    )
}

extension SettingType where Value == String {
    /// A reference that names where events come from (CloudEvents 1.0.2, `source`).
    static let eventSource = SettingType(
        unit: "name",
        expected: "a name or URI of 1 to 200 letters, digits and any of -._~:/@",
        parse: { text in
            let isRight = text.utf8.allSatisfy { byte in
                (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte | 0x20) || "-._~:/@".utf8.contains(byte)
            }
            return (1...200).contains(text.utf8.count) && isRight ? text : nil
        },
        format: { $0 }
    )
}
