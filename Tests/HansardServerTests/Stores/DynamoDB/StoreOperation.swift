import AWS
import Foundation
import Hansard
import Testing

@testable import HansardServer

/// The changes that a store can be asked for, each on items of its own.
enum StoreOperation: String, CaseIterable, Sendable {
    case claim
    /// With a newer limit.
    case claimRaising
    case renew
    case release
    /// Of a claim that never arrived.
    case releaseUnclaimed
    case reap
    case finishStoring
    case setLimit
    case heartbeat
    case remove
    case repairCount

    /// What one run is about.
    struct Case: Sendable {
        let lease: Lease
        let node: NodeRecord
        var tenant: TenantID { lease.tenant }

        init() {
            lease = .new(TenantID(UUID()), holder: .new("node-\(UUID())"))
            node = NodeRecord(
                epoch: lease.holder, heartbeat: UUID(), address: "10.0.0.1:8080", region: "eu", version: "1.0")
        }

        var renewed: Lease {
            var lease = lease
            lease.usedMilliseconds = 60_000
            return lease
        }
    }

    static let limit = AdmissionLimit(sessions: 2, version: 1)
    static let newerLimit = AdmissionLimit(sessions: 5, version: 2)
    static let location = "s3://bucket/transcript.json"

    /// Brings the items to where the operation begins.
    func prepare(_ one: Case, _ fixture: FaultFixture) async throws {
        let peer = fixture.peer
        switch self {
        case .claim, .releaseUnclaimed, .heartbeat: return
        case .claimRaising, .setLimit: try await peer.setLimit(Self.limit, tenant: one.tenant)
        case .remove: try await peer.heartbeat(one.node)
        case .renew, .release, .reap:
            #expect(try await peer.claim(one.lease, limit: Self.limit) == .claimed)
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
        case .claimRaising: "\(try await store.claim(one.lease, limit: Self.newerLimit))"
        case .renew: "\(try await store.renew(one.renewed))"
        case .release, .releaseUnclaimed: "\(try await store.release(one.lease, status: .new(one.lease)))"
        case .reap: "\(try await store.reap(one.lease, status: .new(one.lease, .interrupted)))"
        case .finishStoring: "\(try await store.finishStoring(one.lease.session, transcriptLocation: Self.location))"
        case .setLimit: "\(try await store.setLimit(Self.newerLimit, tenant: one.tenant))"
        case .heartbeat: "\(try await store.heartbeat(one.node))"
        case .remove: "\(try await store.remove(one.node.epoch))"
        case .repairCount: "\(try await store.repairCount(of: one.tenant))"
        }
    }

    /// How it ends if nothing is in its way.
    var outcome: String {
        switch self {
        case .claim, .claimRaising: "claimed"
        case .renew, .reap, .finishStoring: "true"
        case .release: "released"
        case .releaseUnclaimed: "alreadyGone"
        case .setLimit, .heartbeat, .remove: "()"
        case .repairCount: "3"
        }
    }

    /// How it ends if it has been done already.
    var outcomeAgain: String {
        switch self {
        case .claim, .claimRaising, .renew, .releaseUnclaimed, .setLimit, .heartbeat, .remove: outcome
        case .reap, .finishStoring: "false"
        case .release: "alreadyGone"
        case .repairCount: "0"
        }
    }

    /// What everybody reads once it is done, however often and however late its requests arrived.
    struct Facts: Equatable {
        var leases: [Lease] = []
        var counted: Int64?
        var limit: Int64?
        var status: SessionStatus?
        var nodes: [NodeRecord] = []
    }

    func facts(_ one: Case) -> Facts {
        var facts = Facts()
        switch self {
        case .claim, .repairCount: facts = Facts(leases: [one.lease], counted: 1, limit: 2)
        case .claimRaising: facts = Facts(leases: [one.lease], counted: 1, limit: 5)
        case .renew: facts = Facts(leases: [one.renewed], counted: 1, limit: 2)
        case .release: facts = Facts(counted: 0, limit: 2, status: .new(one.lease))
        case .releaseUnclaimed: facts = Facts(status: .new(one.lease))
        case .reap: facts = Facts(counted: 0, limit: 2, status: .new(one.lease, .interrupted))
        case .finishStoring:
            facts = Facts(counted: 0, limit: 2, status: .new(one.lease))
            facts.status?.transcriptLocation = Self.location
        case .setLimit: facts = Facts(counted: 0, limit: 5)
        case .heartbeat: facts.nodes = [one.node]
        case .remove: break
        }
        return facts
    }
}

extension FaultFixture {
    /// What everybody reads about one run.
    func facts(_ one: StoreOperation.Case) async throws -> StoreOperation.Facts {
        let counter = try await table.get(DynamoDBItems.counterKey(one.tenant))
        return StoreOperation.Facts(
            leases: try await peer.leases(of: one.tenant), counted: counter?["n"]?.integer,
            limit: counter?["lim"]?.integer, status: try await peer.status(of: one.lease.session),
            nodes: try await peer.nodes().filter { $0.epoch == one.node.epoch })
    }
}
