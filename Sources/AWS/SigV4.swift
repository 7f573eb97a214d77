import Crypto
public import FoundationEssentials
public import HTTPClient

/// Signatures of version 4: what proves to AWS who sent a request, and that nobody changed it on the way.
///
/// A value without effects: everything that goes into a signature, the time included, is given.
/// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
public struct SigV4: Sendable {
    /// How long a presigned address may live, by AWS's own limit.
    public static let presignedLifetimes = Duration.seconds(1)...Duration.seconds(7 * 86_400)

    /// What a signature says of the body.
    public enum Payload: Sendable, Equatable {
        /// Its SHA-256, computed while signing.
        case computed
        /// Its SHA-256 in 64 small hexadecimal digits, known before.
        case precomputed(String)
        /// Nothing: the body may be anything.
        case unsigned
    }

    /// How the path is written into the signature.
    public enum PathRule: Sendable {
        /// As it is in the request, which is encoded once: S3's, where `a//b` and `a/../b` are names of objects.
        case asIs
        /// Without empty segments, `.` and `..`, and encoded once more: all other services'.
        case normalizedAndEncodedAgain
    }

    /// Who signs.
    public var credentials: AWSCredentials
    /// `eu-west-1`.
    public var region: String
    /// The name that signatures know the service by: `dynamodb`, `s3`, `sts`.
    public var service: String
    /// The time of signing. AWS refuses what is off by more than some minutes (S3: 15).
    public var date: Date
    /// By default the service's.
    public var pathRule: PathRule
    /// Whether the session token is signed; a few services (AWS IoT) want it added afterwards.
    public var signsSessionToken = true
    private let keys: SigningKeys?

    /// A signer.
    ///
    /// - Parameters:
    ///   - credentials: who signs.
    ///   - region: for example `eu-west-1`.
    ///   - service: the name that signatures know the service by.
    ///   - date: the time of signing.
    ///   - keys: derived before, if they should be kept.
    public init(
        credentials: AWSCredentials, region: String, service: String, date: Date, keys: SigningKeys? = nil
    ) {
        self.credentials = credentials
        self.region = region
        self.service = service
        self.date = date
        self.keys = keys
        pathRule = service == "s3" ? .asIs : .normalizedAndEncodedAgain
    }

    /// The request with the headers that prove it: `X-Amz-Date`, `X-Amz-Security-Token`, `X-Amz-Content-Sha256` (S3, and
    /// unsigned payloads) and `Authorization`, in place of those it had.
    ///
    /// All headers are signed but those that are changed on the way (`CanonicalRequest.unsignedHeaders`).
    public func sign(_ request: TransferRequest, payload: Payload = .computed) -> TransferRequest {
        var request = request
        let hash = hash(of: request.body, as: payload)
        let time = SigningTime(date)
        request.headers.removeAll { header in
            switch header.name.lowercased() {
            case "authorization", "x-amz-date", "x-amz-content-sha256": true
            case "x-amz-security-token": credentials.sessionToken != nil
            default: false
            }
        }
        request.headers.append(TransferHeader("X-Amz-Date", time.timestamp))
        if pathRule == .asIs || payload == .unsigned {
            request.headers.append(TransferHeader("X-Amz-Content-Sha256", hash))
        }
        let token = credentials.sessionToken.map { TransferHeader("X-Amz-Security-Token", $0) }
        if let token, signsSessionToken { request.headers.append(token) }

        let canonical = CanonicalRequest(request, pathRule: pathRule)
        let signature = signature(of: canonical.bytes(payloadHash: hash), at: time)
        let authorization = """
            AWS4-HMAC-SHA256 Credential=\(credentials.accessKeyID)/\(scope(at: time)), \
            SignedHeaders=\(canonical.signedHeaders), Signature=\(signature)
            """
        request.headers.append(TransferHeader("Authorization", authorization))
        if let token, !signsSessionToken { request.headers.append(token) }
        return request
    }

    /// The request with a query that proves it, so that whoever has its `url` may send it until it expires.
    ///
    /// The headers it has are signed, and must be sent as they are.
    ///
    /// - Parameters:
    ///   - request: without signature.
    ///   - lifetime: within `presignedLifetimes`, in whole seconds. Credentials that end sooner end it too.
    ///   - payload: nil is what the service expects: unsigned for S3, else computed.
    public func presign(
        _ request: TransferRequest, expiringAfter lifetime: Duration, payload: Payload? = nil
    ) -> TransferRequest {
        precondition(
            Self.presignedLifetimes.contains(lifetime), "a presigned address lives 1 s to 7 days, not \(lifetime)")
        var request = request
        let time = SigningTime(date)
        var fields = [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", "\(credentials.accessKeyID)/\(scope(at: time))"),
            ("X-Amz-Date", time.timestamp),
            ("X-Amz-Expires", String(lifetime.components.seconds)),
            ("X-Amz-SignedHeaders", CanonicalRequest.signedHeaders(of: request)),
        ]
        let token = credentials.sessionToken.map { ("X-Amz-Security-Token", $0) }
        if let token, signsSessionToken { fields.append(token) }
        request.append(fields)

        let hash = hash(of: request.body, as: payload ?? (pathRule == .asIs ? .unsigned : .computed))
        let canonical = CanonicalRequest(request, pathRule: pathRule)
        let signature = signature(of: canonical.bytes(payloadHash: hash), at: time)
        request.append([("X-Amz-Signature", signature)])
        if let token, !signsSessionToken { request.append([token]) }
        return request
    }

    // MARK: Parts

    private func hash(of body: [UInt8], as payload: Payload) -> String {
        switch payload {
        case .computed: body.isEmpty ? Self.hashOfNothing : SHA256.hash(body).hexadecimal
        case .precomputed(let hash): hash
        case .unsigned: "UNSIGNED-PAYLOAD"
        }
    }

    private static let hashOfNothing = SHA256.hash([]).hexadecimal

    private func scope(at time: SigningTime) -> String { "\(time.day)/\(region)/\(service)/aws4_request" }

    func stringToSign(_ canonicalRequest: [UInt8], at time: SigningTime) -> String {
        "AWS4-HMAC-SHA256\n\(time.timestamp)\n\(scope(at: time))\n\(SHA256.hash(canonicalRequest).hexadecimal)"
    }

    private func signature(of canonicalRequest: [UInt8], at time: SigningTime) -> String {
        let text = Array(stringToSign(canonicalRequest, at: time).utf8)
        let secret = credentials.secretAccessKey
        let key =
            keys?.key(secret: secret, day: time.day, region: region, service: service)
            ?? SigningKeys.derive(secret: secret, day: time.day, region: region, service: service)
        return HMACSHA256.authenticate(text, key: key).hexadecimal
    }
}

extension TransferRequest {
    fileprivate mutating func append(_ fields: [(String, String)]) {
        let text = fields.map { "\(PercentEncoding.encode($0))=\(PercentEncoding.encode($1))" }.joined(separator: "&")
        query += query.isEmpty ? text : "&" + text
    }
}
