import Crypto
import Foundation
import Hansard
import Postgres
import Testing

@testable import HansardServer

@Suite struct KeyUseTests {
    @Test func theLatestUseIsWrittenAndNeverGoesBack() async throws {
        let fixture = try await StoreFixture.make()
        let store = PostgresTenantStore(pool: fixture.ownerPool)
        try await store.create(Tenant(id: Sample.tenant, name: "one", createdAt: moment(0)))
        for number in UInt8(1)...2 {
            let (digest, key) = Sample.apiKey(number)
            try await store.create(key, digest: digest)
        }
        let (first, second) = (Sample.apiKey(1).1.id, Sample.apiKey(2).1.id)
        let (here, there) = (KeyUse(), KeyUse())
        for seconds in [5, 9, 7] { here.opened(first, at: moment(seconds)) }
        here.opened(KeyID("key_nobody"), at: moment(1))
        there.opened(first, at: moment(8))
        there.opened(second, at: moment(3))
        for use in [here, there, here] { try await use.write(to: fixture.pool) }
        let keys = try await store.accessSnapshot()
        #expect(keys.key(Sample.apiKey(1).0)?.lastUsedAt == moment(9))
        #expect(keys.key(Sample.apiKey(2).0)?.lastUsedAt == moment(3))
        await fixture.close()
    }
}
