import Hansard
import Web

@testable import HansardServer

extension StoreFixture {
    /// The admin plane of a node.
    func adminRouter(
        _ transcripts: MemoryTranscriptStore = MemoryTranscriptStore(), as identity: AdminIdentity = .command("tester")
    ) async throws -> Router {
        let log = LogRecorder()
        let access = AccessDirectory(store: PostgresTenantStore(pool: pool), logger: log.logger)
        try await access.refresh()
        let services = AdminServices(
            access: access, pool: pool, connections: PostgresConnectionStore(pool: pool), transcripts: transcripts,
            auditHeads: transcripts, engines: [], secrets: [[1]], logger: log.logger,
            randomBytes: { count in (0..<count).map { _ in .random(in: 0...255) } })
        return Router(
            routes: AdminPlane(services: services, identity: identity).routes, metrics: Metrics(),
            logger: log.logger, randomBytes: services.randomBytes)
    }
}
