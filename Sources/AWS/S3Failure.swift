import HTTPClient

extension AWSError {
    /// Names of S3's error document that say where a bucket is, and what time it is there.
    public enum S3Detail: String, Sendable {
        /// The bucket's region, if the request was meant for another.
        case region = "Region"
        /// The server's time, if ours differs too much.
        case serverTime = "ServerTime"
    }

    /// What S3's error document says beside code and message; nil if it does not.
    public func detail(_ name: S3Detail) -> String? {
        guard let document = try? S3XMLParser.parse(body) else { return nil }
        return document.text(of: name.rawValue).flatMap { $0.isEmpty ? nil : $0 }
    }

    /// The code of an answer that sends elsewhere and does not say why, which none of AWS's is.
    public static let redirectedCode = "Redirected"

    /// An answer that sends us elsewhere: if S3 says so, the bucket is in another region. Not followed, since the
    /// signature would be another.
    init(_ operation: String, redirected response: TransferResponse, isOutcomeUnknown: Bool = false) {
        let document = try? S3XMLParser.parse(response.body)
        let isS3 = document?.name == "Error"
        let region = response.header("x-amz-bucket-region")
        let ofStatus = response.status == 301 ? "PermanentRedirect" : "TemporaryRedirect"
        let place = response.header("Location").flatMap { try? WebAddress($0, named: "Location") }
        let elsewhere = "the answer sends to \(place?.origin ?? "another address"): does a proxy answer in AWS's place?"
        self.init(
            operation: operation,
            code: isS3 ? document?.text(of: "Code") ?? ofStatus : region == nil ? Self.redirectedCode : ofStatus,
            message: isS3
                ? document?.text(of: "Message") ?? "" : region == nil ? elsewhere : "the bucket is elsewhere",
            status: response.status,
            // In the one form that `detail` reads, wherever S3 put it.
            body: region.map { Array("<Error><Region>\(S3XML.escape($0))</Region></Error>".utf8) } ?? response.body,
            isOutcomeUnknown: isOutcomeUnknown)
    }

    /// The code of an answer that is not what the API says it would be.
    public static let unreadableCode = "UnreadableResponse"

    /// An error that came in the body of an answer of status 200.
    init(_ operation: String, inBodyOf response: TransferResponse, _ document: S3Element) {
        let code = document.text(of: "Code") ?? ""
        self.init(
            operation: operation, code: code.isEmpty ? Self.unreadableCode : code,
            message: document.text(of: "Message") ?? "", status: response.status, body: response.body,
            isThrottling: code == "SlowDown")
    }

    /// An answer that is not what the API says it would be.
    init(_ operation: String, unreadable response: TransferResponse, _ reason: String) {
        self.init(
            operation: operation, code: Self.unreadableCode, message: reason, status: response.status,
            body: response.body, isOutcomeUnknown: true)
    }
}
