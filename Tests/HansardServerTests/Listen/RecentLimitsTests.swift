import Foundation
import Hansard
import Testing

@testable import HansardServer

/// Limits that handshakes are refused by without asking.
@Suite struct RecentLimitsTests {
    private let limits = RecentLimits()
    private let start = ContinuousClock.now
    private let key = Sample.key
    private let lease = Sample.lease(Sample.session(1), holder: Sample.epoch())

    private func limit(_ owner: QuotaOwner, _ kind: LimitReached.Kind) -> LimitReached {
        LimitReached(owner: owner, kind: kind, limit: 7)
    }

    private func recent(
        _ tenant: TenantID = Sample.tenant, key: KeyID? = nil, after duration: Duration = .zero
    ) -> LimitReached? {
        limits.recent(tenant: tenant, key: key ?? self.key, now: start + duration)
    }

    @Test(arguments: LimitReached.Kind.allCases)
    func aLimitIsRememberedForASecondForItsOwnerAlone(_ kind: LimitReached.Kind) {
        let ofTenant = limit(.tenant(Sample.tenant), kind)
        limits.reached(ofTenant, now: start)
        #expect(recent() == ofTenant && recent(key: KeyID("key_other")) == ofTenant)
        #expect(recent(Sample.otherTenant) == nil)
        #expect(recent(after: .milliseconds(999)) == ofTenant && recent(after: .seconds(1)) == nil)
        let ofKey = limit(.key(key), kind)
        limits.reached(ofKey, now: start + .seconds(2))
        #expect(recent(after: .seconds(2)) == ofKey)
        #expect(recent(key: KeyID("key_other"), after: .seconds(2)) == nil, "another key of the tenant")
    }

    @Test func anEndMakesRoomAmongSessionsAtOnceAlone() {
        let owners = [QuotaOwner.tenant(Sample.tenant), .key(key)]
        for owner in owners { limits.reached(limit(owner, .concurrentSessions), now: start) }
        limits.freed(by: lease)
        #expect(recent() == nil)
        for owner in owners {
            let minute = limit(owner, .newSessionsPerMinute)
            limits.reached(minute, now: start)
            limits.freed(by: lease)
            #expect(recent() != nil)
        }
    }
}
