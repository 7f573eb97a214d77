import AWS
import EventLoops
import Foundation
import HTTPClient
import Hansard

@testable import HansardServer

/// A table with a store whose requests may fail, and a peer's, whose do not. No pause takes any time.
struct FaultFixture: Sendable {
    let faults: FaultyTransport
    let store: DynamoDBConnectionStore
    let peer: DynamoDBConnectionStore
    /// Looks at the items.
    let table: DynamoDB

    /// - Parameter attempts: of each request.
    static func make(attempts: Int = 1) async throws -> FaultFixture {
        try FaultFixture(table: try await TestDynamoDB.table().name, attempts: attempts)
    }

    private init(table name: String, attempts: Int) throws {
        let server = try TestDynamoDB.server.get()
        faults = FaultyTransport(server.http)
        store = DynamoDBConnectionStore(
            table: Self.table(name, faults, attempts: attempts, server), surroundings: Self.surroundings())
        table = Self.table(name, server.http, attempts: 1, server)
        peer = DynamoDBConnectionStore(table: table)
    }

    /// Another node, with faults of its own, at the same table.
    func node(attempts: Int = 1) throws -> FaultFixture { try FaultFixture(table: table.table, attempts: attempts) }

    /// A clock that only pauses move, by as much as is waited for at most.
    static func surroundings() -> DynamoDBConnectionStore.Surroundings {
        let now = Locked(ContinuousClock.now)
        return DynamoDBConnectionStore.Surroundings(
            now: { now.withLock { $0 } }, sleep: { pause in now.withLock { $0 += pause } }, random: { 0.5 })
    }

    static func table(
        _ name: String, _ transport: any HTTPTransport, attempts: Int, _ server: TestDynamoDB.Server
    ) -> DynamoDB {
        let clock = AWSClock()
        var effects = AWSService.Effects()
        effects.sleep = { _ in }
        return DynamoDB(
            table: name,
            caller: AWSService(
                signingName: "dynamodb", region: "eu-west-1", origin: server.origin,
                credentials: CredentialsProvider(sources: [FixedCredentials(server.credentials)], clock: clock),
                transport: transport, clock: clock,
                retries: RetryPolicy(service: "dynamodb", maximumAttempts: attempts), effects: effects))
    }

    /// By how much the counter differs from the leases that there are.
    func miscount(_ tenant: TenantID) async throws -> Int {
        let counter = try await table.get(DynamoDBItems.counterKey(tenant))
        return Int(counter?["n"]?.integer ?? 0) - (try await peer.leases(of: tenant).count)
    }
}
