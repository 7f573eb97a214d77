import Foundation
import Testing

@testable import Hansard

@Suite struct IdentifierTests {
    @Test func aSessionIDIsAVersion7UUID() {
        var random = SeededGenerator(seed: 4)
        for _ in 0..<100 {
            let id = SessionID(startedAt: Fixtures.date, random: random.bytes(10)).rawValue.uuid
            #expect(id.6 >> 4 == 7 && id.8 >> 6 == 2)
        }
        // The example of RFC 9562 appendix A.6.
        let id = SessionID(
            startedAt: Date(timeIntervalSince1970: 1_645_557_742),
            random: [0x0C, 0xC3, 0x18, 0xC4, 0xDC, 0x0C, 0x0C, 0x07, 0x39, 0x8F]
        )
        #expect(id.description == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f")
    }

    /// Dates are binary fractions of a second; the id must not lose a millisecond to them.
    @Test func theStartSurvivesTheIDToTheMillisecond() {
        for millisecond in Int64(1_750_000_000_000)..<1_750_000_002_000 {
            let start = Date(timeIntervalSince1970: Double(millisecond) / 1_000)
            let id = SessionID(startedAt: start, random: [UInt8](repeating: 0, count: 10))
            #expect(Int64((id.startedAt.timeIntervalSince1970 * 1_000).rounded()) == millisecond)
            #expect(SessionID(startedAt: id.startedAt, random: [UInt8](repeating: 0, count: 10)) == id)
        }
    }

    @Test func sessionIDsSortByTheirStart() {
        let ids = (0..<100).map { Fixtures.session(UInt8($0)).description }
        #expect(ids == ids.sorted())
    }

    @Test func aSessionIDReadsWhatItWrites() {
        let id = Fixtures.session
        #expect(SessionID(id.description) == id && SessionID(id.description.uppercased()) == id)
        for text in ["", "x", id.description + "0", String(id.description.dropLast()), "../../etc/passwd", " \(id)"] {
            #expect(SessionID(text) == nil, "'\(text)'")
        }
    }

    @Test func aTimeBeforeTheEpochIsTheEpoch() {
        let id = SessionID(startedAt: Date(timeIntervalSince1970: -5), random: [UInt8](repeating: 0, count: 10))
        #expect(id.startedAt == Date(timeIntervalSince1970: 0))
    }

    @Test func identitiesAreCodedAsBareLowerCaseText() throws {
        func text(_ value: some Encodable) throws -> String {
            String(decoding: try JSONEncoder().encode(value), as: UTF8.self)
        }
        #expect(try text(Fixtures.tenantID) == "\"\(Fixtures.tenantID)\"")
        #expect(try text(Fixtures.session) == "\"\(Fixtures.session.description.lowercased())\"")
        #expect(try text(ConnectionID(Fixtures.uuid(3))) == "\"00000000-0000-4000-8000-000000000003\"")
        #expect(try text(KeyID("key_x")) == "\"key_x\"")
        let read = try JSONDecoder().decode(SessionID.self, from: JSONEncoder().encode(Fixtures.session))
        #expect(read == Fixtures.session)
    }

    @Test(arguments: ["node-1", "", "a#b", "#", "köln"]) func anEpochReadsWhatItWrites(node: String) {
        let epoch = NodeEpoch(node: node, epoch: Fixtures.uuid(5))
        #expect(NodeEpoch(epoch.description) == epoch)
    }

    @Test(arguments: ["", "node", "node#", "node#x", "00000000-0000-4000-8000-000000000003"])
    func otherTextIsNoEpoch(text: String) {
        #expect(NodeEpoch(text) == nil)
    }
}

@Suite struct ObjectNameTests {
    struct Store: TranscriptStore {
        func put(_ transcript: Transcript) async throws -> String { "" }
        func get(_ session: SessionID, tenant: TenantID) async throws -> Transcript? { nil }
        func list(tenant: TenantID, before: SessionID?, limit: Int) async throws -> [TranscriptEntry] { [] }
        func delete(_ session: SessionID, tenant: TenantID) async throws {}
        func checkHealth() async throws {}
    }

    @Test(arguments: [
        (0.0, "1970/01/01"), (1_709_164_800, "2024/02/29"), (1_735_689_599.999, "2024/12/31"),
        (1_735_689_600, "2025/01/01"),
    ]) func theDayIsThatOfTheStartInUTC(seconds: Double, day: String) {
        let id = SessionID(startedAt: Date(timeIntervalSince1970: seconds), random: [UInt8](repeating: 1, count: 10))
        #expect(Store.dayPath(of: Date(timeIntervalSince1970: seconds)) == day)
        #expect(Store.objectName(id, tenant: Fixtures.tenantID) == "\(Fixtures.tenantID)/\(day)/\(id).json")
    }
}
