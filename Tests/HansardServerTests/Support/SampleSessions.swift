import Crypto
import Foundation
import Hansard
@testable import HansardServer

/// Sessions, transcripts and keys as tests need them, the same at every run.
enum Sample {
    static let tenant = TenantID(UUID(uuid: (1, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1)))
    static let otherTenant = TenantID(UUID(uuid: (2, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 2)))
    static let key = KeyID("key_" + String(repeating: "0", count: 21) + "1")

    /// The position after so many changes, in the one history that tests without a database know.
    static func position(_ number: Int64) -> AccessPosition {
        AccessPosition(sequence: number, change: session(Int(number)).rawValue)
    }

    /// Session number `number`; a higher number began later.
    static func session(_ number: Int, startedAt: Date? = nil) -> SessionID {
        var random = (0..<10).map { UInt8(truncatingIfNeeded: number >> (8 * min($0, 7))) }
        // Of the first byte an id of this version keeps four bits: sessions of one moment are told apart by the last ones.
        if startedAt != nil { (random[8], random[9]) = (random[1], random[0]) }
        return SessionID(startedAt: startedAt ?? moment(number), random: random)
    }

    static func word(_ text: String, _ start: Int, _ end: Int) -> Word {
        Word(text: text, start: .milliseconds(start), end: .milliseconds(end), confidence: 0.5)
    }

    static func final(_ sequence: Int, _ text: String = "go forward") -> FinalResult {
        FinalResult(
            sequence: sequence, channel: 0, start: .milliseconds(sequence * 1_000),
            end: .milliseconds(sequence * 1_000 + 1_000), transcript: text,
            words: text.split(separator: " ").enumerated().map { index, text in
                word(String(text), sequence * 1_000 + index * 100, sequence * 1_000 + index * 100 + 90)
            }, confidence: 0.75, isSpeechFinal: true, engine: "synthetic")
    }

    static func options(tags: [String] = ["a", "b"]) -> SessionOptions {
        var options = SessionOptions()
        options.engine = "synthetic"
        options.tags = tags
        return options
    }

    static func transcript(
        _ session: SessionID, tenant: TenantID = Sample.tenant, finals: [FinalResult] = [final(0), final(1)],
        state: SessionState = .completed
    ) -> Transcript {
        Transcript(
            session: session, tenant: tenant, key: key, startedAt: session.startedAt,
            endedAt: session.startedAt + 2, state: state, audioMilliseconds: 2_000, sampleRate: 16_000, channels: 1,
            options: options(), region: "local", results: finals)
    }

    static func lease(_ session: SessionID, holder: NodeEpoch, tenant: TenantID = Sample.tenant) -> Lease {
        Lease(
            tenant: tenant, session: session, connection: ConnectionID(UUID()), key: key, holder: holder,
            nonce: session.rawValue, address: "", region: "local", claimedAt: session.startedAt)
    }

    static func began(_ session: SessionID, holder: NodeEpoch, tags: [String] = ["a", "b"]) -> SpooledSession {
        SpooledSession(
            session: session, tenant: tenant, key: key, nonce: session.rawValue, holder: holder,
            startedAt: session.startedAt, options: options(tags: tags), region: "local", sampleRate: 16_000, channels: 1
        )
    }

    /// The end of a session with two finals, or of one without audio.
    static func end(
        _ session: SessionID, holder: NodeEpoch, hasAudio: Bool = true, tags: [String] = ["a", "b"]
    ) -> SessionEnd {
        let usage = UsageRow(
            session: session, tenant: tenant, key: key, engine: "synthetic", model: "general", language: "en",
            tags: tags,
            region: "local", channels: 1, audioMilliseconds: hasAudio ? 2_000 : 0, connectedMilliseconds: 2_500,
            startedAt: session.startedAt, endedAt: session.startedAt + 2)
        let end = SpooledEnd(
            transcript: hasAudio ? transcript(session) : nil, usage: usage, state: .completed, reason: "")
        return SessionEnd(lease: lease(session, holder: holder), end: end, finals: hasAudio ? 2 : 0)
    }

    static func epoch(_ node: String = "node-1", _ number: UInt8 = 1) -> NodeEpoch {
        NodeEpoch(node: node, epoch: UUID(uuid: (number, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 0)))
    }

    /// A well-formed secret whose random part is `number` throughout.
    static func secret(_ number: UInt8, _ kind: SecretFormat.Kind = .liveKey) -> String {
        SecretFormat.make(kind, random: [UInt8](repeating: number, count: SecretFormat.randomBytes))
    }

    /// A key with `secret(number)` and the name of that number.
    static func apiKey(
        _ number: UInt8, tenant: TenantID = Sample.tenant, scopes: Set<Scope> = Set(Scope.allCases),
        isEnabled: Bool = true, expiresAt: Date? = nil
    ) -> (SecretDigest, APIKey) {
        let name = SecretFormat.makeName(
            prefix: "key_", random: [UInt8](repeating: number, count: SecretFormat.nameBytes))
        let key = APIKey(
            id: KeyID(name), tenant: tenant, name: "key \(number)", scopes: scopes, displayPrefix: "hsk_live_xxxx",
            displaySuffix: "yyyy", isEnabled: isEnabled, expiresAt: expiresAt, createdAt: moment(0))
        return (SecretDigest(SHA256.hash(Array(secret(number).utf8))), key)
    }
}
