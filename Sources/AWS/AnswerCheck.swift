public import HTTPClient

/// What an answer must be like to be the API's: a status of success alone is also what a captive portal or a wrong proxy
/// answers, and what they answer has stored nothing.
public struct AnswerCheck: Sendable {
    /// Why the answer is not what the API gives; nil if it is. Asked of every answer but redirections.
    let problem: @Sendable (TransferResponse) -> String?

    init(_ problem: @escaping @Sendable (TransferResponse) -> String?) { self.problem = problem }

    /// Any answer of success; whoever reads it judges it.
    public static let none = AnswerCheck { _ in nil }
}

extension AWSRequest {
    /// The answer, if it is one that the API gives. Whoever answers calls in place of `AWSService` must ask this too.
    ///
    /// - Throws: `AWSError` of unknown outcome: nobody knows whether the call got any further than to who answered.
    public func checked(_ response: TransferResponse) throws(AWSError) -> TransferResponse {
        if let error = unreadable(response) { throw error }
        return response
    }

    func unreadable(_ response: TransferResponse) -> AWSError? {
        guard !(300..<400 ~= response.status), let reason = check.problem(response) else { return nil }
        return AWSError(operation, unreadable: response, reason)
    }
}

// MARK: DynamoDB

extension AnswerCheck {
    /// What DynamoDB answers: status 200 and a JSON object, or an error; undamaged, if it says what its CRC-32 is.
    static let dynamoDB = AnswerCheck { response in
        if let damage = damage(response) { return damage }
        guard response.status < 300 else { return nil }
        guard response.status == 200 else { return notDynamoDB("its status is \(response.status), not 200") }
        if let type = response.header("Content-Type"), !isDynamoDBType(type) {
            return notDynamoDB("its type is not \(dynamoDBType)")
        }
        let isObject =
            response.body.first { !XMLText.isSpace($0) } == UInt8(ascii: "{")
            && response.body.last { !XMLText.isSpace($0) } == UInt8(ascii: "}")
        return isObject ? nil : notDynamoDB("it is no JSON object")
    }

    static let dynamoDBType = "application/x-amz-json-1.0"

    private static func notDynamoDB(_ reason: String) -> String {
        "the answer is not DynamoDB's: \(reason); is the endpoint right, or does a proxy answer in its place?"
    }

    private static func isDynamoDBType(_ type: String) -> Bool {
        let name = type.prefix { $0 != ";" }
        return AWSEnvironment.trimmed(name).lowercased() == dynamoDBType
    }

    /// The checksum is of the body as it was sent, so that it says nothing of one that was unpacked on the way.
    private static func damage(_ response: TransferResponse) -> String? {
        guard let stated = response.header("x-amz-crc32") else { return nil }
        let encoding = response.header("Content-Encoding")?.lowercased() ?? "identity"
        guard encoding == "identity" else { return nil }
        let actual = response.body.withUnsafeBytes { CRC32.checksum($0) }
        return UInt32(stated) == actual ? nil : "the answer was damaged on its way: its CRC-32 differs"
    }
}

// MARK: S3

/// Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html, the
/// response syntax of each.
extension AnswerCheck {
    /// To an object, or a part of one, that was sent: nothing but headers, its tag among them.
    ///
    /// - Parameter checksum: the SHA-256 of what was sent, as S3 writes it.
    static func stored(checksum: String) -> AnswerCheck {
        AnswerCheck { response in
            guard response.status < 300 else { return nil }
            if let problem = tagged(response) ?? empty(response) { return problem }
            guard let stored = response.header(S3.checksumName), stored != checksum else { return nil }
            return "what was stored is not what was sent: its SHA-256 differs"
        }
    }

    /// An object.
    static let object = AnswerCheck { response in response.status < 300 ? tagged(response) : nil }

    /// An object's description.
    static let objectHead = AnswerCheck { response in
        guard response.status < 300 else { return nil }
        let size = response.header("Content-Length").flatMap { Int($0) } ?? -1
        return tagged(response) ?? (size < 0 ? notS3("it says no size") : nil)
    }

    /// That something is gone.
    static let removed = AnswerCheck { response in
        guard response.status < 300 else { return nil }
        guard [200, 204].contains(response.status) else { return notS3("its status is \(response.status), not 204") }
        return empty(response)
    }

    /// An XML document, which whoever reads it judges.
    static let document = AnswerCheck { response in response.status < 300 ? success(response) : nil }

    private static func success(_ response: TransferResponse) -> String? {
        response.status == 200 ? nil : notS3("its status is \(response.status), not 200")
    }

    private static func tagged(_ response: TransferResponse) -> String? {
        if let problem = success(response) { return problem }
        return response.header("ETag")?.isEmpty == false ? nil : notS3("it has no ETag")
    }

    private static func empty(_ response: TransferResponse) -> String? {
        response.body.allSatisfy(XMLText.isSpace) ? nil : notS3("it has a body, where S3's has none")
    }

    private static func notS3(_ reason: String) -> String {
        "the answer is not S3's: \(reason); is the endpoint S3's, or does a proxy answer in its place?"
    }
}
