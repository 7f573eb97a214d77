import Foundation
import Web

/// Which server to ask, and as whom.
struct TranscribeTarget: Equatable {
    /// For instance `http://127.0.0.1:8080`.
    var url: String
    /// The key.
    var key: String

    /// Takes what is given on the command line, then the environment, then `dev.env`.
    ///
    /// The key in `dev.env` belongs to the server in it, so it is never sent to another one.
    ///
    /// - Throws: `CommandFailure` with status 2 if the server or the key is not known.
    static func find(
        url: String?,
        key: String?,
        environment: [String: String],
        developmentFile: () -> DevEnvironmentFile?
    ) throws -> TranscribeTarget {
        let givenURL = url ?? present(environment["HANSARD_URL"])
        let givenKey = key ?? present(environment["HANSARD_API_KEY"])
        if let givenURL, let givenKey { return TranscribeTarget(url: givenURL, key: givenKey) }
        let file = developmentFile()
        guard let foundURL = givenURL ?? file?.url else {
            throw CommandFailure(
                message: "no server is known: start one with `make run`, or give --url and --key "
                    + "(or HANSARD_URL and HANSARD_API_KEY)",
                status: .usage
            )
        }
        let isOfFile = file.map { $0.url == foundURL } ?? false
        guard let foundKey = givenKey ?? (isOfFile ? file?.apiKey : nil) else {
            throw CommandFailure(
                message: "no key for \(foundURL) is known: give --key, or HANSARD_API_KEY",
                status: .usage
            )
        }
        return TranscribeTarget(url: foundURL, key: foundKey)
    }

    private static func present(_ text: String?) -> String? { text.flatMap { $0.isEmpty ? nil : $0 } }

    /// The handshake.
    ///
    /// - Throws: `CommandFailure` with status 2 if the URL is none.
    func request(model: String, language: String, interim: Bool) throws -> WebSocketClientRequest {
        let parameters = [("model", model), ("language", language), ("interim_results", interim ? "true" : "false")]
        let query = parameters.map { "\($0)=\(Self.encoded($1))" }.joined(separator: "&")
        let base = url.hasSuffix("/") ? String(url.dropLast()) : url
        guard WebSocketURL(url) != nil, let address = WebSocketURL("\(base)/v1/listen?\(query)") else {
            throw CommandFailure(
                message: "--url \(url): expected an address such as http://127.0.0.1:8080 or wss://speech.example.net",
                status: .usage
            )
        }
        return WebSocketClientRequest(url: address, headers: [("Authorization", "Token \(key)")])
    }

    private static func encoded(_ text: String) -> String {
        let kept = CharacterSet(charactersIn: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
        return text.addingPercentEncoding(withAllowedCharacters: kept) ?? ""
    }
}
