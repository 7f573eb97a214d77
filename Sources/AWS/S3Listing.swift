import HTTPClient

/// An object as a list shows it.
public struct S3ListedObject: Sendable, Equatable {
    /// The whole key.
    public var key: String
    /// Bytes of the content.
    public var size: Int

    /// An object.
    public init(key: String, size: Int) {
        self.key = key
        self.size = size
    }
}

/// A part of a list, in ascending order of the keys' UTF-8.
public struct S3Page: Sendable, Equatable {
    /// The objects.
    public var objects: [S3ListedObject] = []
    /// What keys up to the delimiter begin with, the delimiter included.
    public var commonPrefixes: [String] = []
    /// For the next part; nil if there is none.
    public var continuation: String?
}

extension S3 {
    /// Objects in one answer at most.
    public static let largestPage = 1_000

    /// Lists objects by `ListObjectsV2`.
    ///
    /// - Parameters:
    ///   - prefix: what their keys begin with.
    ///   - startAfter: they come after this in order; need not be a key.
    ///   - delimiter: keys that have it after the prefix are told as one of `commonPrefixes`.
    ///   - continuation: of the part before, with the same other parameters.
    ///   - limit: 1...1,000.
    public func listObjects(
        prefix: String = "", startAfter: String? = nil, delimiter: String? = nil, continuation: String? = nil,
        limit: Int = S3.largestPage
    ) async throws -> S3Page {
        precondition(1...Self.largestPage ~= limit, "a list has 1 to \(Self.largestPage) objects, not \(limit)")
        var query = [("list-type", "2"), ("encoding-type", "url"), ("max-keys", "\(limit)")]
        if !prefix.isEmpty { query.append(("prefix", prefix)) }
        if let delimiter { query.append(("delimiter", delimiter)) }
        if let startAfter, continuation == nil { query.append(("start-after", startAfter)) }
        if let continuation { query.append(("continuation-token", continuation)) }
        // The order of signatures, so that what is sent is what was signed.
        query.sort { $0.0 < $1.0 }
        let operation = "ListObjectsV2"
        let response = try await call(operation, "GET", key: nil, query: query, check: .document)
        do throws(S3XMLError) {
            return try S3Page(S3XMLParser.parse(response.body))
        } catch {
            throw AWSError(operation, unreadable: response, error.description)
        }
    }
}

extension S3Page {
    /// Reads a `ListBucketResult`.
    init(_ document: S3Element) throws(S3XMLError) {
        guard document.name == "ListBucketResult" else {
            throw S3XMLError(reason: "<\(document.name)> where <ListBucketResult> was expected", offset: 0)
        }
        let isEncoded = document.text(of: "EncodingType") == "url"
        func key(_ text: String?) throws(S3XMLError) -> String {
            guard let text, let key = isEncoded ? S3Encoding.decode(text) : text, !key.isEmpty else {
                throw S3XMLError(reason: "a key '\(text ?? "")' that cannot be read", offset: 0)
            }
            return key
        }
        for element in document.children {
            switch element.name {
            case "Contents":
                guard let size = element.text(of: "Size").flatMap({ Int($0) }), size >= 0 else {
                    throw S3XMLError(reason: "an object without a size", offset: 0)
                }
                objects.append(S3ListedObject(key: try key(element.text(of: "Key")), size: size))
            case "CommonPrefixes": commonPrefixes.append(try key(element.text(of: "Prefix")))
            default: break
            }
        }
        switch (document.text(of: "IsTruncated"), document.text(of: "NextContinuationToken")) {
        case ("true", let token?) where !token.isEmpty: continuation = token
        case ("false", _), (nil, nil): break
        // To take such a part for the whole would hide objects.
        default: throw S3XMLError(reason: "a list that does not say how it goes on", offset: 0)
        }
    }
}
