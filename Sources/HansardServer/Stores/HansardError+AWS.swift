import AWS
import Hansard

/// What a call to AWS concerned, in an operator's words.
struct AWSSubject: Sendable {
    /// For example `the bucket 'transcripts'`.
    var name: String
    /// The setting that names it.
    var setting: String
}

extension HansardError {
    /// When to try again while AWS is away or asks for fewer calls.
    static let awsRetryAfter: Duration = .seconds(1)

    /// What a failure of AWS means to the domain: the one place that decides it, once a store has taken out the answers
    /// that it knows how to go on from.
    ///
    /// Nearly everything is `.unavailable`: whether AWS is away or was set up wrongly, what is to be stored waits, and
    /// goes on when people have done what the message says. Only a request that is wrong in itself is a defect of ours.
    init(_ error: AWSError, of subject: AWSSubject) {
        guard let advice = Self.advice(error, subject) else {
            self.init(.internal, "\(subject.name) refuses a request: \(error)")
            return
        }
        self = .storeUnavailable("\(advice) (\(error))", retryAfter: Self.awsRetryAfter)
    }

    /// Runs `body` and states a failure of AWS in the domain's terms.
    @discardableResult static func mapping<Value>(
        _ subject: AWSSubject, _ body: () async throws -> Value
    ) async throws -> Value {
        do {
            return try await body()
        } catch let error as AWSError {
            throw HansardError(error, of: subject)
        }
    }

    /// What has happened and what would help; nil if the request was wrong.
    private static func advice(_ error: AWSError, _ subject: AWSSubject) -> String? {
        let name = subject.name
        if error.isThrottling { return "\(name) asks for fewer calls" }
        switch error.code {
        case DynamoDB.unsuitableTableCode: return "\(name) cannot be used"
        case DynamoDB.unfinishedTableCode: return "\(name) is not ready: run this again later"
        case AWSError.noCredentialsCode: return "there are no AWS credentials for \(name)"
        default: break
        }
        // Curl says why.
        guard let status = error.status else { return "\(name) was not reached" }
        switch error.code {
        case AWSError.unreadableCode, AWSError.redirectedCode:
            return
                "what answers for \(name) is not AWS, or was damaged: check the endpoint, any proxy on the "
                + "way to it and \(subject.setting)"
        case "NoSuchBucket", "ResourceNotFoundException":
            return "\(name) does not exist there: make it with `hansard aws init`, or correct \(subject.setting), "
                + "the region or the endpoint"
        case _ where isClock(error):
            let time = error.detail(.serverTime).map { "; the service's clock says \($0)" } ?? ""
            return "this machine's clock is wrong, so \(name) takes none of its signatures: set the clock (NTP)\(time)"
        case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired":
            return "the AWS credentials have expired: renew them, or use a source that renews itself"
        case "AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect",
            "IllegalLocationConstraintException":
            guard let region = error.detail(.region) else { return "\(name) is in another region: set AWS_REGION" }
            return "\(name) is in the region \(region): set AWS_REGION=\(region)"
        case let code where credentialCodes.contains(code):
            return "the AWS credentials are wrong: check which ones this process finds"
        case let code where code.hasPrefix("KMS"):
            return "\(name) cannot use its encryption key: check HANSARD_S3_KMS_KEY and the key's policy"
        case let code where passingCodes.contains(code): return "\(name) cannot do this now"
        default: break
        }
        switch status {
        case _ where error.code.hasPrefix("AccessDenied"), 401, 403:
            return "\(name) does not let these AWS credentials do this: their policy must allow "
                + permission(for: error.operation)
        case 500...: return "\(name) cannot do this now"
        case 400, 413: return nil
        default: return "\(name) does not answer as it should: check \(subject.setting) and the endpoint"
        }
    }

    private static let passingCodes: Set<String> = [
        "BadDigest", "ChecksumMismatch", "IncompleteBody", "InternalError", "InternalServerError", "NoSuchUpload",
        "OperationAborted", "RequestTimeout", "TransactionInProgressException", "XAmzContentSHA256Mismatch",
    ]

    private static let credentialCodes: Set<String> = [
        "IncompleteSignature", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSignatureException",
        "InvalidToken", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    ]

    /// S3 has a code for it; DynamoDB and STS say it in the message of a wrong signature.
    private static func isClock(_ error: AWSError) -> Bool {
        ["RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"].contains(error.code)
            || error.message.hasPrefix("Signature expired") || error.message.hasPrefix("Signature not yet current")
    }

    /// The action that a policy must allow for an operation
    /// (https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html and
    /// ..._amazondynamodb.html).
    private static func permission(for operation: String) -> String {
        switch operation {
        case "ListObjectsV2": "s3:ListBucket"
        case "PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload":
            "s3:PutObject (and, with a KMS key, kms:GenerateDataKey and kms:Decrypt)"
        case "GetObject", "HeadObject": "s3:GetObject and s3:ListBucket (and, with a KMS key, kms:Decrypt)"
        case "DeleteObject", "AbortMultipartUpload": "s3:\(operation)"
        case "TransactWriteItems":
            "dynamodb:PutItem and dynamodb:UpdateItem"
        default: "dynamodb:\(operation)"
        }
    }
}
