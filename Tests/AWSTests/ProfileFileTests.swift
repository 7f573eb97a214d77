import Testing

@testable import AWS

@Suite struct ProfileFileTests {
    private func parse(_ text: String, _ kind: ProfileFile.Kind = .config) throws -> ProfileFile {
        try ProfileFile(text, kind: kind, path: "file")
    }

    @Test func sectionsOfConfig() throws {
        let file = try parse(
            """
            # a comment
            ; another
            [default]
            Region = eu-west-1   # where we are
            output=json

            [profile  with space ]
            region=us-east-1 ; or not
            aws_secret_access_key = a#b;c=
            [profile "quoted name"]
            services = local
            [other]
            region = x
            [sso-session s]
            sso_region = y
            [services local]
            dynamodb =
              endpoint_url = http://127.0.0.1:8000
            s3 =
              endpoint_url = http://127.0.0.1:9000
              other = 1
            """)
        #expect(file.profiles["default"]?.settings == ["region": "eu-west-1", "output": "json"])
        #expect(
            file.profiles["with space"]?.settings
                == ["region": "us-east-1", "aws_secret_access_key": "a#b;c="])
        #expect(file.profiles["quoted name"]?.settings == ["services": "local"])
        #expect(file.profiles.count == 3)
        #expect(file.services["local"]?.nested["dynamodb"] == ["endpoint_url": "http://127.0.0.1:8000"])
        #expect(file.services["local"]?.nested["s3"]?.count == 2)
    }

    @Test func sectionsOfCredentials() throws {
        let file = try parse(
            "[default]\naws_access_key_id=A\n[ b ]\r\naws_access_key_id = B\n[profile c]\nx=y\n", .credentials)
        #expect(file.profiles["default"]?.settings == ["aws_access_key_id": "A"])
        #expect(file.profiles["b"]?.settings == ["aws_access_key_id": "B"])
        #expect(file.profiles.count == 2)
    }

    @Test func profileDefaultGoesBeforeDefault() throws {
        for text in [
            "[default]\na=1\n[profile default]\na=2\n", "[profile default]\na=2\n[default]\na=1\n",
            "[profile default]\n[profile default]\na=2",
        ] { #expect(try parse(text).profiles["default"]?.settings == ["a": "2"]) }
    }

    @Test func aSectionMayBeContinued() throws {
        let file = try parse("[profile a]\nx=1\ny=1\n[profile b]\n[profile a]\nx=2\n")
        #expect(file.profiles["a"]?.settings == ["x": "2", "y": "1"])
        #expect(file.profiles["b"]?.settings == [:])
    }

    @Test func credentialsGoBeforeConfig() throws {
        let merged = ProfileFile.merged(
            config: try parse("[default]\nregion=r\naws_access_key_id=old\n[profile c]\n"),
            credentials: try parse("[default]\naws_access_key_id=new\n[d]\n", .credentials))
        #expect(merged.profiles["default"]?.settings == ["region": "r", "aws_access_key_id": "new"])
        #expect(Set(merged.profiles.keys) == ["default", "c", "d"])
    }

    /// What is wrong is said with its place, and without what stands there: it may be a secret.
    @Test(arguments: [
        ("[default\n", "file, line 1: the section's ] is missing"),
        ("[default]\nsesame\n", "file, line 2: neither a [section] nor name = value"),
        ("\n\n= sesame\n", "file, line 3: neither a [section] nor name = value"),
        ("sesame = sesame\n", "file, line 1: a setting before any [section]"),
    ])
    func faultsAreNamed(text: String, message: String) {
        #expect(throws: AWSConfigurationError(message)) { try parse(text) }
    }

    @Test func brokenFilesAreReadWithoutHarm() {
        var random = SeededGenerator(seed: 11)
        let seed = Array(
            "[default]\nregion = r # c\n[profile \"a b\"]\nservices=s\n[services s]\ns3 =\n  endpoint_url = u\n;x\n"
                .utf8)
        for _ in 0..<20_000 {
            let text = String(decoding: random.mutated(seed), as: UTF8.self)
            for kind in [ProfileFile.Kind.config, .credentials] {
                guard let file = try? ProfileFile(text, kind: kind, path: "f") else { continue }
                for profile in file.profiles.values where profile.settings.keys.contains("") {
                    Issue.record("a setting without name in \(text)")
                }
            }
        }
    }
}
