import EventLoops
import Foundation
import HTTPClient
import Testing

@testable import AWS

@Suite struct EnvironmentCredentialsTests {
    @Test func variablesAreTaken() async throws {
        let both = ["AWS_ACCESS_KEY_ID": " A\n", "AWS_SECRET_ACCESS_KEY": "s"]
        #expect(try await SourcesFixture(both).load(0) == AWSCredentials(accessKeyID: "A", secretAccessKey: "s"))
        let all = both.merging(["AWS_SESSION_TOKEN": "t"]) { $1 }
        #expect(try await SourcesFixture(all).load(0).sessionToken == "t")
        #expect(try await SourcesFixture([:]).failure(0) == .notConfigured("AWS_ACCESS_KEY_ID is not set"))
        for missing in both.keys {
            let failure = try await SourcesFixture(both.filter { $0.key != missing }).failure(0)
            #expect(failure.kind == .failed && failure.reason.hasSuffix("\(missing) is not"))
            #expect(try await SourcesFixture(both.merging([missing: ""]) { $1 }).failure(0) == failure)
        }
    }
}

@Suite struct WebIdentityCredentialsTests {
    private static let variables = [
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/r", "AWS_REGION": "eu-west-1",
    ]
    private static let files = ["/token": "header.payload.signature\n"]

    @Test func aTokenIsExchanged() async throws {
        let fixture = try SourcesFixture(
            Self.variables, files: Self.files, [ScriptedTransport.answer(200, SourcesFixture.xml)])
        #expect(try await fixture.load(1) == SourcesFixture.expected)
        let sent = fixture.transport.sent[0]
        #expect(sent.url == "https://sts.eu-west-1.amazonaws.com/" && sent.method == "POST")
        #expect(sent.header("Authorization") == nil)
        #expect(sent.header("Content-Type") == "application/x-www-form-urlencoded; charset=utf-8")
        #expect(
            fixture.form == [
                "Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": "arn:aws:iam::1:role/r",
                "RoleSessionName": "server", "WebIdentityToken": "header.payload.signature",
            ])
    }

    @Test func settingsOfTheSessionAndEndpointAreKept() async throws {
        let more = ["AWS_ROLE_SESSION_NAME": "me", "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:5000"]
        let fixture = try SourcesFixture(
            Self.variables.merging(more) { $1 }, files: Self.files, [ScriptedTransport.answer(200, SourcesFixture.xml)])
        _ = try await fixture.load(1)
        #expect(fixture.form["RoleSessionName"] == "me" && fixture.transport.sent[0].origin == "http://127.0.0.1:5000")
    }

    @Test func faultsAreSaid() async throws {
        #expect(
            try await SourcesFixture([:]).failure(1) == .notConfigured("AWS_WEB_IDENTITY_TOKEN_FILE is not set"))
        #expect(
            try await SourcesFixture(["AWS_WEB_IDENTITY_TOKEN_FILE": "/token"]).failure(1)
                == .failed("AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not"))
        #expect(try await SourcesFixture(Self.variables).failure(1) == .failed("there is no file /token"))
        for (text, reason) in [("", "/token is empty"), ("a b", "/token holds more than one token")] {
            #expect(try await SourcesFixture(Self.variables, files: ["/token": text]).failure(1) == .failed(reason))
        }
        let refusal = """
            <ErrorResponse><Error><Code>AccessDenied</Code><Message>Not authorized</Message></Error></ErrorResponse>
            """
        let refused = try SourcesFixture(Self.variables, files: Self.files, [ScriptedTransport.answer(403, refusal)])
        #expect(
            try await refused.failure(1)
                == .failed("https://sts.eu-west-1.amazonaws.com answered HTTP 403 (AccessDenied: Not authorized)"))
        let odd = try SourcesFixture(Self.variables, files: Self.files, [ScriptedTransport.answer(200, "<html>")])
        #expect(try await odd.failure(1) == .failed("STS's answer has no AccessKeyId"))
    }

    @Test func whatPassesIsTriedAgain() async throws {
        let busy = "<ErrorResponse><Error><Code>IDPCommunicationError</Code></Error></ErrorResponse>"
        let fixture = try SourcesFixture(
            Self.variables, files: Self.files,
            [
                ScriptedTransport.answer(400, busy), ScriptedTransport.failure(28),
                ScriptedTransport.answer(200, SourcesFixture.xml),
            ])
        #expect(try await fixture.load(1) == SourcesFixture.expected)
        #expect(fixture.slept.withLock { $0 } == [.milliseconds(25), .milliseconds(50)])
        let away = try SourcesFixture(
            Self.variables, files: Self.files,
            Array(repeating: ScriptedTransport.failure(7, wasNotSent: true), count: 3))
        #expect(
            try await away.failure(1)
                == .failed("https://sts.eu-west-1.amazonaws.com did not answer: curl says (curl 7)"))
    }
}

@Suite struct CredentialsChainTests {
    @Test func nothingIsSetUpAndEachSourceIsNamed() async throws {
        let fixture = try SourcesFixture(["AWS_EC2_METADATA_DISABLED": "true"])
        let provider = CredentialsProvider(sources: fixture.sources)
        let error = await #expect(throws: CredentialsError.self) { try await provider.credentials() }
        #expect(
            error?.description == """
                no AWS credentials: environment: AWS_ACCESS_KEY_ID is not set; web identity: \
                AWS_WEB_IDENTITY_TOKEN_FILE is not set; profile "default": it is in neither of the shared files; \
                container: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and _FULL_URI are not set; instance metadata: \
                AWS_EC2_METADATA_DISABLED is true
                """)
    }

    @Test func earlierSourcesGoBeforeLaterOnes() async throws {
        var variables = [
            "AWS_ACCESS_KEY_ID": "E", "AWS_SECRET_ACCESS_KEY": "s", "AWS_WEB_IDENTITY_TOKEN_FILE": "/t",
            "AWS_ROLE_ARN": "r", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/c", "AWS_REGION": "eu-west-1",
        ]
        var files = ["/t": "t", "/h/.aws/credentials": "[default]\naws_access_key_id=P\naws_secret_access_key=s\n"]
        func origins() async throws -> (String, [String]) {
            let answer: ScriptedTransport.Answer = { request in
                let isSTS = request.origin.contains("sts")
                return TransferResponse(
                    status: 200, body: Array((isSTS ? SourcesFixture.xml : SourcesFixture.json).utf8))
            }
            let fixture = try SourcesFixture(variables, files: files, [answer])
            let clock = AWSClock(machine: { Date(timeIntervalSince1970: 1_440_938_160) })
            let provider = CredentialsProvider(sources: fixture.sources, clock: clock)
            return (try await provider.credentials().accessKeyID, fixture.transport.sent.map(\.origin))
        }
        #expect(try await origins() == ("E", []))
        variables["AWS_ACCESS_KEY_ID"] = nil
        variables["AWS_SECRET_ACCESS_KEY"] = nil
        #expect(try await origins() == ("ASIA1", ["https://sts.eu-west-1.amazonaws.com"]))
        variables["AWS_WEB_IDENTITY_TOKEN_FILE"] = nil
        #expect(try await origins() == ("P", []))
        files["/h/.aws/credentials"] = nil
        #expect(try await origins() == ("ASIA1", ["http://169.254.170.2"]))
    }

    @Test func aServiceIsMadeOfTheConfiguration() async throws {
        let configuration = try AWSConfiguration.test([
            "AWS_REGION": "eu-west-1", "AWS_MAX_ATTEMPTS": "1", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9000",
        ])
        let transport = ScriptedTransport([ScriptedTransport.answer(503), ScriptedTransport.answer(200)])
        let credentials = CredentialsProvider(sources: [FixedCredentials(.number(1))])
        let service = try configuration.service(
            .s3, credentials: credentials, transport: transport, clock: AWSClock())
        #expect(
            service.origin == "http://127.0.0.1:9000" && service.signingName == "s3" && service.region == "eu-west-1")
        let request = AWSRequest(
            operation: "GetObject", transfer: TransferRequest(method: "GET", origin: service.origin, path: "/b/k"),
            isRepeatable: true)
        await #expect(throws: AWSError.self) { try await service.call(request) }
        #expect(transport.unused == 1)
    }
}
