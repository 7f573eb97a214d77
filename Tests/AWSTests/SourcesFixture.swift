import EventLoops
import Foundation
import HTTPClient
import Testing

@testable import AWS

/// The sources of a configuration, over a scripted network.
struct SourcesFixture {
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

/// What the scripted network answers, and what that means.
extension SourcesFixture {
    private static let end = "2015-08-30T13:36:00Z"
    private static let ended = Date(timeIntervalSince1970: 1_440_941_760)
    static let expected = AWSCredentials(
        accessKeyID: "ASIA1", secretAccessKey: "sesame", sessionToken: "open", expiration: ended)
    static let json = #"""
        {"Code":"Success","AccessKeyId":"ASIA1","SecretAccessKey":"sesame","Token":"open","Expiration":"\#(end)"}
        """#
    static let xml = """
        <AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
        <AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>sesame</SecretAccessKey><SessionToken>open</SessionToken>
        <Expiration>\(end)</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>
        """
}
