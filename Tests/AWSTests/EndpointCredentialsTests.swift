import HTTPClient
import Testing

@testable import AWS

@Suite struct ContainerCredentialsTests {
    @Test func ecsIsAskedByItsPath() async throws {
        let fixture = try SourcesFixture(
            ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/1?a=b"],
            [ScriptedTransport.answer(200, SourcesFixture.json)])
        #expect(try await fixture.load(3) == SourcesFixture.expected)
        #expect(fixture.transport.sent[0].url == "http://169.254.170.2/v2/credentials/1?a=b")
        #expect(fixture.transport.sent[0].header("Authorization") == nil)
    }

    @Test func eksIsAskedWithItsToken() async throws {
        let variables = [
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/token", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "other",
        ]
        let fixture = try SourcesFixture(
            variables, files: ["/token": "jwt\n"], [ScriptedTransport.answer(200, SourcesFixture.json)])
        #expect(try await fixture.load(3) == SourcesFixture.expected)
        #expect(fixture.transport.sent[0].header("Authorization") == "jwt")
        let plain = try SourcesFixture(
            variables.filter { !$0.key.hasSuffix("FILE") }, [ScriptedTransport.answer(200, SourcesFixture.json)])
        _ = try await plain.load(3)
        #expect(plain.transport.sent[0].header("Authorization") == "other")
        #expect(try await SourcesFixture(variables).failure(3) == .failed("there is no file /token"))
    }

    @Test func withoutTLSItIsNearby() async throws {
        for (host, isAllowed) in [
            ("127.0.0.1", true), ("127.255.0.9:99", true), ("localhost", true), ("[::1]", true),
            ("169.254.170.2", true),
            ("[fd00:ec2::23]:80", true), ("169.254.169.254", false), ("example.com", false),
            ("127.0.0.1.evil.org", false),
            ("127.evil", false), ("localhost.evil.org", false), ("[fd00:ec2::24]", false), ("128.0.0.1", false),
        ] {
            let http = ["AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://\(host)/x"]
            if isAllowed {
                #expect(
                    try await SourcesFixture(http, [ScriptedTransport.answer(200, SourcesFixture.json)]).load(3)
                        == SourcesFixture.expected)
            } else {
                let failure = try await SourcesFixture(http).failure(3)
                #expect(failure.kind == .failed && failure.reason.contains("by http"), "\(host)")
            }
            let https = ["AWS_CONTAINER_CREDENTIALS_FULL_URI": "https://\(host)/x"]
            #expect(
                try await SourcesFixture(https, [ScriptedTransport.answer(200, SourcesFixture.json)]).load(3)
                    == SourcesFixture.expected)
        }
    }

    @Test func faultsAreSaid() async throws {
        #expect(try await SourcesFixture([:]).failure(3).kind == .notConfigured)
        let relative = ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "@evil.org/"]
        #expect(
            try await SourcesFixture(relative).failure(3)
                == .failed("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with /"))
        let uri = ["AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1/x"]
        let split = uri.merging(["AWS_CONTAINER_AUTHORIZATION_TOKEN": "sesame\r\nX: y"]) { $1 }
        let failure = try await SourcesFixture(split).failure(3)
        #expect(failure.kind == .failed && !failure.reason.contains("sesame"))
        for (answer, reason) in [
            (
                #"{"AccessKeyId":"A","SecretAccessKey":"sesame"}"#,
                "the container endpoint's answer has no session token"
            ),
            (#"{"AccessKeyId":"A","Token":"t"}"#, "the container endpoint's answer has no SecretAccessKey"),
            ("[]", "the container endpoint's answer is not JSON with credentials"),
            (
                #"{"AccessKeyId":"A","SecretAccessKey":"sesame","Token":"t","Expiration":"soon"}"#,
                "the container endpoint's answer has an Expiration that is no time"
            ),
        ] {
            #expect(
                try await SourcesFixture(uri, [ScriptedTransport.answer(200, answer)]).failure(3) == .failed(reason))
        }
        let denied = ScriptedTransport.answer(404, #"{"code":"NotFound","message":"no role"}"#)
        #expect(
            try await SourcesFixture(uri, [denied]).failure(3)
                == .failed("http://127.0.0.1 answered HTTP 404 (NotFound: no role)"))
    }

    @Test func brokenAnswersAreReadWithoutHarm() {
        var random = SeededGenerator(seed: 13)
        let seeds = [Array(SourcesFixture.json.utf8), Array(SourcesFixture.xml.utf8)]
        for round in 0..<20_000 {
            let body = random.mutated(seeds[round % 2])
            let credentials =
                round % 2 == 0
                ? try? CredentialsTransfer.credentials(json: body, from: "x")
                : try? CredentialsTransfer.credentials(xml: body, from: "x")
            guard let credentials else { continue }
            if credentials.accessKeyID.isEmpty || credentials.secretAccessKey.isEmpty { Issue.record("empty parts") }
        }
    }
}

@Suite struct InstanceMetadataCredentialsTests {
    private static let token = ScriptedTransport.answer(200, "TOKEN==\n")
    private static let role = ScriptedTransport.answer(200, "my+role@x\n")

    @Test func theTokenComesFirst() async throws {
        let fixture = try SourcesFixture(
            [:], [Self.token, Self.role, ScriptedTransport.answer(200, SourcesFixture.json)])
        #expect(try await fixture.load(4) == SourcesFixture.expected)
        let sent = fixture.transport.sent
        let path = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"
        #expect(sent.map(\.url) == ["http://169.254.169.254/latest/api/token", path, path + "my+role@x"])
        #expect(sent.map(\.method) == ["PUT", "GET", "GET"])
        #expect(sent[0].header("X-aws-ec2-metadata-token-ttl-seconds") == "21600")
        #expect(sent[1...].allSatisfy { $0.header("X-aws-ec2-metadata-token") == "TOKEN==" })
        #expect(sent.allSatisfy { $0.timeout == .seconds(1) })
    }

    @Test func itsPlaceCanBeSet() async throws {
        for (variables, origin) in [
            (["AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1338/"], "http://127.0.0.1:1338"),
            (["AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"], "http://[fd00:ec2::254]"),
        ] {
            let fixture = try SourcesFixture(
                variables, [Self.token, Self.role, ScriptedTransport.answer(200, SourcesFixture.json)])
            _ = try await fixture.load(4)
            #expect(fixture.transport.sent.allSatisfy { $0.origin == origin })
        }
    }

    @Test func faultsAreSaid() async throws {
        let off = try SourcesFixture(["AWS_EC2_METADATA_DISABLED": "True"])
        #expect(try await off.failure(4) == .notConfigured("AWS_EC2_METADATA_DISABLED is true"))
        let elsewhere = try SourcesFixture([:], Array(repeating: ScriptedTransport.failure(28), count: 2))
        #expect(
            try await elsewhere.failure(4) == .failed("http://169.254.169.254 did not answer: curl says (curl 28)"))
        let without = try SourcesFixture([:], [Self.token, ScriptedTransport.answer(404)])
        #expect(try await without.failure(4) == .failed("http://169.254.169.254 answered HTTP 404 (404)"))
        for roles in ["\n", "../../user-data", "<html>"] {
            let empty = try SourcesFixture([:], [Self.token, ScriptedTransport.answer(200, roles)])
            #expect(
                try await empty.failure(4) == .failed("http://169.254.169.254: no role is attached to this instance"))
        }
        let split = try SourcesFixture([:], [ScriptedTransport.answer(200, "a\r\nX: y")])
        #expect(try await split.failure(4) == .failed("http://169.254.169.254 gave no token for its version 2"))
        let failed = #"{"Code":"AssumeRoleUnauthorizedAccess","Message":"no"}"#
        let role = ScriptedTransport.answer(200, "role")
        let refused = try SourcesFixture([:], [Self.token, role, ScriptedTransport.answer(200, failed)])
        #expect(
            try await refused.failure(4) == .failed("the instance's metadata says AssumeRoleUnauthorizedAccess: no"))
        let mode = try SourcesFixture(["AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "x"])
        #expect(try await mode.failure(4).reason.contains("it would be IPv4 or IPv6"))
    }
}
