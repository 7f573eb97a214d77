import AWS
import Foundation
import HTTPClient
import Hansard
import Testing

@testable import HansardServer

/// What there is after a node, a client or an answer is lost at each point of a session's life.
@Suite(.timeLimit(.minutes(10))) struct DynamoDBCrashPointTests {
    private let one = AdmissionLimit(sessions: 1, version: 1)

    /// Nothing is held, and there is room for one more.
    private func expectFree(_ tenant: TenantID, _ fixture: FaultFixture) async throws {
        #expect(try await fixture.peer.leases(of: tenant).isEmpty)
        #expect(try await fixture.peer.repairCount(of: tenant) == 0)
        let next = Lease.new(tenant)
        #expect(try await fixture.peer.claim(next, limit: one) == .claimed)
        #expect(try await fixture.peer.claim(.new(tenant), limit: one) == .full(1, tenant))
        #expect(try await fixture.peer.release(next, status: .new(next)) == .released)
    }

    /// Claims over a transport that does so to all transactions, and expects not to hear how that ended.
    private func claimUnanswered(
        _ leases: [Lease], _ limit: AdmissionLimit, _ fate: FaultyTransport.Fate, _ fixture: FaultFixture
    ) async throws {
        fixture.faults.set { operation, _ in operation == "TransactWriteItems" ? fate : .works }
        await withTaskGroup { group in
            for lease in leases {
                group.addTask {
                    let told = await code { _ = try await fixture.store.claim(lease, limit: limit) }
                    #expect(told == .unavailable)
                }
            }
        }
        fixture.faults.script([])
    }

    @Test func aClaimThatWasNeverSent() async throws {
        let fixture = try await FaultFixture.make()
        let lease = Lease.new(TenantID(UUID()))
        try await claimUnanswered([lease], one, .notSent, fixture)
        #expect(try await fixture.store.release(lease, status: .new(lease, .failed)) == .alreadyGone)
        #expect(try await fixture.store.claim(lease, limit: one) == .superseded)
        try await expectFree(lease.tenant, fixture)
    }

    @Test func aClaimThatWorkedAndWhoseClientHasGone() async throws {
        let fixture = try await FaultFixture.make()
        let lease = Lease.new(TenantID(UUID()))
        try await fixture.peer.setLimit(one, tenant: lease.tenant)
        try await claimUnanswered([lease], one, .answerLost, fixture)
        #expect(try await fixture.peer.leases(of: lease.tenant) == [lease])
        #expect(try await fixture.store.release(lease, status: .new(lease, .failed)) == .released)
        #expect(try await fixture.peer.status(of: lease.session) == .new(lease, .failed))
        try await expectFree(lease.tenant, fixture)
    }

    /// The release finds nothing and leaves a tombstone, on which the claim then fails.
    @Test(arguments: [1, 5])
    func aClaimThatArrivesAfterItsClientHasGone(claims: Int) async throws {
        let fixture = try await FaultFixture.make()
        let tenant = TenantID(UUID())
        let leases = (0..<claims).map { _ in Lease.new(tenant) }
        let limit = AdmissionLimit(sessions: 9, version: 0)
        try await fixture.peer.setLimit(limit, tenant: tenant)
        try await claimUnanswered(leases, limit, .late, fixture)
        for lease in leases {
            #expect(try await fixture.store.release(lease, status: .new(lease, .failed)) == .alreadyGone)
            let grave = try await fixture.table.get(DynamoDBItems.leaseKey(tenant, lease.session))
            #expect(Set(grave?.keys.map(\.self) ?? []) == ["pk", "sk", "ttl"])
        }
        try await fixture.faults.deliverLate()
        #expect(try await fixture.peer.leases(of: tenant).isEmpty)
        for lease in leases {
            #expect(try await fixture.peer.leases(heldBy: lease.holder).isEmpty, "a tombstone is in no index")
            #expect(try await fixture.store.claim(lease, limit: one) == .superseded)
            #expect(try await fixture.peer.status(of: lease.session) == .new(lease, .failed))
        }
        try await expectFree(tenant, fixture)
    }

    /// Nothing was in its way: what the tests above rely on.
    @Test(arguments: [1, 5])
    func aClaimThatArrivesLateTakesItsSlotUnlessItIsReleased(claims: Int) async throws {
        let fixture = try await FaultFixture.make()
        let tenant = TenantID(UUID())
        let leases = (0..<claims).map { _ in Lease.new(tenant) }
        let limit = AdmissionLimit(sessions: 9, version: 0)
        try await fixture.peer.setLimit(limit, tenant: tenant)
        try await claimUnanswered(leases, limit, .late, fixture)
        #expect(try await fixture.peer.leases(of: tenant).isEmpty)
        try await fixture.faults.deliverLate()
        #expect(Set(try await fixture.peer.leases(of: tenant).map(\.nonce)) == Set(leases.map(\.nonce)))
        for lease in leases {
            #expect(try await fixture.store.claim(lease, limit: limit) == .claimed)
            #expect(try await fixture.store.release(lease, status: .new(lease)) == .released)
        }
        try await expectFree(tenant, fixture)
    }

    /// It lands between the release's look at the lease and its tombstone.
    @Test func aClaimThatArrivesInTheMiddleOfItsRelease() async throws {
        let fixture = try await FaultFixture.make()
        let lease = Lease.new(TenantID(UUID()))
        try await fixture.peer.setLimit(one, tenant: lease.tenant)
        // The first look finds nothing; then the claim lands; then the tombstone finds the claim.
        fixture.faults.beforeSending = { operation, number async throws in
            guard operation == "PutItem", number == 1 else { return }
            #expect(try await fixture.peer.claim(lease, limit: one) == .claimed)
        }
        #expect(try await fixture.store.release(lease, status: .new(lease, .failed)) == .released)
        fixture.faults.beforeSending = nil
        #expect(fixture.faults.operations == ["TransactWriteItems", "PutItem", "TransactWriteItems"])
        #expect(try await fixture.peer.status(of: lease.session) == .new(lease, .failed))
        try await expectFree(lease.tenant, fixture)
    }

    @Test func aNodeThatDiesBetweenLeaseAndHandshake() async throws {
        let fixture = try await FaultFixture.make()
        let tenant = TenantID(UUID())
        let epoch = NodeEpoch.new("dying")
        let leases = (0..<3).map { _ in Lease.new(tenant, holder: epoch) }
        let limit = AdmissionLimit(sessions: 5, version: 0)
        for lease in leases.prefix(2) { #expect(try await fixture.store.claim(lease, limit: limit) == .claimed) }
        try await claimUnanswered([leases[2]], limit, .answerLost, fixture)
        let held = try await fixture.peer.leases(heldBy: epoch)
        #expect(Set(held.map(\.nonce)) == Set(leases.map(\.nonce)))
        for lease in held { #expect(try await fixture.peer.reap(lease, status: .abandoned(lease, now: moment(9)))) }
        #expect(try await fixture.peer.leases(heldBy: epoch).isEmpty)
        for lease in leases {
            #expect(try await fixture.peer.status(of: lease.session)?.state == .interrupted)
            #expect(try await fixture.store.claim(lease, limit: one) == .superseded)
            #expect(try await fixture.store.renew(lease) == false)
        }
        try await expectFree(tenant, fixture)
    }

    @Test(arguments: [FaultyTransport.Fate.notSent, .answerLost, .late])
    func aReleaseThatIsLostAndItsNodeWithIt(_ fate: FaultyTransport.Fate) async throws {
        let fixture = try await FaultFixture.make()
        let lease = Lease.new(TenantID(UUID()))
        #expect(try await fixture.store.claim(lease, limit: one) == .claimed)
        fixture.faults.set { _, _ in fate }
        #expect(await code { _ = try await fixture.store.release(lease, status: .new(lease)) } == .unavailable)
        fixture.faults.script([])
        let isDone = fate == .answerLost
        #expect(try await fixture.peer.leases(heldBy: lease.holder).count == (isDone ? 0 : 1))
        let interrupted = SessionStatus.new(lease, .interrupted)
        #expect(try await fixture.peer.reap(lease, status: interrupted) == !isDone)
        try await fixture.faults.deliverLate()
        #expect(try await fixture.peer.status(of: lease.session) == (isDone ? .new(lease) : interrupted))
        // The node starts again, and knows from its spool how the session ended.
        #expect(try await fixture.store.release(lease, status: .new(lease)) == .alreadyGone)
        #expect(try await fixture.peer.status(of: lease.session) == .new(lease))
        try await expectFree(lease.tenant, fixture)
    }

    @Test(arguments: [FaultyTransport.Fate.works, .notSent, .answerLost, .late])
    func twoReapersAtOnce(_ fate: FaultyTransport.Fate) async throws {
        let fixture = try await FaultFixture.make(attempts: 3)
        let tenant = TenantID(UUID())
        let epoch = NodeEpoch.new("dead")
        let leases = (0..<6).map { _ in Lease.new(tenant, holder: epoch) }
        for lease in leases {
            #expect(try await fixture.peer.claim(lease, limit: AdmissionLimit(sessions: 6, version: 0)) == .claimed)
        }
        fixture.faults.set { $1.isMultiple(of: 3) ? fate : .works }
        let reaped = try await withThrowingTaskGroup(of: Bool.self) { group in
            for lease in leases {
                for store in [fixture.store, fixture.peer] {
                    group.addTask { try await store.reap(lease, status: .new(lease, .interrupted)) }
                }
            }
            return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        // Who does not hear that it was he who did it says that it was done.
        #expect(fate == .answerLost ? reaped <= 6 : reaped == 6)
        try await fixture.faults.deliverLate()
        for lease in leases {
            #expect(try await fixture.peer.status(of: lease.session) == .new(lease, .interrupted))
        }
        try await expectFree(tenant, fixture)
    }

    /// The holder and a reaper, who takes it for dead, end the same session.
    @Test func aReleaseAndAReapAtOnce() async throws {
        let fixture = try await FaultFixture.make(attempts: 3)
        for round in 0..<12 {
            let lease = Lease.new(TenantID(UUID()))
            #expect(try await fixture.peer.claim(lease, limit: one) == .claimed)
            fixture.faults.set { $1 == 0 && round.isMultiple(of: 2) ? .answerLost : .works }
            async let release = fixture.store.release(lease, status: .new(lease))
            async let reap = fixture.peer.reap(lease, status: .new(lease, .interrupted))
            _ = try await (release, reap)
            #expect(try await fixture.peer.status(of: lease.session) == .new(lease), "the holder knows")
            try await expectFree(lease.tenant, fixture)
        }
    }

    // MARK: Faults of other kinds

    @Test func aClockThatIsTenMinutesOffIsCorrectedInTheSameCall() async throws {
        for skew in [600.0, -600] {
            let fixture = try await FaultFixture.make()
            let lease = Lease.new(TenantID(UUID()))
            try await fixture.peer.setLimit(one, tenant: lease.tenant)
            fixture.faults.script([.answers(400, "InvalidSignatureException", skew: skew)])
            #expect(try await fixture.store.claim(lease, limit: one) == .claimed)
            #expect(try await fixture.store.release(lease, status: .new(lease)) == .released)
            let dates = fixture.faults.sent.compactMap { $0.header("X-Amz-Date") }.map(Self.seconds)
            #expect(dates.count == 3)
            #expect(abs(dates[1] - dates[0] - skew) < 120 && abs(dates[2] - dates[0] - skew) < 120)
            try await expectFree(lease.tenant, fixture)
        }
    }

    private static func seconds(_ stamp: String) -> TimeInterval {
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.timeZone = TimeZone(secondsFromGMT: 0)
        formatter.dateFormat = "yyyyMMdd'T'HHmmss'Z'"
        return formatter.date(from: stamp)?.timeIntervalSince1970 ?? 0
    }

    @Test(arguments: [
        (FaultyTransport.Fate.answers(400, "ThrottlingException"), "asks for fewer calls"),
        (.answers(400, "ProvisionedThroughputExceededException"), "asks for fewer calls"),
        (.answers(500, "InternalServerError"), "cannot do this now"), (.notSent, "was not reached"),
        (.answers(400, "ExpiredTokenException"), "credentials have expired"),
        (.answers(400, "UnrecognizedClientException"), "credentials are wrong"),
        (.answers(400, "AccessDeniedException"), "their policy must allow dynamodb:PutItem and dynamodb:UpdateItem"),
        (.answers(400, "ResourceNotFoundException"), "make it with `hansard aws init`"),
        (.answers(403, "InvalidSignatureException", skew: 900), "credentials are wrong"),
    ])
    func aFaultThatLastsSaysWhatItIs(_ fate: FaultyTransport.Fate, _ words: String) async throws {
        let fixture = try await FaultFixture.make(attempts: 4)
        let lease = Lease.new(TenantID(UUID()))
        fixture.faults.set { _, _ in fate }
        let error = await #expect(throws: HansardError.self) { try await fixture.store.claim(lease, limit: one) }
        #expect(error?.code == .unavailable && error?.explanation.contains(words) == true, "\(error?.message ?? "")")
        #expect(fixture.faults.sent.count <= 4)
        fixture.faults.script([])
        #expect(try await fixture.peer.leases(of: lease.tenant).isEmpty)
        #expect(try await fixture.store.claim(lease, limit: one) == .claimed)
    }

    /// A tenant whose counter is always busy, on a node that has others: theirs go on.
    @Test func aStormAtOneTenantLeavesTheOthersAlone() async throws {
        let fixture = try await FaultFixture.make()
        let busy = Lease.new(TenantID(UUID()))
        let busyText = Data("T#\(busy.tenant.description)".utf8)
        fixture.faults.setByRequest {
            Data($0.body).range(of: busyText) != nil ? .cancels("TransactionConflict") : .works
        }
        let refused = Task { await code { _ = try await fixture.store.claim(busy, limit: one) } }
        for _ in 0..<5 {
            let lease = Lease.new(TenantID(UUID()))
            #expect(try await fixture.store.claim(lease, limit: one) == .claimed)
        }
        #expect(await refused.value == .unavailable)
    }
}
