import AWS
import Hansard

extension HansardError {
    /// When to try again while AWS is away or asks for fewer calls.
    static let awsRetryAfter: Duration = .seconds(1)

    /// What a failure of AWS means to the domain: the one place that decides it. What an operator has to put right is
    /// `.unavailable` as well: the data waits and is tried again once it is.
    init(_ error: AWSError) {
        let isDefect = ["ValidationException", "SerializationException", "UnknownOperationException"]
        if isDefect.contains(error.code) {
            self.init(.internal, "\(error)")
        } else {
            self.init(
                .unavailable, Self.advice(error).map { "\(error); \($0)" } ?? "\(error)", retryAfter: Self.awsRetryAfter
            )
        }
    }

    /// What an operator can do about it, if that is known.
    private static func advice(_ error: AWSError) -> String? {
        switch error.code {
        case "ResourceNotFoundException": "the table is made by `hansard aws init`"
        case "NoSuchBucket": "the bucket of HANSARD_TRANSCRIPTS does not exist in this account and region"
        case "AccessDenied", "AccessDeniedException", "AllAccessDisabled":
            "the node's credentials lack this permission: deploy/iam/node.json has those that it needs"
        case "ExpiredToken", "ExpiredTokenException": "the node's credentials have ended: renew them at their source"
        case "InvalidAccessKeyId", "UnrecognizedClientException", "InvalidClientTokenId":
            "AWS does not know the node's access key"
        case "SignatureDoesNotMatch", "InvalidSignatureException":
            "the secret access key is wrong, or this machine's clock is"
        case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
            "AWS_REGION is not the bucket's region"
        default: nil
        }
    }

    /// Runs `body` and states a failure of AWS in the domain's terms.
    static func mappingAWS<Value>(_ body: () async throws -> Value) async throws -> Value {
        do {
            return try await body()
        } catch let error as AWSError {
            throw HansardError(error)
        }
    }
}
