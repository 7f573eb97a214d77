import Crypto
import FoundationEssentials
public import HTTPClient

/// With what a bucket encrypts the objects that are put.
public enum S3Encryption: Sendable, Equatable {
    /// With what the bucket is set to; AWS encrypts in any case, other servers may not.
    case bucketDefault
    /// `AES256`: keys of S3's own.
    case s3Managed
    /// `aws:kms`: a key of KMS, by id, ARN or alias; nil is the account's own for S3.
    case kms(key: String?)

    var headers: [TransferHeader] {
        let name = "x-amz-server-side-encryption"
        switch self {
        case .bucketDefault: return []
        case .s3Managed: return [TransferHeader(name, "AES256")]
        case .kms(let key):
            let which = key.map { [TransferHeader("\(name)-aws-kms-key-id", $0)] } ?? []
            // One call of KMS for many objects in place of one for each.
            return [TransferHeader(name, "aws:kms")] + which + [TransferHeader("\(name)-bucket-key-enabled", "true")]
        }
    }
}

/// What is known of an object without its content.
public struct S3ObjectHead: Sendable, Equatable {
    /// Bytes of the content.
    public var size: Int
    /// With its quotes; not a digest of anything in particular.
    public var entityTag: String
    /// What it was put with.
    public var contentType: String
    /// `x-amz-meta-...`, by lower-case names without that.
    public var metadata: [String: String]
}

/// The objects of one bucket (Amazon S3 API 2006-03-01, and servers that speak it).
///
/// Everything may be repeated without harm. Calls may be made from any task; they throw `AWSError`, or
/// `CancellationError`.
public struct S3: Sendable {
    /// What bounds a call.
    public struct Limits: Sendable {
        /// Bytes that are put in one request; larger objects are put in parts.
        public var largestSinglePut = 8 << 20
        /// Bytes of a part, of which S3 wants at least 5 MiB and at most 10,000; objects above 10,000 parts have larger
        /// ones.
        public var partBytes = 8 << 20
        /// Bytes of an object that is read.
        public var largestObject = 128 << 20
        /// How long reading an object may take, whose size is not known before.
        public var readTime = Duration.seconds(30)
        /// How long another call may take beside the time for what it sends.
        public var callTime = Duration.seconds(5)
        /// The least speed in bytes per second, from which the time for what a call sends follows.
        public var slowestTransfer = 256 << 10
        /// How long joining the parts may take; S3 says minutes.
        public var completionTime = Duration.seconds(60)
        /// How often joining is asked for when S3 fails after it has said 200.
        public var completionAttempts = 3
        /// Between those.
        public var completionPause = Duration.milliseconds(200)
        /// The limits as documented.
        public init() {}
    }

    /// Makes an address that anyone can use until the time given is over.
    public typealias Presign = @Sendable (_ request: TransferRequest, _ validFor: Duration) async throws -> String

    /// How long an address may be valid (SigV4's limit: 7 days).
    public static let validTimes = Duration.seconds(1) ... .seconds(604_800)

    /// The bucket's name.
    public let bucket: String
    let caller: any AWSCaller
    let limits: Limits
    private let addressing: S3Addressing
    private let encryption: S3Encryption
    private let presign: Presign

    /// A bucket.
    ///
    /// - Parameters:
    ///   - bucket: exists already, in the caller's region.
    ///   - caller: of the service `s3`; its origin is without the bucket.
    ///   - presign: signs a request in its query, for as long as is asked for.
    public init(
        bucket: String, caller: any AWSCaller, addressing: S3Addressing = .automatic,
        encryption: S3Encryption = .bucketDefault, limits: Limits = Limits(), presign: @escaping Presign
    ) {
        self.bucket = bucket
        self.caller = caller
        self.addressing = addressing
        self.encryption = encryption
        self.limits = limits
        self.presign = presign
    }

    // MARK: Objects

    /// Stores an object, in parts if it is large, and replaces one of that key. It is there whole or not at all, and
    /// only if what arrived has the SHA-256 of what was sent.
    ///
    /// - Parameter metadata: kept with the object; names of letters, digits and hyphens, values of visible ASCII.
    public func putObject(
        _ key: String, body: [UInt8], contentType: String, metadata: [String: String] = [:]
    ) async throws {
        if body.count > limits.largestSinglePut {
            return try await putParts(key, body: body, contentType: contentType, metadata: metadata)
        }
        let headers = putHeaders(contentType: contentType, metadata: metadata)
        let checksum = Self.checksum(of: body)
        _ = try await call(
            "PutObject", "PUT", key: key, headers: headers + [checksum], body: body,
            check: .stored(checksum: checksum.value))
    }

    /// Reads an object, whole; nil if there is none. Where S3 knows the SHA-256 of the whole it is compared, and so is
    /// that which an object in parts was put with.
    public func getObject(_ key: String) async throws -> [UInt8]? {
        do {
            let response = try await call(
                "GetObject", "GET", key: key, headers: [TransferHeader("x-amz-checksum-mode", "ENABLED")],
                maximumResponseBytes: limits.largestObject, time: limits.readTime, check: .object)
            guard isWhatWasStored(response) else {
                throw AWSError(
                    operation: "GetObject", code: "ChecksumMismatch",
                    message: "what arrived is not what was stored: its SHA-256 differs", status: response.status)
            }
            return response.body
        } catch let error as AWSError where error.code == "NoSuchKey" {
            return nil
        }
    }

    private func isWhatWasStored(_ response: TransferResponse) -> Bool {
        // That of an object in parts is a digest of digests, and ends with their number.
        if let stored = response.header(Self.checksumName), !stored.contains("-") {
            return stored == Self.checksum(of: response.body).value
        }
        guard let digest = response.header("x-amz-meta-\(Self.digestMetadata)") else { return true }
        return digest == SHA256.hash(response.body).hexadecimal
    }

    /// Describes an object; nil if there is none (or no bucket: S3 does not say which).
    public func headObject(_ key: String) async throws -> S3ObjectHead? {
        do {
            let response = try await call("HeadObject", "HEAD", key: key, check: .objectHead)
            let prefix = "x-amz-meta-"
            let metadata = response.headers.map { ($0.name.lowercased(), $0.value) }
                .filter { $0.0.hasPrefix(prefix) }.map { (String($0.0.dropFirst(prefix.count)), $0.1) }
            return S3ObjectHead(
                size: response.header("Content-Length").flatMap { Int($0) } ?? 0,
                entityTag: response.header("ETag") ?? "", contentType: response.header("Content-Type") ?? "",
                metadata: Dictionary(metadata) { first, _ in first })
        } catch let error as AWSError where error.status == 404 && error.code != "NoSuchBucket" {
            return nil
        }
    }

    /// Removes an object. That there is none is no error. Where the bucket keeps versions, they stay.
    public func deleteObject(_ key: String) async throws {
        do {
            _ = try await call("DeleteObject", "DELETE", key: key, check: .removed)
        } catch let error as AWSError where error.code == "NoSuchKey" {
            return
        }
    }

    /// An address from which anyone can read the object until the time is over, under the name given. Makes no call to
    /// S3: whether the object exists shows when it is read.
    ///
    /// - Parameters:
    ///   - validFor: within `validTimes`; it ends earlier with the credentials that sign.
    ///   - fileName: visible ASCII without `"` and `\`.
    public func downloadURL(of key: String, validFor: Duration, fileName: String? = nil) async throws -> String {
        precondition(Self.validTimes.contains(validFor), "an address is valid for 1 s to 7 days, not \(validFor)")
        let disposition = fileName.map { [("response-content-disposition", "attachment; filename=\"\($0)\"")] } ?? []
        return try await presign(request("GET", key: key, query: disposition), validFor)
    }

    // MARK: Calls

    func putHeaders(contentType: String, metadata: [String: String]) -> [TransferHeader] {
        [TransferHeader("Content-Type", contentType)] + encryption.headers
            + metadata.sorted { $0.key < $1.key }.map { TransferHeader("x-amz-meta-\($0.key)", $0.value) }
    }

    static let checksumName = "x-amz-checksum-sha256"

    static func checksum(of body: [UInt8]) -> TransferHeader {
        TransferHeader(checksumName, Data(SHA256.hash(body)).base64EncodedString())
    }

    private func request(
        _ method: String, key: String?, query: [(String, String)] = [], headers: [TransferHeader] = [],
        body: [UInt8] = []
    ) -> TransferRequest {
        let (origin, path) = addressing.address(origin: caller.origin, bucket: bucket, key: key)
        return TransferRequest(
            method: method, origin: origin, path: path, query: S3Encoding.query(query), headers: headers, body: body)
    }

    /// Makes one call.
    ///
    /// - Parameters:
    ///   - key: nil is the bucket itself.
    ///   - time: in place of the time that follows from the body.
    ///   - check: what S3 would answer.
    func call(
        _ operation: String, _ method: String, key: String?, query: [(String, String)] = [],
        headers: [TransferHeader] = [], body: [UInt8] = [], maximumResponseBytes: Int = 16 << 20,
        time: Duration? = nil, check: AnswerCheck
    ) async throws -> TransferResponse {
        var transfer = request(method, key: key, query: query, headers: headers, body: body)
        let seconds = Double(body.count) / Double(limits.slowestTransfer)
        transfer.timeout = time ?? limits.callTime + .seconds(seconds)
        transfer.maximumResponseBytes = maximumResponseBytes
        return try await caller.call(
            AWSRequest(operation: operation, transfer: transfer, isRepeatable: true, check: check))
    }
}
