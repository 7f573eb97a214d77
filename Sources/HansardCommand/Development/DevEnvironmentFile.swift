import Foundation

/// `dev.env` in the state directory: what a client on this machine needs to know, in lines that a shell can source.
struct DevEnvironmentFile: Equatable {
    /// `HANSARD_URL`.
    var url: String?
    /// `HANSARD_API_KEY`, of the tenant `demo`.
    var apiKey: String?
    /// `HANSARD_ADMIN_TOKEN`.
    var adminToken: String?

    static let name = "dev.env"
    private static let names: [(name: String, property: any WritableKeyPath<DevEnvironmentFile, String?> & Sendable)] =
        [
            ("HANSARD_URL", \.url), ("HANSARD_API_KEY", \.apiKey), ("HANSARD_ADMIN_TOKEN", \.adminToken),
        ]

    /// The text of the file. The values are URLs and secrets of ours, which need no quotes in a shell.
    var text: String {
        let lines = Self.names.compactMap { name, property in self[keyPath: property].map { "export \(name)=\($0)\n" } }
        return "# Written by `hansard dev`. Use it: . this-file\n" + lines.joined()
    }

    init(url: String? = nil, apiKey: String? = nil, adminToken: String? = nil) {
        self.url = url
        self.apiKey = apiKey
        self.adminToken = adminToken
    }

    /// Reads what `text` writes, and what people make of it: quotes, no `export`, blank lines, other variables.
    init(text: String) {
        for line in text.split(whereSeparator: \.isNewline) {
            var assignment = line.drop { $0.isWhitespace }
            if assignment.hasPrefix("#") { continue }
            if assignment.hasPrefix("export ") { assignment = assignment.dropFirst("export ".count) }
            let parts = assignment.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, let known = Self.names.first(where: { $0.name == parts[0] }) else { continue }
            let value = parts[1].trimmingCharacters(in: .whitespaces)
                .trimmingCharacters(in: CharacterSet(charactersIn: "'\""))
            self[keyPath: known.property] = value.isEmpty ? nil : value
        }
    }

    /// Reads the file of a state directory; nil if there is none.
    init?(stateDirectory: String) {
        let path = "\(stateDirectory)/\(Self.name)"
        guard let bytes = FileManager.default.contents(atPath: path) else { return nil }
        self.init(text: String(decoding: bytes, as: UTF8.self))
    }
}
