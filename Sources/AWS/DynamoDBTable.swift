import FoundationEssentials

extension DynamoDB {
    /// A table's keys, its one index and its attribute for expiry: what `prepare` makes.
    ///
    /// Keys and index are text attributes. The index holds whole items, and only those that have its attribute.
    public struct Layout: Sendable {
        /// The partition key.
        public var partitionKey: String
        /// The sort key.
        public var sortKey: String
        /// The index's name.
        public var index: String
        /// The index's partition key.
        public var indexKey: String
        /// Seconds since 1970 after which DynamoDB may remove an item.
        public var expiry: String

        /// A layout.
        public init(partitionKey: String, sortKey: String, index: String, indexKey: String, expiry: String) {
            self.partitionKey = partitionKey
            self.sortKey = sortKey
            self.index = index
            self.indexKey = indexKey
            self.expiry = expiry
        }
    }

    /// What `prepare` did about one part of the table.
    public enum Preparation: Sendable, Equatable {
        /// It was not there and has been made.
        case made(String)
        /// It was there as it should be.
        case found(String)
    }

    /// Between two looks at a table that is being made.
    static let preparationInterval = Duration.seconds(1)
    /// Looks at a table that is being made, at most: an index over a large table takes its time.
    static let preparationLooks = 300

    /// Makes the table, its index and its expiry as far as they are missing. Running it again changes nothing.
    ///
    /// - Parameters:
    ///   - layout: what the table must be.
    ///   - sleep: waits between looks at what DynamoDB is making.
    /// - Throws: `AWSError`, also if a table of that name has other keys.
    public func prepare(
        _ layout: Layout, sleep: @Sendable (Duration) async throws -> Void
    ) async throws -> [Preparation] {
        var done: [Preparation] = []
        if try await describe() == nil {
            do {
                _ = try await call("CreateTable", CreateTable(table: table, layout: layout), Nothing.self)
                done.append(.made("table \(table)"))
            } catch let error as AWSError where error.code == "ResourceInUseException" {
                done.append(.found("table \(table)"))
            }
        } else {
            done.append(.found("table \(table)"))
        }
        var description = try await untilActive(sleep)
        try check(description, layout)
        if description.index(layout.index) == nil {
            _ = try await call("UpdateTable", AddIndex(table: table, layout: layout), Nothing.self)
            description = try await untilActive(sleep)
            done.append(.made("index \(layout.index)"))
        } else {
            done.append(.found("index \(layout.index)"))
        }
        done.append(
            try await expire(layout.expiry) ? .made("expiry by \(layout.expiry)") : .found("expiry by \(layout.expiry)")
        )
        return done
    }

    private func untilActive(_ sleep: (Duration) async throws -> Void) async throws -> Description {
        for _ in 0..<Self.preparationLooks {
            if let description = try await describe(), description.isActive { return description }
            try await sleep(Self.preparationInterval)
        }
        throw AWSError(operation: "DescribeTable", code: "", message: "the table '\(table)' is still being made")
    }

    private func describe() async throws -> Description? {
        struct Request: Encodable { var TableName: String }
        struct Response: Decodable { var Table: Description }
        do {
            return try await call("DescribeTable", Request(TableName: table), Response.self).Table
        } catch let error as AWSError where error.code == "ResourceNotFoundException" {
            return nil
        }
    }

    private func check(_ description: Description, _ layout: Layout) throws {
        let keys = description.KeySchema.map { "\($0.AttributeName) (\($0.KeyType))" }
        let wanted = ["\(layout.partitionKey) (HASH)", "\(layout.sortKey) (RANGE)"]
        guard Set(keys) == Set(wanted) else {
            throw AWSError(
                operation: "DescribeTable", code: "",
                message: "the table '\(table)' has the keys \(keys.joined(separator: ", ")); "
                    + "it must have \(wanted.joined(separator: ", ")): choose another name")
        }
    }

    /// - Returns: whether it had to be switched on.
    private func expire(_ attribute: String) async throws -> Bool {
        struct Describe: Encodable { var TableName: String }
        struct State: Decodable {
            struct TTL: Decodable {
                var TimeToLiveStatus: String?
                var AttributeName: String?
            }
            var TimeToLiveDescription: TTL?
        }
        struct Specification: Encodable {
            var AttributeName: String
            var Enabled = true
        }
        struct Update: Encodable {
            var TableName: String
            var TimeToLiveSpecification: Specification
        }
        let state = try await call("DescribeTimeToLive", Describe(TableName: table), State.self).TimeToLiveDescription
        if let status = state?.TimeToLiveStatus, ["ENABLED", "ENABLING"].contains(status) {
            guard state?.AttributeName == attribute else {
                throw AWSError(
                    operation: "DescribeTimeToLive", code: "",
                    message: "items of the table '\(table)' expire by '\(state?.AttributeName ?? "")', "
                        + "not by '\(attribute)': choose another table")
            }
            return false
        }
        _ = try await call(
            "UpdateTimeToLive",
            Update(TableName: table, TimeToLiveSpecification: Specification(AttributeName: attribute)),
            Nothing.self)
        return true
    }

    fileprivate struct KeyElement: Codable {
        var AttributeName: String
        var KeyType: String
    }

    private struct Description: Decodable {
        struct Index: Decodable {
            var IndexName: String
            var IndexStatus: String?
        }
        var TableStatus: String
        var KeySchema: [KeyElement]
        var GlobalSecondaryIndexes: [Index]?

        func index(_ name: String) -> Index? { GlobalSecondaryIndexes?.first { $0.IndexName == name } }
        var isActive: Bool {
            TableStatus == "ACTIVE"
                && (GlobalSecondaryIndexes ?? []).allSatisfy { $0.IndexStatus == nil || $0.IndexStatus == "ACTIVE" }
        }
    }
}

private struct AttributeDefinition: Encodable {
    var AttributeName: String
    var AttributeType = "S"
}

private struct IndexDefinition: Encodable {
    struct Projection: Encodable { var ProjectionType = "ALL" }
    var IndexName: String
    var KeySchema: [DynamoDB.KeyElement]
    var Projection = Projection()

    init(_ layout: DynamoDB.Layout) {
        IndexName = layout.index
        KeySchema = [DynamoDB.KeyElement(AttributeName: layout.indexKey, KeyType: "HASH")]
    }
}

/// Billing is by request: the load follows the day, and nobody has to foresee it.
private struct CreateTable: Encodable {
    var TableName: String
    var BillingMode = "PAY_PER_REQUEST"
    var AttributeDefinitions: [AttributeDefinition]
    var KeySchema: [DynamoDB.KeyElement]
    var GlobalSecondaryIndexes: [IndexDefinition]

    init(table: String, layout: DynamoDB.Layout) {
        TableName = table
        AttributeDefinitions = [layout.partitionKey, layout.sortKey, layout.indexKey].map {
            AttributeDefinition(AttributeName: $0)
        }
        KeySchema = [
            DynamoDB.KeyElement(AttributeName: layout.partitionKey, KeyType: "HASH"),
            DynamoDB.KeyElement(AttributeName: layout.sortKey, KeyType: "RANGE"),
        ]
        GlobalSecondaryIndexes = [IndexDefinition(layout)]
    }
}

private struct AddIndex: Encodable {
    struct Update: Encodable { var Create: IndexDefinition }
    var TableName: String
    var AttributeDefinitions: [AttributeDefinition]
    var GlobalSecondaryIndexUpdates: [Update]

    init(table: String, layout: DynamoDB.Layout) {
        TableName = table
        AttributeDefinitions = [AttributeDefinition(AttributeName: layout.indexKey)]
        GlobalSecondaryIndexUpdates = [Update(Create: IndexDefinition(layout))]
    }
}
