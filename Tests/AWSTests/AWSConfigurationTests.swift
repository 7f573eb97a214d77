import Foundation
import Testing

@testable import AWS

extension AWSConfiguration {
    /// From variables and the text of files by path.
    static func test(_ variables: [String: String], files: [String: String] = [:]) throws -> AWSConfiguration {
        try AWSConfiguration(environment: .test(variables, files: files))
    }
}

extension AWSEnvironment {
    static func test(_ variables: [String: String], files: [String: String] = [:]) -> AWSEnvironment {
        AWSEnvironment(variables: variables) { path in files[path].map { Array($0.utf8) } }
    }
}

@Suite struct AWSConfigurationTests {
    private static let home = ["HOME": "/home/u"]

    private func origin(
        _ service: AWSServiceName, _ variables: [String: String], config: String = ""
    ) throws -> String {
        try AWSConfiguration.test(
            variables.merging(Self.home) { $1 }, files: ["/home/u/.aws/config": config]
        ).origin(of: service)
    }

    @Test func theRegionIsFoundInOrder() throws {
        let files = ["/home/u/.aws/config": "[default]\nregion = eu-north-1\n[profile p]\nregion=ap-south-1\n"]
        func region(_ variables: [String: String]) throws -> String {
            try AWSConfiguration.test(variables.merging(Self.home) { $1 }, files: files).region()
        }
        #expect(try region(["AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-west-2"]) == "us-east-1")
        #expect(try region(["AWS_REGION": " ", "AWS_DEFAULT_REGION": "us-west-2"]) == "us-west-2")
        #expect(try region([:]) == "eu-north-1")
        #expect(try region(["AWS_PROFILE": "p"]) == "ap-south-1")
        let none = AWSConfigurationError(
            "no AWS region: set AWS_REGION, for example to eu-west-1, or region in the profile \"default\"")
        #expect(throws: none) { try AWSConfiguration.test([:]).region() }
        for wrong in ["eu west", "eu-west-1.evil.example/", "-x", "EU", String(repeating: "a", count: 64)] {
            #expect(throws: AWSConfigurationError.self) { try AWSConfiguration.test(["AWS_REGION": wrong]).region() }
        }
    }

    @Test func hostsAreThoseOfThePartition() throws {
        #expect(try origin(.dynamoDB, ["AWS_REGION": "eu-west-1"]) == "https://dynamodb.eu-west-1.amazonaws.com")
        #expect(try origin(.s3, ["AWS_REGION": "us-east-1"]) == "https://s3.us-east-1.amazonaws.com")
        #expect(try origin(.s3, ["AWS_REGION": "cn-north-1"]) == "https://s3.cn-north-1.amazonaws.com.cn")
        #expect(
            try origin(.dynamoDB, ["AWS_REGION": "us-gov-west-1"]) == "https://dynamodb.us-gov-west-1.amazonaws.com")
        #expect(
            try origin(.dynamoDB, ["AWS_REGION": "eusc-de-east-1"]) == "https://dynamodb.eusc-de-east-1.amazonaws.eu")
        #expect(
            try origin(.dynamoDB, ["AWS_REGION": "us-isob-east-1"]) == "https://dynamodb.us-isob-east-1.sc2s.sgov.gov")
        #expect(try origin(.sts, [:]) == "https://sts.amazonaws.com")
        let dual = ["AWS_REGION": "eu-west-1", "AWS_USE_DUALSTACK_ENDPOINT": "true"]
        #expect(try origin(.dynamoDB, dual) == "https://dynamodb.eu-west-1.api.aws")
        #expect(try origin(.s3, dual) == "https://s3.dualstack.eu-west-1.amazonaws.com")
        let secure = ["AWS_REGION": "us-east-1", "AWS_USE_FIPS_ENDPOINT": "TRUE"]
        #expect(try origin(.dynamoDB, secure) == "https://dynamodb-fips.us-east-1.amazonaws.com")
        #expect(
            try origin(.s3, secure.merging(dual) { old, _ in old })
                == "https://s3-fips.dualstack.us-east-1.amazonaws.com")
    }

    @Test func endpointsAreFoundInOrder() throws {
        let config = """
            [default]
            services = local
            endpoint_url = http://profile:1
            [services local]
            s3 =
              endpoint_url = http://service:2
            """
        let region = ["AWS_REGION": "eu-west-1"]
        func with(_ more: [String: String]) -> [String: String] { region.merging(more) { $1 } }
        #expect(try origin(.dynamoDB, region, config: config) == "http://profile:1")
        #expect(try origin(.s3, region, config: config) == "http://service:2")
        let global = with(["AWS_ENDPOINT_URL": "HTTP://Global:3/"])
        #expect(try origin(.s3, global, config: config) == "http://global:3")
        let own = global.merging(["AWS_ENDPOINT_URL_S3": "https://[::1]:4"]) { $1 }
        #expect(try origin(.s3, own, config: config) == "https://[::1]:4")
        #expect(try origin(.dynamoDB, own, config: config) == "http://global:3")
        let ignored = own.merging(["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"]) { $1 }
        #expect(try origin(.s3, ignored, config: config) == "https://s3.eu-west-1.amazonaws.com")
        // An endpoint needs no region.
        #expect(
            try origin(.dynamoDB, ["AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:8000"]) == "http://127.0.0.1:8000")
    }

    @Test(arguments: [
        "127.0.0.1:8000", "ftp://h", "http://", "http://h/path", "http://h?q", "http://h:0", "http://h:x",
        "http://h:99999", "http://h #", "http://[::1", "http://[x]", "http://h\u{e4}", "http://h:80:80", "http://a b",
    ])
    func wrongEndpointsAreRefused(url: String) {
        let error = #expect(throws: AWSConfigurationError.self) {
            try origin(.dynamoDB, ["AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL_DYNAMODB": url])
        }
        #expect(error?.message.hasPrefix("AWS_ENDPOINT_URL_DYNAMODB is \"\(url)\"") == true)
    }

    /// Errors go into logs.
    @Test(arguments: [
        "http://user:hunter2@h", "user:hunter2@h", "http://user:hunter2@h/path", "ftp://hunter2@h",
        "http://h/?@hunter2",
    ])
    func whatMayBeAPasswordIsNotTold(url: String) {
        let error = #expect(throws: AWSConfigurationError.self) {
            try origin(.dynamoDB, ["AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL_DYNAMODB": url])
        }
        #expect(error?.message.hasPrefix("AWS_ENDPOINT_URL_DYNAMODB ") == true)
        #expect(error?.message.contains("hunter2") == false, "\(error?.message ?? "")")
    }

    @Test(arguments: [
        (["AWS_RETRY_MODE": "adaptive"], "AWS_RETRY_MODE (retry_mode) is \"adaptive\": only standard is there"),
        (["AWS_MAX_ATTEMPTS": "0"], "AWS_MAX_ATTEMPTS (max_attempts) is \"0\": it would be 1 to 100"),
        (["AWS_MAX_ATTEMPTS": "x"], "AWS_MAX_ATTEMPTS (max_attempts) is \"x\": it would be 1 to 100"),
        (["AWS_USE_FIPS_ENDPOINT": "yes"], "AWS_USE_FIPS_ENDPOINT is \"yes\": it would be true or false"),
        (
            ["AWS_PROFILE": "nobody"],
            """
            the profile "nobody" is neither in ~/.aws/config nor in ~/.aws/credentials (AWS_CONFIG_FILE, \
            AWS_SHARED_CREDENTIALS_FILE); there are: default, s
            """
        ),
        (["AWS_PROFILE": "s"], "the profile \"s\" names [services gone], which is not there"),
    ])
    func wrongSettingsAreRefused(variables: [String: String], message: String) {
        let files = ["/home/u/.aws/config": "[default]\n[profile s]\nservices=gone\n"]
        #expect(throws: AWSConfigurationError(message)) {
            try AWSConfiguration.test(variables.merging(Self.home) { $1 }, files: files)
        }
    }

    @Test func retriesAreAsConfigured() throws {
        let files = ["/c": "[default]\nmax_attempts = 7\nretry_mode = standard\n"]
        #expect(try AWSConfiguration.test([:]).maximumAttempts == nil)
        #expect(try AWSConfiguration.test(["AWS_CONFIG_FILE": "/c"], files: files).maximumAttempts == 7)
        let both = ["AWS_CONFIG_FILE": "/c", "AWS_MAX_ATTEMPTS": "2", "AWS_RETRY_MODE": "Standard"]
        #expect(try AWSConfiguration.test(both, files: files).maximumAttempts == 2)
    }

    @Test func filesAreReadFromTheDisk() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "aws-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let config = folder.appending(path: "config").path
        let variables = ["AWS_CONFIG_FILE": config]
        #expect(throws: AWSConfigurationError.self) {
            try AWSConfiguration(environment: AWSEnvironment(variables: variables)).region()
        }
        try Data("[default]\nregion = eu-west-3\n".utf8).write(to: URL(filePath: config))
        #expect(try AWSConfiguration(environment: AWSEnvironment(variables: variables)).region() == "eu-west-3")
        try Data([0xff, 0xfe]).write(to: URL(filePath: config))
        #expect(throws: AWSConfigurationError("\(config) is not UTF-8")) {
            try AWSConfiguration(environment: AWSEnvironment(variables: variables))
        }
        try Data(count: AWSEnvironment.maximumFileSize + 1).write(to: URL(filePath: config))
        #expect(throws: AWSConfigurationError("\(config) cannot be read: it has more than 1048576 bytes")) {
            try AWSConfiguration(environment: AWSEnvironment(variables: variables))
        }
        try FileManager.default.removeItem(atPath: config)
        try FileManager.default.createDirectory(atPath: config, withIntermediateDirectories: false)
        let error = #expect(throws: AWSConfigurationError.self) {
            try AWSConfiguration(environment: AWSEnvironment(variables: variables))
        }
        #expect(error?.message.hasPrefix("\(config) cannot be read") == true)
    }

    /// Who opens a pipe waits until somebody writes into it, and nobody may.
    @Test(.timeLimit(.minutes(10))) func onlyRegularFilesAreRead() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "aws-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let (pipe, link) = (folder.appending(path: "pipe").path, folder.appending(path: "link").path)
        #expect(mkfifo(pipe, 0o600) == 0)
        for path in [pipe, "/dev/zero", folder.path] {
            let error = #expect(throws: AWSConfigurationError.self) { try AWSEnvironment.read(path: path) }
            #expect(error?.message == "it is no regular file")
        }
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: pipe)
        #expect(throws: AWSConfigurationError.self) { try AWSEnvironment.read(path: link) }
        // By which people say that there is no such file.
        #expect(try AWSEnvironment.read(path: "/dev/null") == [])
        #expect(try AWSEnvironment.read(path: folder.path + "/none") == nil)
    }
}

@Suite struct TimesTests {
    @Test func datesOfAnswersAreRead() {
        let date = Date(timeIntervalSince1970: 1_440_938_160)
        #expect(AnswerTime.http("Sun, 30 Aug 2015 12:36:00 GMT") == date)
        for text in ["2015-08-30T12:36:00Z", "2015-08-30T12:36:00.123456789Z", "2015-08-30T12:36:00+00:00"] {
            #expect(AnswerTime.iso8601(text) == date)
        }
        #expect(AnswerTime.http("Thu, 29 Feb 2024 00:00:00 GMT") == Date(timeIntervalSince1970: 1_709_164_800))
    }

    @Test(arguments: [
        "", "Sun, 30 Aug 2015 12:36:00", "Sun, 30 Aug 2015 12:36 GMT", "Sun, 30 Foo 2015 12:36:00 GMT",
        "Sun, 31 Feb 2015 12:36:00 GMT", "Sun, 30 Aug 2015 24:36:00 GMT", "Sun, -1 Aug 2015 12:36:00 GMT",
        "Sunday, 30-Aug-15 12:36:00 GMT", "Sun, 30 Aug 99999999999999999999 12:36:00 GMT",
    ])
    func otherTextIsNoHTTPDate(text: String) { #expect(AnswerTime.http(text) == nil) }

    @Test(arguments: [
        "", "2015-08-30", "2015-08-30T12:36:00", "2015-08-30T12:36:00+01:00", "2015-13-30T12:36:00Z",
        "2015-02-29T12:36:00Z", "2015-08-30T12:36:00.xZ", "2015-08-30 12:36:00Z", "T12:36:00Z", "2015-8--30T12:36:00Z",
        "1969-12-31T23:59:59Z", "2015-08-30T12:60:00Z", "Z",
    ])
    func otherTextIsNoISODate(text: String) { #expect(AnswerTime.iso8601(text) == nil) }
}
