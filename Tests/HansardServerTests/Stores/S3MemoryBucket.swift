import AWS
import Crypto
import EventLoops
import Foundation
import HTTPClient

/// One bucket in memory, as S3 answers for it, with faults. It is for speed alone: real servers are asked by
/// `S3TestEndpoint` and by Tests/EndToEnd.
final class S3MemoryBucket: AWSCaller {
    /// How one call goes.
    enum Fate: Sendable {
        case works
        /// Nothing happens, and this is the answer.
        case fails(AWSError)
        /// It is done, and this is the answer.
        case answers(TransferResponse)
        /// It is done, but the answer is lost.
        case answerLost
    }

    private struct State {
        var objects: [String: [UInt8]] = [:]
        var uploads: [String: [Int: [UInt8]]] = [:]
        var metadata: [String: [TransferHeader]] = [:]
        var fates: @Sendable (AWSRequest, Int) -> Fate = { _, _ in .works }
        var requests: [AWSRequest] = []
        /// Objects in one answer at most.
        var pageLimit: Int
        var uploadCount = 0
    }

    let origin = "http://127.0.0.1:9"
    static let location = S3Location("s3://box/some where")
    private let state: Locked<State>

    init(pageLimit: Int = 1_000) { state = Locked(State(pageLimit: pageLimit)) }

    /// The objects, past all faults.
    var objects: [String: [UInt8]] { state.withLock(\.objects) }
    var requests: [AWSRequest] { state.withLock(\.requests) }
    var operations: [String] { requests.map(\.operation) }
    /// Uploads that are neither joined nor given up.
    var openUploads: Int { state.withLock(\.uploads.count) }

    func set(_ fates: @escaping @Sendable (AWSRequest, Int) -> Fate) { state.withLock { $0.fates = fates } }
    func place(_ key: String, _ text: String) { state.withLock { $0.objects[key] = Array(text.utf8) } }
    func forgetRequests() { state.withLock { $0.requests = [] } }

    /// The bucket as a store uses it.
    func s3(limits: S3.Limits = S3.Limits()) -> S3 {
        S3(bucket: "box", caller: self, limits: limits) { request, _ in "signed " + request.url }
    }

    func call(_ request: AWSRequest) async throws -> TransferResponse {
        let (number, fates) = state.withLock { state in
            state.requests.append(request)
            return (state.requests.count - 1, state.fates)
        }
        let fate = fates(request, number)
        if case .fails(let error) = fate { throw error }
        var response = state.withLock { Self.answer(request, &$0) }
        if case .answerLost = fate {
            throw AWSError(operation: request.operation, code: "", message: "time ran out", isOutcomeUnknown: true)
        }
        if case .answers(let other) = fate { response = other }
        guard response.status < 400 else {
            let code = String(decoding: response.body, as: UTF8.self)
            throw AWSError(operation: request.operation, code: code, message: "no", status: response.status)
        }
        return try request.checked(response)
    }

    private static func answer(_ request: AWSRequest, _ state: inout State) -> TransferResponse {
        let transfer = request.transfer
        guard let path = transfer.path.removingPercentEncoding, path.hasPrefix("/box") else {
            return response(404, "NoSuchBucket")
        }
        if let sent = transfer.header("x-amz-checksum-sha256") {
            let checksum = Data(SHA256.hash(transfer.body)).base64EncodedString()
            guard sent == checksum else { return response(400, "BadDigest") }
        }
        let key = String(path.dropFirst(5))
        switch request.operation {
        case "PutObject":
            state.objects[key] = transfer.body
            state.metadata[key] = transfer.headers.filter { $0.name.hasPrefix("x-amz-meta-") }
            return TransferResponse(status: 200, headers: [TransferHeader("ETag", "\"t\"")])
        case "GetObject", "HeadObject":
            guard let body = state.objects[key] else { return response(404, "NoSuchKey") }
            let size = TransferHeader("Content-Length", "\(body.count)")
            let isHead = request.operation == "HeadObject"
            return TransferResponse(
                status: 200, headers: [size, TransferHeader("ETag", "\"t\"")] + (state.metadata[key] ?? []),
                body: isHead ? [] : body)
        case "DeleteObject":
            state.objects[key] = nil
            return response(204)
        case "ListObjectsV2": return list(fields(of: transfer), state)
        default: return answerUpload(request.operation, key, transfer, &state)
        }
    }

    private static func answerUpload(
        _ operation: String, _ key: String, _ transfer: TransferRequest, _ state: inout State
    ) -> TransferResponse {
        let fields = fields(of: transfer)
        let upload = fields["uploadId"] ?? ""
        switch operation {
        case "CreateMultipartUpload":
            state.uploadCount += 1
            state.uploads["\(state.uploadCount)"] = [:]
            state.metadata[key] = transfer.headers.filter { $0.name.hasPrefix("x-amz-meta-") }
            return response(200, "<X><UploadId>\(state.uploadCount)</UploadId></X>")
        case "UploadPart":
            guard state.uploads[upload] != nil else { return response(404, "NoSuchUpload") }
            state.uploads[upload]?[Int(fields["partNumber"] ?? "") ?? 0] = transfer.body
            return TransferResponse(status: 200, headers: [TransferHeader("ETag", "\"t\"")])
        case "CompleteMultipartUpload":
            guard let parts = state.uploads.removeValue(forKey: upload) else { return response(404, "NoSuchUpload") }
            state.objects[key] = parts.sorted { $0.key < $1.key }.flatMap(\.value)
            return response(200, "<CompleteMultipartUploadResult/>")
        default:
            state.uploads[upload] = nil
            return response(204)
        }
    }

    private static func list(_ fields: [String: String], _ state: State) -> TransferResponse {
        let prefix = fields["prefix"] ?? ""
        let after = fields["continuation-token"] ?? fields["start-after"] ?? ""
        let keys = state.objects.keys.filter { $0.hasPrefix(prefix) && Array($0.utf8).isAfter(Array(after.utf8)) }
            .sorted { Array($1.utf8).isAfter(Array($0.utf8)) }
        let page = keys.prefix(min(state.pageLimit, Int(fields["max-keys"] ?? "") ?? 1_000))
        func encoded(_ name: some StringProtocol) -> String {
            name.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
        }
        var folders: Set<String> = []
        let objects = page.map { key in
            // A folder that spans two pages is told in both, which S3 does not do and which no store here minds.
            if let delimiter = fields["delimiter"], let end = key.dropFirst(prefix.count).range(of: delimiter) {
                let folder = encoded(key[..<end.upperBound])
                return folders.insert(folder).inserted
                    ? "<CommonPrefixes><Prefix>\(folder)</Prefix></CommonPrefixes>" : ""
            }
            return "<Contents><Key>\(encoded(key))</Key><Size>\(state.objects[key]?.count ?? 0)</Size></Contents>"
        }
        let isTruncated = page.count < keys.count
        let token = isTruncated ? "<NextContinuationToken>\(page.last ?? "")</NextContinuationToken>" : ""
        return response(
            200,
            "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>\(isTruncated)</IsTruncated>\(token)"
                + "\(objects.joined())</ListBucketResult>")
    }

    private static func fields(of transfer: TransferRequest) -> [String: String] {
        let pairs = transfer.query.split(separator: "&").map {
            $0.split(separator: "=", omittingEmptySubsequences: false)
        }
        return Dictionary(
            uniqueKeysWithValues: pairs.map { (String($0[0]), String($0[1]).removingPercentEncoding ?? "") })
    }

    private static func response(_ status: Int, _ body: String = "") -> TransferResponse {
        TransferResponse(status: status, body: Array(body.utf8))
    }
}

extension [UInt8] {
    fileprivate func isAfter(_ other: [UInt8]) -> Bool { other.lexicographicallyPrecedes(self) }
}
