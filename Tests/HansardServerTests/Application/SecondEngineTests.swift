import Foundation
import Hansard
import Postgres
import Testing
import Web

@testable import HansardServer

/// A node whose first engine has one slot: who comes second goes on with the second engine, and is told so.
@Suite(.serialized, .timeLimit(.minutes(10))) struct SecondEngineTests {
    private func oneSlot(_ settings: inout Settings) {
        settings.engine = .pocketsphinx
        settings.engineSlots = 1
    }

    private func names(_ client: ListenClient) -> Set<String> {
        Set(
            client.messages("Results").compactMap {
                (($0["metadata"] as? [String: Any])?["model_info"] as? [String: Any])?["name"] as? String
            })
    }

    @Test func theServersSecondEngineServesWhomTheFirstHasNoRoomFor() async throws {
        try await ApplicationFixture.run(settings: {
            oneSlot(&$0)
            $0.fallbackEngine = .synthetic
        }) { fixture, application in
            let first = try await fixture.connect(to: application)
            try await first.opened()
            let second = try await fixture.connect(to: application)
            try await second.opened()
            try await second.send(seconds: 6)
            try await second.wait("a final") { $0.texts.contains { $0.contains("\"is_final\":true") } }
            try await second.send(text: #"{"type":"CloseStream"}"#)
            #expect(try await second.closed().code == 1000)
            #expect(second.finals == ["second1 second2 second3 second4 second5", "second6"])
            #expect(names(second) == ["synthetic"])
            try await first.send(seconds: 1)
            try await first.send(text: #"{"type":"CloseStream"}"#)
            #expect(try await first.closed().code == 1000)
            #expect(names(first) == ["pocketsphinx-en-us"])

            for (client, name, seconds) in [(first, "pocketsphinx", 1), (second, "synthetic", 6)] {
                let text = try #require(client.messages("Metadata").last?["request_id"] as? String)
                let id = try #require(SessionID(text))
                try await eventually("the usage row") {
                    try await fixture.usage.usage(of: id, tenant: Sample.tenant) != nil
                }
                let row = try #require(try await fixture.usage.usage(of: id, tenant: Sample.tenant))
                #expect(row.engine == name)
                #expect(row.engineMilliseconds == Int64(seconds) * 1_000)
                let status = try #require(try await fixture.connections.status(of: id))
                #expect(status.engineMilliseconds == row.engineMilliseconds)
                let body = try await fixture.get("/v1/transcripts/\(id)", from: application).body
                let transcript = try JSONTextTests.parsed(Array(body.utf8))
                #expect(transcript["engine"] as? String == name)
                #expect(transcript["engine_ms"] as? Int == seconds * 1_000)
            }
            let page = try await fixture.get("/metrics", from: application).body
            #expect(page.contains("\nhansard_engine_fallbacks_total 1\n"))
        }
    }

    @Test func aTenantMayHaveASecondOfItsOwnOrNone() async throws {
        try await ApplicationFixture.run(settings: oneSlot) { fixture, application in
            let first = try await fixture.connect(to: application)
            try await first.opened()
            let refused = try await fixture.connect(to: application)
            _ = try await refused.closed()
            #expect(refused.now.refusal?.kind == .refused(status: 503))
            try await fixture.pool.query("UPDATE tenants SET fallback_engine = 'synthetic'")
            try await eventually("it has a second") {
                let client = try await fixture.connect(to: application)
                try await client.wait("an answer") { $0.isOpen || $0.refusal != nil }
                guard client.now.isOpen else { return false }
                try await client.send(seconds: 1)
                try await client.send(text: #"{"type":"CloseStream"}"#)
                return try await client.closed().code == 1000 && names(client) == ["synthetic"]
            }
            try await first.send(text: #"{"type":"CloseStream"}"#)
            #expect(try await first.closed().code == 1000)
        }
    }
}
