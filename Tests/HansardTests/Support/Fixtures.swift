import Foundation

@testable import Hansard

/// Identities and values that tests share; all from fixed numbers.
enum Fixtures {
    static let date = Date(timeIntervalSince1970: 1_750_000_000)
    static let tenantID = TenantID(uuid(1))
    static let keyID = KeyID(SecretFormat.makeName(prefix: "key_", random: Array(0..<16)))
    static let session = SessionID(startedAt: date, random: [UInt8](repeating: 7, count: 10))

    static func uuid(_ number: UInt8) -> UUID {
        UUID(uuid: (0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, number))
    }

    /// The session that began `number` seconds after `date`.
    static func session(_ number: UInt8, salt: UInt8 = 7) -> SessionID {
        SessionID(startedAt: date.addingTimeInterval(Double(number)), random: [UInt8](repeating: salt, count: 10))
    }

    static func final(
        _ sequence: Int,
        _ text: String,
        channel: Int = 0,
        from start: Int = 0,
        through end: Int
    ) -> FinalResult {
        let result = EngineResult.said(text, from: start, through: end, channel: channel)
        return FinalResult(
            sequence: sequence,
            channel: channel,
            start: .milliseconds(start),
            end: .milliseconds(end),
            transcript: text,
            words: result.words,
            confidence: 0.5,
            isSpeechFinal: true,
            engine: "test"
        )
    }

    static func transcript(_ results: [FinalResult], channels: Int = 1, state: SessionState = .completed) -> Transcript
    {
        var options = SessionOptions()
        options.engine = "test"
        options.tags = ["a", "b"]
        return Transcript(
            session: session,
            tenant: tenantID,
            key: keyID,
            startedAt: date,
            endedAt: date.addingTimeInterval(60),
            state: state,
            audioMilliseconds: 60_000,
            sampleRate: 16_000,
            channels: channels,
            options: options,
            region: "test",
            results: results
        )
    }

    static func began(_ id: SessionID = session) -> SpooledSession {
        var options = SessionOptions()
        options.engine = "test"
        return SpooledSession(
            session: id,
            tenant: tenantID,
            key: keyID,
            nonce: uuid(9),
            holder: NodeEpoch(node: "n", epoch: uuid(8)),
            startedAt: id.startedAt,
            options: options,
            region: "test",
            sampleRate: 16_000,
            channels: 1
        )
    }
}
