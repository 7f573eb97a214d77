import AWS
import Foundation
import Hansard
import Testing

@testable import HansardServer

/// The changes that a store can be asked for, each on items of its own.
enum StoreOperation: String, CaseIterable, Sendable {
    case claim
    /// Of a key with limits, in a minute that is limited.
    case claimOfKey
    /// With a newer limit.
    case claimRaising
    case renew
    case release
    /// Of a key with limits, by a holder that does not remember it.
    case releaseOfKey
    case reapOfKey
    /// Of a claim that never arrived.
    case releaseUnclaimed
    case reap
    case finishStoring
    case setLimit
    case heartbeat
    case remove
    case repairCount
    case grow
    case giveBack
    case retire

    /// What one run is about.
    struct Case: Sendable {
        let lease: Lease
        let node: NodeRecord
        var tenant: TenantID { lease.tenant }

        init() {
            var lease = Lease.new(TenantID(UUID()), holder: .new("node-\(UUID())"))
            lease.key = KeyID("key_\(UUID())")
            self.lease = lease
            node = NodeRecord(
                epoch: lease.holder, heartbeat: UUID(), address: "10.0.0.1:8080", region: "eu", version: "1.0")
        }

        /// As the store has it if its key counts it.
        var counted: Lease {
            var lease = lease
            lease.countsKey = true
            return lease
        }

        func request(_ sequence: Int64, _ milliseconds: Int64) -> GrantRequest {
            GrantRequest(
                owner: .tenant(tenant), period: StoreOperation.period, holder: node.epoch, sequence: sequence,
                milliseconds: milliseconds, limit: StoreOperation.minutes)
        }

        func grant(_ milliseconds: Int64, sequence: Int64) -> Grant {
            Grant(
                owner: .tenant(tenant), period: StoreOperation.period, holder: node.epoch, milliseconds: milliseconds,
                sequence: sequence)
        }

        var renewed: Lease {
            var lease = lease
            lease.usedMilliseconds = 60_000
            return lease
        }
    }

    static let limit = AdmissionLimit(sessions: 2, version: 1)
    static let newerLimit = AdmissionLimit(sessions: 5, version: 2)
    static let keyLimits = ClaimLimits(
        tenant: AdmissionLimit(sessions: 2, newPerMinute: 3, version: 1),
        key: AdmissionLimit(sessions: 1, newPerMinute: 1, version: 1))
    static let period = QuotaPeriod(moment(0))
    static let minutes = MinuteLimit(milliseconds: 10_000, version: 1)
    static let location = "s3://bucket/transcript.json"

    /// Brings the items to where the operation begins.
    func prepare(_ one: Case, _ fixture: FaultFixture) async throws {
        let peer = fixture.peer
        switch self {
        case .claim, .claimOfKey, .releaseUnclaimed, .heartbeat, .grow: return
        case .claimRaising, .setLimit: try await peer.setLimit(Self.limit, tenant: one.tenant)
        case .remove: try await peer.heartbeat(one.node)
        case .renew, .release, .reap:
            #expect(try await peer.claim(one.lease, limit: Self.limit) == .claimed)
        case .releaseOfKey, .reapOfKey:
            #expect(try await peer.claim(one.lease, limits: Self.keyLimits) == .claimed)
        case .giveBack, .retire: _ = try await peer.grow(one.request(1, 4_000))
        case .finishStoring:
            #expect(try await peer.claim(one.lease, limit: Self.limit) == .claimed)
            #expect(try await peer.release(one.lease, status: .new(one.lease, .storing)) == .released)
        case .repairCount:
            #expect(try await peer.claim(one.lease, limit: Self.limit) == .claimed)
            let change = DynamoDBExpression("ADD n :d", ["d": 3])
            _ = try await fixture.table.write(
                DynamoDBWrite(.update(key: DynamoDBItems.counterKey(one.tenant), change)))
        }
    }

    /// Does it, and says how it ended.
    func run(_ one: Case, on store: DynamoDBConnectionStore) async throws -> String {
        switch self {
        case .claim: "\(try await store.claim(one.lease, limit: Self.limit))"
        case .claimOfKey: "\(try await store.claim(one.lease, limits: Self.keyLimits))"
        case .claimRaising: "\(try await store.claim(one.lease, limit: Self.newerLimit))"
        case .renew: "\(try await store.renew(one.renewed))"
        case .release, .releaseOfKey, .releaseUnclaimed:
            "\(try await store.release(one.lease, status: .new(one.lease)))"
        case .reap, .reapOfKey: "\(try await store.reap(one.lease, status: .new(one.lease, .interrupted)))"
        case .finishStoring: "\(try await store.finishStoring(one.lease.session, transcriptLocation: Self.location))"
        case .setLimit: "\(try await store.setLimit(Self.newerLimit, tenant: one.tenant))"
        case .heartbeat: "\(try await store.heartbeat(one.node))"
        case .remove: "\(try await store.remove(one.node.epoch))"
        case .repairCount: "\(try await store.repairCount(of: one.tenant))"
        case .grow: Self.text(try await store.grow(one.request(1, 4_000)))
        case .giveBack: Self.text(try await store.giveBack(one.request(2, 1_500)))
        case .retire: "\(try await store.retire(one.grant(4_000, sequence: 1), used: 1_000))"
        }
    }

    private static func text(_ answer: GrantAnswer) -> String {
        switch answer {
        case .held(let grant, let use): "\(grant.milliseconds) after \(grant.sequence), \(use.granted) of all"
        case .exhausted, .retired: "\(answer)"
        }
    }

    /// How it ends if nothing is in its way.
    var outcome: String {
        switch self {
        case .claim, .claimOfKey, .claimRaising: "claimed"
        case .renew, .reap, .reapOfKey, .finishStoring, .retire: "true"
        case .release, .releaseOfKey: "released"
        case .grow: "4000 after 1, 4000 of all"
        case .giveBack: "2500 after 2, 2500 of all"
        case .releaseUnclaimed: "alreadyGone"
        case .setLimit, .heartbeat, .remove: "()"
        case .repairCount: "3"
        }
    }

    /// How it ends if it has been done already.
    var outcomeAgain: String {
        switch self {
        case .claim, .claimOfKey, .claimRaising, .renew, .releaseUnclaimed, .setLimit, .heartbeat, .remove, .grow,
            .giveBack:
            outcome
        case .reap, .reapOfKey, .finishStoring, .retire: "false"
        case .release, .releaseOfKey: "alreadyGone"
        case .repairCount: "0"
        }
    }

    /// What everybody reads once it is done, however often and however late its requests arrived.
    struct Facts: Equatable {
        var leases: [Lease] = []
        var counted: Int64?
        /// By the key, and in the minute by both.
        var ofKey: [Int64?] = [nil, nil, nil]
        var limit: Int64?
        var status: SessionStatus?
        var nodes: [NodeRecord] = []
        var grants: [Grant] = []
        var granted: Int64?
    }

    func facts(_ one: Case) -> Facts {
        var facts = Facts()
        switch self {
        case .claim, .repairCount: facts = Facts(leases: [one.lease], counted: 1, limit: 2)
        case .claimOfKey: facts = Facts(leases: [one.counted], counted: 1, ofKey: [1, 1, 1], limit: 2)
        case .claimRaising: facts = Facts(leases: [one.lease], counted: 1, limit: 5)
        case .renew: facts = Facts(leases: [one.renewed], counted: 1, limit: 2)
        case .release: facts = Facts(counted: 0, limit: 2, status: .new(one.lease))
        case .releaseOfKey: facts = Facts(counted: 0, ofKey: [0, 1, 1], limit: 2, status: .new(one.lease))
        case .reapOfKey:
            facts = Facts(counted: 0, ofKey: [0, 1, 1], limit: 2, status: .new(one.lease, .interrupted))
        case .releaseUnclaimed: facts = Facts(status: .new(one.lease))
        case .reap: facts = Facts(counted: 0, limit: 2, status: .new(one.lease, .interrupted))
        case .finishStoring:
            facts = Facts(counted: 0, limit: 2, status: .new(one.lease))
            facts.status?.transcriptLocation = Self.location
        case .setLimit: facts = Facts(counted: 0, limit: 5)
        case .heartbeat: facts.nodes = [one.node]
        case .remove: break
        case .grow: (facts.grants, facts.granted) = ([one.grant(4_000, sequence: 1)], 4_000)
        case .giveBack: (facts.grants, facts.granted) = ([one.grant(2_500, sequence: 2)], 2_500)
        case .retire: facts.granted = 1_000
        }
        return facts
    }
}

extension FaultFixture {
    /// What everybody reads about one run.
    func facts(_ one: StoreOperation.Case) async throws -> StoreOperation.Facts {
        let counter = try await table.get(DynamoDBItems.counterKey(one.tenant))
        let (tenant, key) = (QuotaOwner.tenant(one.tenant), QuotaOwner.key(one.lease.key))
        var ofKey: [Int64?] = []
        let minute = ClaimMinute(of: one.lease)
        for item in [
            DynamoDBItems.counterKey(key), DynamoDBItems.minuteKey(key, minute),
            DynamoDBItems.minuteKey(tenant, minute),
        ] {
            ofKey.append(try await table.get(item)?["n"]?.integer)
        }
        return StoreOperation.Facts(
            leases: try await peer.leases(of: one.tenant), counted: counter?["n"]?.integer, ofKey: ofKey,
            limit: counter?["lim"]?.integer, status: try await peer.status(of: one.lease.session),
            nodes: try await peer.nodes().filter { $0.epoch == one.node.epoch },
            grants: try await peer.grants(heldBy: one.node.epoch),
            granted: try await peer.use(of: tenant, in: StoreOperation.period)?.granted)
    }
}
