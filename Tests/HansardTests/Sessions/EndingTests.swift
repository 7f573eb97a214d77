import Foundation
import Testing

@testable import Hansard

@Suite struct EndingTests {
    static let all: [Ending] = [
        .closeStream, .clientGone, .idle, .clientTooSlow, .messageTooLarge, .invalidUTF8, .badMessages,
        .badAudio("odd byte count"), .engineFailed, .concurrency(1_000_000), .storeAway, .nodeRestarting, .keyRevoked,
        .keyExpired, .tenantSuspended, .terminated,
    ]

    @Test func theCloseTableOfTheProtocol() {
        let codes = Self.all.map { "\($0.code) \($0.state)" }
        #expect(
            codes == [
                "1000 completed", "1006 interrupted", "1011 interrupted", "1008 interrupted", "1009 failed",
                "1007 failed", "1008 failed", "1008 failed", "1011 failed", "1008 terminated", "1013 interrupted",
                "1012 interrupted", "1008 terminated", "1008 terminated", "1008 terminated", "1008 terminated",
            ]
        )
    }

    @Test func theReasonsThatClientsMatchOn() {
        #expect(Ending.idle.reason.hasSuffix("within the timeout window. See https://dpgr.am/net0001"))
        #expect(Ending.concurrency(2).reason == "quota: 2 concurrent sessions")
        let rate = LimitReached(owner: .key(KeyID("key_1")), kind: .newSessionsPerMinute, limit: 20)
        #expect(Ending.limit(rate).reason == "quota: 20 new sessions per minute")
        #expect(Ending.badAudio("x").reason == "DATA-0000 x")
    }

    /// RFC 6455 section 5.5: a control frame carries 125 bytes, two of which are the code.
    @Test func everyReasonFitsIntoACloseFrame() {
        for ending in Self.all { #expect(ending.reason.utf8.count <= 123) }
        let long = Ending.badAudio(String(repeating: "ä", count: 200)).reason
        #expect(long.utf8.count <= 123 && long.utf8.count > 120)
        #expect(long.hasPrefix("DATA-0000 ä") && long.hasSuffix("ä"))
    }

    @Test func everyEndingEndsInAnEnd() {
        for ending in Self.all { #expect(ending.state.isEnd) }
        #expect(SessionState.allCases.filter { !$0.isEnd } == [.active, .detached, .storing])
    }
}

extension Ending {
    /// A tenant's limit of sessions at once.
    static func concurrency(_ limit: Int) -> Ending {
        .limit(LimitReached(owner: .tenant(TenantID(UUID())), kind: .concurrentSessions, limit: limit))
    }
}
