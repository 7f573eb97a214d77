import HTTPClient
import Testing

@testable import AWS

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
        let fixture = try fixture(config + "\n" + Self.keys, [:], [ScriptedTransport.answer(200, SourcesFixture.xml)])
        #expect(try await fixture.load(2) == SourcesFixture.expected)
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
            config + "\n" + Self.keys, [:],
            Array(repeating: ScriptedTransport.answer(200, SourcesFixture.xml), count: 2))
        #expect(try await fixture.load(2) == SourcesFixture.expected)
        let signers = fixture.transport.sent.map { $0.header("Authorization")?.contains("Credential=A/") == true }
        #expect(signers == [true, false] && fixture.form["RoleArn"] == "last")
    }

    @Test func aRoleIsAssumedByOtherSources() async throws {
        let environment = try fixture(
            "[default]\nrole_arn=r\ncredential_source=Environment\n",
            ["AWS_ACCESS_KEY_ID": "E", "AWS_SECRET_ACCESS_KEY": "s"],
            [ScriptedTransport.answer(200, SourcesFixture.xml)])
        #expect(try await environment.load(2) == SourcesFixture.expected)
        #expect(environment.transport.sent[0].header("Authorization")?.contains("Credential=E/") == true)

        let web = try fixture(
            "[default]\nrole_arn=r\nweb_identity_token_file=/token\n", [:],
            [ScriptedTransport.answer(200, SourcesFixture.xml)])
        #expect(try await web.load(2) == SourcesFixture.expected && web.form["WebIdentityToken"] == "t")

        let container = try fixture(
            "[default]\nrole_arn=r\ncredential_source=EcsContainer\n",
            ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/c"],
            [ScriptedTransport.answer(200, SourcesFixture.json), ScriptedTransport.answer(200, SourcesFixture.xml)])
        #expect(try await container.load(2) == SourcesFixture.expected)
    }

    @Test func whatSTSRefusesIsSaid() async throws {
        let refusal = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
        let fixture = try fixture(
            "[default]\nrole_arn=r\nsource_profile=default\n" + Self.keys, [:],
            [ScriptedTransport.answer(403, refusal)])
        #expect(try await fixture.failure(2) == .failed("AssumeRole: AccessDenied (HTTP 403): no"))
    }
}
