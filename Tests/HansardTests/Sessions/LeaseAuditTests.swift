import FoundationEssentials
import Hansard
import Testing

/// Twice in a row, or not at all.
@Suite struct LeaseAuditTests {
    private func lease(_ session: SessionID) -> Lease {
        Lease(
            tenant: TenantID(UUID()), session: session, connection: ConnectionID(UUID()), key: KeyID("key_a"),
            holder: NodeEpoch(node: "a", epoch: UUID()), nonce: UUID(), address: "a:1", region: "r",
            claimedAt: Date(timeIntervalSince1970: 0))
    }

    @Test func whatFitsIsNotFound() {
        var audit = LeaseAudit()
        let sessions = (0..<3).map { _ in SessionID(UUID()) }
        for _ in 0..<3 {
            let findings = audit.compared(
                stored: sessions.map(lease), live: Set(sessions.prefix(2)), settling: [sessions[2]])
            #expect(findings == [])
        }
    }

    @Test func anOrphanIsFoundTheSecondTimeAndUntilItIsGone() {
        var audit = LeaseAudit()
        let orphan = lease(SessionID(UUID()))
        #expect(audit.compared(stored: [orphan], live: [], settling: []) == [])
        #expect(audit.compared(stored: [orphan], live: [], settling: []) == [.orphan(orphan)])
        #expect(audit.compared(stored: [orphan], live: [], settling: []) == [.orphan(orphan)])
        #expect(audit.compared(stored: [], live: [], settling: []) == [])
        #expect(audit.compared(stored: [orphan], live: [], settling: []) == [], "from anew")
    }

    @Test func anInterruptionStartsAnew() {
        var audit = LeaseAudit()
        let session = SessionID(UUID())
        let stored = [lease(session)]
        #expect(audit.compared(stored: stored, live: [], settling: []) == [])
        #expect(audit.compared(stored: stored, live: [], settling: [session]) == [])
        #expect(audit.compared(stored: stored, live: [], settling: []) == [])
        #expect(audit.compared(stored: stored, live: [session], settling: []) == [])
        #expect(audit.compared(stored: [], live: [session], settling: []) == [])
        #expect(audit.compared(stored: stored, live: [session], settling: []) == [])
        #expect(audit.compared(stored: [], live: [session], settling: []) == [])
    }

    @Test func aSessionWithoutASlotIsFoundOnce() {
        var audit = LeaseAudit()
        let session = SessionID(UUID())
        #expect(audit.compared(stored: [], live: [session], settling: []) == [])
        #expect(audit.compared(stored: [], live: [session], settling: []) == [.unheld(session)])
        #expect(audit.compared(stored: [], live: [session], settling: []) == [])
        #expect(audit.compared(stored: [], live: [], settling: []) == [])
    }

    @Test func aSessionThatNeverHeldASlotIsFoundOnceItHasLostOne() {
        var audit = LeaseAudit()
        let session = SessionID(UUID())
        for _ in 0..<3 {
            #expect(audit.compared(stored: [], live: [session], unclaimed: [session], settling: []) == [])
        }
        let held = [lease(session)]
        for unclaimed in [[session], []] {
            #expect(audit.compared(stored: held, live: [session], unclaimed: Set(unclaimed), settling: []) == [])
        }
        #expect(audit.compared(stored: [], live: [session], settling: []) == [])
        #expect(audit.compared(stored: [], live: [session], settling: []) == [.unheld(session)])
    }
}
