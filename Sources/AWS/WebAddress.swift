/// A family of regions that share their domains.
struct AWSPartition: Equatable {
    var suffix: String
    var dualStackSuffix: String

    /// Source: partitions.json of AWS's SDKs.
    private static let byPrefix = [
        ("cn-", AWSPartition(suffix: "amazonaws.com.cn", dualStackSuffix: "api.amazonwebservices.com.cn")),
        ("eusc-", AWSPartition(suffix: "amazonaws.eu", dualStackSuffix: "api.amazonwebservices.eu")),
        ("us-iso-", AWSPartition(suffix: "c2s.ic.gov", dualStackSuffix: "api.aws.ic.gov")),
        ("us-isob-", AWSPartition(suffix: "sc2s.sgov.gov", dualStackSuffix: "api.aws.scloud")),
        ("eu-isoe-", AWSPartition(suffix: "cloud.adc-e.uk", dualStackSuffix: "api.cloud-aws.adc-e.uk")),
        ("us-isof-", AWSPartition(suffix: "csp.hci.ic.gov", dualStackSuffix: "api.aws.hci.ic.gov")),
    ]

    /// The partition of a region; unknown regions are in the public one, which gets new ones most often.
    static func of(_ region: String) -> AWSPartition {
        byPrefix.first { region.hasPrefix($0.0) }?.1
            ?? AWSPartition(suffix: "amazonaws.com", dualStackSuffix: "api.aws")
    }
}

/// An `http://` or `https://` address in the parts that requests are made of.
struct WebAddress: Equatable {
    /// In small letters.
    var origin: String
    /// Without brackets and port.
    var host: String
    /// Begins with `/`.
    var path: String
    var query: String

    /// Parses an address.
    ///
    /// - Parameter name: of the setting, for errors.
    init(_ text: String, named name: String) throws(AWSConfigurationError) {
        let wrong = AWSConfigurationError(
            "\(name) is \(Self.shown(text)): it would be like https://host or http://127.0.0.1:8000")
        guard text.isVisibleASCII, !text.contains("#"), let colon = text.firstRange(of: "://"),
            ["http", "https"].contains(text[..<colon.lowerBound].lowercased())
        else { throw wrong }
        let rest = text[colon.upperBound...]
        let authority = rest.prefix { $0 != "/" && $0 != "?" }.lowercased()
        guard let host = Self.host(of: authority) else { throw wrong }
        let target = rest.dropFirst(authority.count).split(
            separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        origin = text[..<colon.upperBound].lowercased() + authority
        self.host = host
        path = target.first.map { $0.isEmpty ? "/" : String($0) } ?? "/"
        query = target.count > 1 ? String(target[1]) : ""
    }

    /// An address for errors, which go into logs: what stands before an @ may be a password.
    static func shown(_ text: String) -> String {
        text.contains("@") ? "an address with an @, which is not shown here" : "\"\(text)\""
    }

    /// The host of `host:port`, `[address]:port` and the like; nil if it is none of them.
    private static func host(of authority: String) -> String? {
        var host = authority[...]
        var port = Substring()
        if authority.hasPrefix("[") {
            guard let end = authority.firstIndex(of: "]") else { return nil }
            host = authority[authority.index(after: authority.startIndex)..<end]
            port = authority[authority.index(after: end)...]
            guard !host.isEmpty, host.allSatisfy({ $0.isHexDigit || $0 == ":" || $0 == "." }) else { return nil }
        } else if let colon = authority.firstIndex(of: ":") {
            host = authority[..<colon]
            port = authority[colon...]
        }
        let isName = host.allSatisfy { $0.isLetter || $0.isNumber || "-._:".contains($0) }
        guard !host.isEmpty, isName else { return nil }
        guard port.isEmpty || port.first == ":" && UInt16(port.dropFirst()).map({ $0 > 0 }) == true else { return nil }
        return String(host)
    }
}
