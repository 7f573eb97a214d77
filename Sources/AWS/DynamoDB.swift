import FoundationEssentials
import HTTPClient

/// One table of DynamoDB: the operations that keep shared state, each with its conditions.
///
/// Source: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Operations_Amazon_DynamoDB.html
public struct DynamoDB: Sendable {
    /// Writes in one transaction at most.
    public static let transactionLimit = 100
    /// How long one attempt may take: claims are decided while a client waits.
    public static let attemptTimeout = Duration.seconds(2)

    /// The table's name.
    public let table: String
    private let caller: any AWSCaller

    /// A table.
    ///
    /// - Parameters:
    ///   - table: its name.
    ///   - caller: signs and sends, for the service `dynamodb`.
    public init(table: String, caller: any AWSCaller) {
        self.table = table
        self.caller = caller
    }

    /// How a write with a condition ended.
    public enum Outcome: Sendable, Equatable {
        /// Done.
        case done
        /// The condition does not hold; the item as it is, nil if there is none.
        case refused(DynamoDBItem?)
    }

    /// Why one write of a transaction did not go through.
    public enum Refusal: Sendable, Equatable {
        /// It could have; another write stood in the way.
        case none
        /// Its condition does not hold; the item as it is, nil if there is none.
        case condition(DynamoDBItem?)
        /// Another transaction or too many calls were in the way: later it may work.
        case busy
        /// Something else, by DynamoDB's name, which repeating will not help.
        case other(String)
    }

    /// How a transaction ended.
    public enum TransactionOutcome: Sendable, Equatable {
        /// All of it is done.
        case done
        /// None of it is done; one entry for each write.
        case refused([Refusal])
    }

    /// Changes one item.
    ///
    /// - Throws: `AWSError`, except for a condition that does not hold.
    public func write(_ write: DynamoDBWrite) async throws -> Outcome {
        do {
            _ = try await call(write.operation, DynamoDBWriteBody(table: table, write: write), Nothing.self)
            return .done
        } catch let error as AWSError where error.code == "ConditionalCheckFailedException" {
            struct Body: Decodable { var Item: DynamoDBItem? }
            return .refused(try? JSONDecoder().decode(Body.self, from: Data(error.body)).Item)
        }
    }

    /// Changes several items, all or none. The conditions must make it harmless to repeat.
    ///
    /// - Throws: `AWSError`, except for a transaction that DynamoDB called off.
    public func transact(_ writes: [DynamoDBWrite]) async throws -> TransactionOutcome {
        precondition(writes.count <= Self.transactionLimit, "DynamoDB takes 100 writes in a transaction")
        do {
            _ = try await call(
                "TransactWriteItems", DynamoDBTransactionBody(table: table, writes: writes), Nothing.self)
            return .done
        } catch let error as AWSError where error.code == "TransactionCanceledException" {
            let reasons = try Self.reasons(error)
            guard reasons.count == writes.count else { throw error }
            return .refused(reasons)
        } catch let error as AWSError where Self.conflicts.contains(error.code) {
            return .refused(Array(repeating: .busy, count: writes.count))
        }
    }

    /// What says that another transaction is at the same items: nothing was done, and soon it will work. Single writes
    /// throw it.
    public static let conflicts: Set = ["TransactionConflictException", "TransactionInProgressException"]

    private static func reasons(_ error: AWSError) throws -> [Refusal] {
        struct Reason: Decodable {
            var Code: String?
            var Item: DynamoDBItem?
        }
        struct Body: Decodable { var CancellationReasons: [Reason] }
        guard let body = try? JSONDecoder().decode(Body.self, from: Data(error.body)) else { throw error }
        return body.CancellationReasons.map { reason in
            switch reason.Code {
            case nil, "None": .none
            case "ConditionalCheckFailed": .condition(reason.Item)
            case "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded": .busy
            case let code?: .other(code)
            }
        }
    }

    /// Reads one item as it is now.
    public func get(_ key: DynamoDBItem) async throws -> DynamoDBItem? {
        struct Request: Encodable {
            var TableName: String
            var Key: DynamoDBItem
            var ConsistentRead = true
        }
        struct Response: Decodable { var Item: DynamoDBItem? }
        return try await call("GetItem", Request(TableName: table, Key: key), Response.self).Item
    }

    /// Items that belong together.
    public struct Query: Sendable {
        /// `pk = :pk AND begins_with(sk, :sk)` and the like.
        public var keys: DynamoDBExpression
        /// Leaves out what it does not hold of; read units are spent all the same.
        public var filter: DynamoDBExpression?
        /// The index to read; nil is the table itself, as it is now. An index lags behind.
        public var index: String?
        /// No more items than this.
        public var limit: Int

        /// A query.
        public init(_ keys: DynamoDBExpression, filter: DynamoDBExpression? = nil, index: String? = nil, limit: Int) {
            self.keys = keys
            self.filter = filter
            self.index = index
            self.limit = limit
        }
    }

    /// Reads what a query finds, in the order of its sort key, page after page.
    public func query(_ query: Query) async throws -> [DynamoDBItem] {
        struct Response: Decodable {
            var Items: [DynamoDBItem]
            var LastEvaluatedKey: DynamoDBItem?
        }
        var items: [DynamoDBItem] = []
        var start: DynamoDBItem?
        repeat {
            let page = try await call(
                "Query", DynamoDBQueryBody(table: table, query: query, start: start), Response.self)
            items += page.Items
            start = page.LastEvaluatedKey
        } while start != nil && items.count < query.limit
        return Array(items.prefix(query.limit))
    }

    /// The answer to what is written: an object of which nothing is needed.
    struct Nothing: Decodable {
        private enum Key: CodingKey {}
        init(from decoder: any Decoder) throws { _ = try decoder.container(keyedBy: Key.self) }
    }

    /// Sends one operation and reads its answer. Every operation here may be repeated: reads are reads, and writes are
    /// conditioned so that a second time finds the first.
    func call<Answer: Decodable>(
        _ operation: String, _ body: some Encodable, _ answer: Answer.Type
    ) async throws -> Answer {
        let request = TransferRequest(
            method: "POST", origin: caller.origin,
            headers: [
                TransferHeader("Content-Type", AnswerCheck.dynamoDBType),
                TransferHeader("X-Amz-Target", "DynamoDB_20120810.\(operation)"),
            ],
            body: Array(try JSONEncoder().encode(body)), timeout: Self.attemptTimeout)
        let response = try await caller.call(
            AWSRequest(operation: operation, transfer: request, isRepeatable: true, check: .dynamoDB))
        do {
            return try JSONDecoder().decode(answer, from: Data(response.body))
        } catch {
            throw AWSError(operation, unreadable: response, "the answer is not what DynamoDB answers")
        }
    }
}

private struct DynamoDBQueryBody: Encodable {
    var table: String
    var query: DynamoDB.Query
    var start: DynamoDBItem?

    private enum Key: String, CodingKey {
        case table = "TableName"
        case index = "IndexName"
        case keys = "KeyConditionExpression"
        case filter = "FilterExpression"
        case names = "ExpressionAttributeNames"
        case values = "ExpressionAttributeValues"
        case consistent = "ConsistentRead"
        case start = "ExclusiveStartKey"
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(table, forKey: .table)
        try container.encode(query.keys.text, forKey: .keys)
        try container.encodeIfPresent(query.filter?.text, forKey: .filter)
        try container.encodeIfPresent(query.index, forKey: .index)
        if query.index == nil { try container.encode(true, forKey: .consistent) }
        let expressions = [query.keys] + (query.filter.map { [$0] } ?? [])
        try container.encodePlaceholders(of: expressions, names: .names, values: .values)
        try container.encodeIfPresent(start, forKey: .start)
    }
}
