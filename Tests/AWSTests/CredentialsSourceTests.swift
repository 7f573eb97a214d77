import EventLoops
import Foundation
import HTTPClient
import Testing

@testable import AWS

/// The sources of a configuration, over a scripted network.
private struct SourcesFixture {
    let transport: ScriptedTransport
    let sources: [any CredentialsSource]
    let slept = Locked<[Duration]>([])

    init(_ variables: [String: String], files: [String: String] = [:], _ answers: [ScriptedTransport.Answer] = [])
        throws
    {
        transport = ScriptedTransport(answers)
        var effects = AWSService.Effects()
        effects.random = { 0.5 }
        effects.sleep = { [slept] duration in slept.withLock { $0.append(duration) } }
        let clock = AWSClock(machine: { Date(timeIntervalSince1970: 1_440_938_160) })
        let configuration = try AWSConfiguration.test(variables.merging(["HOME": "/h"]) { old, _ in old }, files: files)
        sources = configuration.credentialsSources(
            CredentialsTransfer(transport: transport, clock: clock, effects: effects))
    }

    /// 0: environment, 1: web identity, 2: profile, 3: container, 4: instance metadata.
    func load(_ index: Int) async throws -> AWSCredentials { try await sources[index].load() }

    func failure(_ index: Int) async throws -> CredentialsFailure {
        try #require(await #expect(throws: CredentialsFailure.self) { try await load(index) })
    }

    var form: [String: String] {
        let body = String(decoding: transport.sent.last?.body ?? [], as: UTF8.self)
        return Dictionary(
            uniqueKeysWithValues: body.split(separator: "&").map { pair in
                let parts = pair.split(separator: "=", omittingEmptySubsequences: false)
                return (String(parts[0]), parts[1].removingPercentEncoding ?? "")
            })
    }
}

private let end = "2015-08-30T13:36:00Z"
private let ended = Date(timeIntervalSince1970: 1_440_941_760)
private let expected = AWSCredentials(
    accessKeyID: "ASIA1", secretAccessKey: "sesame", sessionToken: "open", expiration: ended)
private let json = #"""
    {"Code":"Success","AccessKeyId":"ASIA1","SecretAccessKey":"sesame","Token":"open","Expiration":"\#(end)"}
    """#
private let xml = """
    <AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
    <AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>sesame</SecretAccessKey><SessionToken>open</SessionToken>
    <Expiration>\(end)</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>
    """

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
        let fixture = try SourcesFixture(Self.variables, files: Self.files, [ScriptedTransport.answer(200, xml)])
        #expect(try await fixture.load(1) == expected)
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
            Self.variables.merging(more) { $1 }, files: Self.files, [ScriptedTransport.answer(200, xml)])
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
            [ScriptedTransport.answer(400, busy), ScriptedTransport.failure(28), ScriptedTransport.answer(200, xml)])
        #expect(try await fixture.load(1) == expected)
        #expect(fixture.slept.withLock { $0 } == [.milliseconds(25), .milliseconds(50)])
        let away = try SourcesFixture(
            Self.variables, files: Self.files,
            Array(repeating: ScriptedTransport.failure(7, wasNotSent: true), count: 3))
        #expect(
            try await away.failure(1)
                == .failed("https://sts.eu-west-1.amazonaws.com did not answer: curl says (curl 7)"))
    }
}

@Suite struct ProfileCredentialsTests {
    private func fixture(
        _ config: String, credentials: String = "", _ variables: [String: String] = [:],
        _ answers: [ScriptedTransport.Answer] = []
    ) throws -> SourcesFixture {
        let files = ["/h/.aws/config": config, "/h/.aws/credentials": credentials, "/token": "t"]
        return try SourcesFixture(variables.merging(["AWS_REGION": "eu-west-1"]) { $1 }, files: files, answers)
    }

    private static let keys = "aws_access_key_id=A\naws_secret_access_key=s\n"

    @Test func keysAreTaken() async throws {
        let simple = AWSCredentials(accessKeyID: "A", secretAccessKey: "s")
        #expect(try await fixture("", credentials: "[default]\n" + Self.keys).load(2) == simple)
        #expect(try await fixture("[default]\n" + Self.keys).load(2) == simple)
        let named = ["AWS_PROFILE": "p"]
        #expect(
            try await fixture("[profile p]\n" + Self.keys + "aws_session_token=t", named).load(2).sessionToken == "t")
        #expect(try await fixture("[profile p]\n", credentials: "[p]\n" + Self.keys, named).load(2) == simple)
        #expect(try fixture("[profile p]\n", named).sources[2].name == "profile \"p\"")
    }

    @Test func otherPlacesOfTheFiles() async throws {
        let fixture = try SourcesFixture(
            ["AWS_SHARED_CREDENTIALS_FILE": "~/secret"], files: ["/h/secret": "[default]\n" + Self.keys])
        #expect(try await fixture.load(2).accessKeyID == "A")
    }

    @Test(arguments: [
        ("aws_access_key_id=A\n", "the profile \"default\" has aws_access_key_id, but no aws_secret_access_key"),
        (
            "aws_secret_access_key=sesame\n",
            "the profile \"default\" has aws_secret_access_key, but no aws_access_key_id"
        ),
        (
            "credential_process = /bin/echo sesame\n",
            """
            the profile "default" has credential_process, which is not supported: give it keys, or role_arn with a source
            """
        ),
        (
            "sso_session = s\n",
            "the profile \"default\" has sso_session, which is not supported: give it keys, or role_arn with a source"
        ),
        (
            "role_arn=r\n",
            """
            the profile "default" has role_arn, but neither source_profile, credential_source nor web_identity_token_file
            """
        ),
        (
            "role_arn=r\nsource_profile=a\ncredential_source=Environment\n",
            "the profile \"default\" has source_profile and credential_source: take one of them away"
        ),
        (
            "role_arn=r\nsource_profile=gone\n",
            "source_profile of the profile \"default\": there is no \"gone\""
        ),
        (
            "role_arn=r\nsource_profile=a\n[profile a]\nrole_arn=r\nsource_profile=default\n",
            "source_profile goes in circles or too far: default -> a -> default"
        ),
        ("role_arn=r\nsource_profile=a\n[profile a]\n", "the profile \"a\" has no credentials"),
        (
            "role_arn=r\ncredential_source=Moon\n",
            """
            credential_source of the profile "default" is "Moon": it would be Environment, EcsContainer or \
            Ec2InstanceMetadata
            """
        ),
        ("role_arn=r\nmfa_serial=m\n", "the profile \"default\" has mfa_serial: nobody is here to type a code"),
    ])
    func faultsAreSaid(profile: String, reason: String) async throws {
        #expect(try await fixture("[default]\n" + profile).failure(2) == .failed(reason))
    }

    @Test func profilesWithoutCredentialsAreNoFault() async throws {
        #expect(try await fixture("").failure(2) == .notConfigured("it is in neither of the shared files"))
        #expect(
            try await fixture("[default]\nregion=r\n").failure(2)
                == .notConfigured("the profile \"default\" has no credentials"))
    }

    @Test func aRoleIsAssumedByAnotherProfile() async throws {
        let config = """
            [default]
            role_arn = arn:aws:iam::1:role/r
            source_profile = base
            external_id = x y
            duration_seconds = 900
            role_session_name = n
            [profile base]
            """
        let fixture = try fixture(config + "\n" + Self.keys, [:], [ScriptedTransport.answer(200, xml)])
        #expect(try await fixture.load(2) == expected)
        let authorization = fixture.transport.sent[0].header("Authorization")
        #expect(authorization?.contains("Credential=A/20150830/eu-west-1/sts/aws4_request") == true)
        #expect(
            fixture.form == [
                "Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": "arn:aws:iam::1:role/r",
                "RoleSessionName": "n", "DurationSeconds": "900", "ExternalId": "x y",
            ])
    }

    @Test func rolesAreAssumedInAChain() async throws {
        let config = """
            [default]
            role_arn = last
            source_profile = middle
            [profile middle]
            role_arn = first
            source_profile = middle
            """
        let fixture = try fixture(
            config + "\n" + Self.keys, [:], Array(repeating: ScriptedTransport.answer(200, xml), count: 2))
        #expect(try await fixture.load(2) == expected)
        let signers = fixture.transport.sent.map { $0.header("Authorization")?.contains("Credential=A/") == true }
        #expect(signers == [true, false] && fixture.form["RoleArn"] == "last")
    }

    @Test func aRoleIsAssumedByOtherSources() async throws {
        let environment = try fixture(
            "[default]\nrole_arn=r\ncredential_source=Environment\n",
            ["AWS_ACCESS_KEY_ID": "E", "AWS_SECRET_ACCESS_KEY": "s"], [ScriptedTransport.answer(200, xml)])
        #expect(try await environment.load(2) == expected)
        #expect(environment.transport.sent[0].header("Authorization")?.contains("Credential=E/") == true)

        let web = try fixture(
            "[default]\nrole_arn=r\nweb_identity_token_file=/token\n", [:], [ScriptedTransport.answer(200, xml)])
        #expect(try await web.load(2) == expected && web.form["WebIdentityToken"] == "t")

        let container = try fixture(
            "[default]\nrole_arn=r\ncredential_source=EcsContainer\n",
            ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/c"],
            [ScriptedTransport.answer(200, json), ScriptedTransport.answer(200, xml)])
        #expect(try await container.load(2) == expected)
    }

    @Test func whatSTSRefusesIsSaid() async throws {
        let refusal = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
        let fixture = try fixture(
            "[default]\nrole_arn=r\nsource_profile=default\n" + Self.keys, [:],
            [ScriptedTransport.answer(403, refusal)])
        #expect(try await fixture.failure(2) == .failed("AssumeRole: AccessDenied (HTTP 403): no"))
    }
}

@Suite struct ContainerCredentialsTests {
    @Test func ecsIsAskedByItsPath() async throws {
        let fixture = try SourcesFixture(
            ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/1?a=b"], [ScriptedTransport.answer(200, json)])
        #expect(try await fixture.load(3) == expected)
        #expect(fixture.transport.sent[0].url == "http://169.254.170.2/v2/credentials/1?a=b")
        #expect(fixture.transport.sent[0].header("Authorization") == nil)
    }

    @Test func eksIsAskedWithItsToken() async throws {
        let variables = [
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/token", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "other",
        ]
        let fixture = try SourcesFixture(variables, files: ["/token": "jwt\n"], [ScriptedTransport.answer(200, json)])
        #expect(try await fixture.load(3) == expected)
        #expect(fixture.transport.sent[0].header("Authorization") == "jwt")
        let plain = try SourcesFixture(
            variables.filter { !$0.key.hasSuffix("FILE") }, [ScriptedTransport.answer(200, json)])
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
                #expect(try await SourcesFixture(http, [ScriptedTransport.answer(200, json)]).load(3) == expected)
            } else {
                let failure = try await SourcesFixture(http).failure(3)
                #expect(failure.kind == .failed && failure.reason.contains("by http"), "\(host)")
            }
            let https = ["AWS_CONTAINER_CREDENTIALS_FULL_URI": "https://\(host)/x"]
            #expect(try await SourcesFixture(https, [ScriptedTransport.answer(200, json)]).load(3) == expected)
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
        let seeds = [Array(json.utf8), Array(xml.utf8)]
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
        let fixture = try SourcesFixture([:], [Self.token, Self.role, ScriptedTransport.answer(200, json)])
        #expect(try await fixture.load(4) == expected)
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
            let fixture = try SourcesFixture(variables, [Self.token, Self.role, ScriptedTransport.answer(200, json)])
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
                return TransferResponse(status: 200, body: Array((isSTS ? xml : json).utf8))
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
