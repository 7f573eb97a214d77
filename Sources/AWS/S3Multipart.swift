import Crypto
import HTTPClient

/// Texts for XML.
enum S3XML {
    static func escape(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
            .replacing("\"", with: "&quot;")
    }
}

/// A part that S3 has.
private struct UploadedPart {
    var number: Int
    var entityTag: String
    var checksum: String

    var xml: String {
        "<Part><PartNumber>\(number)</PartNumber><ETag>\(S3XML.escape(entityTag))</ETag>"
            + "<ChecksumSHA256>\(checksum)</ChecksumSHA256></Part>"
    }
}

/// Large objects, in parts: nothing is visible under the key before all parts are joined.
extension S3 {
    /// Parts in an upload (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html).
    static let maximumParts = 10_000
    /// Under this name the metadata of an object in parts holds the SHA-256 of the whole, in hexadecimal: S3 itself
    /// keeps only a digest of the parts' digests.
    public static let digestMetadata = "sha256"

    /// The parts of a body of so many bytes.
    static func parts(of count: Int, partBytes: Int) -> [Range<Int>] {
        let size = max(partBytes, (count + maximumParts - 1) / maximumParts)
        return stride(from: 0, to: count, by: size).map { $0..<min($0 + size, count) }
    }

    func putParts(_ key: String, body: [UInt8], contentType: String, metadata: [String: String]) async throws {
        let digest = SHA256.hash(body).hexadecimal
        let metadata = metadata.merging([Self.digestMetadata: digest]) { $1 }
        let upload = try await createUpload(key, putHeaders(contentType: contentType, metadata: metadata))
        do {
            var uploaded: [UploadedPart] = []
            for (index, range) in Self.parts(of: body.count, partBytes: limits.partBytes).enumerated() {
                try Task.checkCancellation()
                uploaded.append(try await uploadPart(key, upload, number: index + 1, Array(body[range])))
            }
            try await complete(key, upload, uploaded, size: body.count, digest: digest)
        } catch {
            await abort(key, upload)
            throw error
        }
    }

    /// Stores a small object as large ones are, in one part; and begins another and gives it up: whether all of it is
    /// allowed and works. Nothing but the object is left behind.
    public func checkUploadInParts(_ key: String, body: [UInt8], contentType: String) async throws {
        try await putParts(key, body: body, contentType: contentType, metadata: [:])
        let head = try await headObject(key)
        guard head?.size == body.count, head?.metadata[Self.digestMetadata] == SHA256.hash(body).hexadecimal else {
            throw AWSError(
                operation: "HeadObject", code: "ChecksumMismatch",
                message: "what was stored in parts is not there as it was")
        }
        let upload = try await createUpload(key, putHeaders(contentType: contentType, metadata: [:]))
        try await giveUp(key, upload)
    }

    private func createUpload(_ key: String, _ headers: [TransferHeader]) async throws -> String {
        let operation = "CreateMultipartUpload"
        let response = try await call(
            operation, "POST", key: key, query: [("uploads", "")],
            headers: headers + [TransferHeader("x-amz-checksum-algorithm", "SHA256")], check: .document)
        let document = try? S3XMLParser.parse(response.body)
        guard let id = document?.text(of: "UploadId"), !id.isEmpty else {
            throw AWSError(operation, unreadable: response, "the answer names no upload")
        }
        return id
    }

    private func uploadPart(
        _ key: String, _ upload: String, number: Int, _ body: [UInt8]
    ) async throws -> UploadedPart {
        let (operation, checksum) = ("UploadPart", Self.checksum(of: body))
        let response = try await call(
            operation, "PUT", key: key, query: [("partNumber", "\(number)"), ("uploadId", upload)],
            headers: [checksum], body: body, check: .stored(checksum: checksum.value))
        return UploadedPart(number: number, entityTag: response.header("ETag") ?? "", checksum: checksum.value)
    }

    /// Joins the parts. S3 may say 200 first and fail afterwards, in the body
    /// (https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html).
    private func complete(
        _ key: String, _ upload: String, _ parts: [UploadedPart], size: Int, digest: String
    ) async throws {
        let list = parts.map(\.xml).joined()
        let body =
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\(list)"
            + "</CompleteMultipartUpload>"
        for attempt in 1... {
            do {
                return try await completeOnce(key, upload, Array(body.utf8))
            } catch let error as AWSError where error.status == 404 || error.isOutcomeUnknown {
                // Joined by an earlier request whose answer was lost, perhaps: then the upload is over and the object
                // there.
                let head = try? await headObject(key)
                if head?.size == size, head?.metadata[Self.digestMetadata] == digest { return }
                throw error
            } catch let error as AWSError
                where error.status == 200 && Self.isPassing(error.code) && attempt < limits.completionAttempts
            {
                try await Task.sleep(for: limits.completionPause * attempt)
            }
        }
    }

    private static func isPassing(_ code: String) -> Bool {
        ["InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "OperationAborted"].contains(code)
    }

    private func completeOnce(_ key: String, _ upload: String, _ body: [UInt8]) async throws {
        let operation = "CompleteMultipartUpload"
        let response = try await call(
            operation, "POST", key: key, query: [("uploadId", upload)],
            headers: [TransferHeader("Content-Type", "application/xml")], body: body, time: limits.completionTime,
            check: .document)
        guard let document = try? S3XMLParser.parse(response.body) else {
            throw AWSError(operation, unreadable: response, "the answer is not XML")
        }
        switch document.name {
        case "CompleteMultipartUploadResult": return
        case "Error": throw AWSError(operation, inBodyOf: response, document)
        default: throw AWSError(operation, unreadable: response, "the answer is <\(document.name)>")
        }
    }

    /// Gives the parts up, which would be paid for else, even if the caller has been cancelled. What this leaves (and
    /// what a killed process leaves) is for the bucket's lifecycle rule `AbortIncompleteMultipartUpload`.
    private func abort(_ key: String, _ upload: String) async {
        await Task { try? await giveUp(key, upload) }.value
    }

    private func giveUp(_ key: String, _ upload: String) async throws {
        _ = try await call("AbortMultipartUpload", "DELETE", key: key, query: [("uploadId", upload)], check: .removed)
    }
}
