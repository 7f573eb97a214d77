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
    /// - Throws: `AWSError`; of code `unsuitableTableCode` if a table of that name is another than the layout's, which
    ///   is then left as it is, and `unfinishedTableCode` if it is still being made.
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
        let problems = description.problems(table, layout)
        guard problems.isEmpty else { throw Self.unsuitable("DescribeTable", problems) }
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
        throw AWSError(
            operation: "DescribeTable", code: Self.unfinishedTableCode,
            message: "the table '\(table)' is still being made")
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

    /// The code of errors that say what a table has that the layout has not.
    public static let unsuitableTableCode = "UnsuitableTable"
    /// The code of the error that a table is not ready, however often it was looked at.
    public static let unfinishedTableCode = "UnfinishedTable"

    private static func unsuitable(_ operation: String, _ problems: [String]) -> AWSError {
        AWSError(operation: operation, code: unsuitableTableCode, message: problems.joined(separator: "; "))
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
                let other = state?.AttributeName ?? ""
                let problem =
                    "items of the table '\(table)' expire by '\(other)', not by '\(attribute)': choose another table"
                throw Self.unsuitable("DescribeTimeToLive", [problem])
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

    fileprivate struct Description: Decodable {
        struct Index: Decodable {
            struct ProjectionDescription: Decodable { var ProjectionType: String? }
            var IndexName: String
            var IndexStatus: String?
            var KeySchema: [KeyElement]?
            var Projection: ProjectionDescription?
        }
        var TableStatus: String
        var KeySchema: [KeyElement]
        var AttributeDefinitions: [AttributeDefinition]?
        var GlobalSecondaryIndexes: [Index]?

        func index(_ name: String) -> Index? { GlobalSecondaryIndexes?.first { $0.IndexName == name } }
        var isActive: Bool {
            TableStatus == "ACTIVE"
                && (GlobalSecondaryIndexes ?? []).allSatisfy { $0.IndexStatus == nil || $0.IndexStatus == "ACTIVE" }
        }
    }
}

private struct AttributeDefinition: Codable {
    var AttributeName: String
    var AttributeType = "S"
}

/// What of a table differs from the layout: a clear sentence for each, with what would be right.
extension DynamoDB.Description {
    fileprivate func problems(_ table: String, _ layout: DynamoDB.Layout) -> [String] {
        var problems: [String] = []
        let wanted = ["\(layout.partitionKey) (HASH)", "\(layout.sortKey) (RANGE)"]
        if Self.differ(KeySchema, wanted) {
            problems.append(
                "the table '\(table)' has the keys \(Self.list(KeySchema)); "
                    + "it must have \(wanted.joined(separator: ", ")): choose another name")
        }
        let index = index(layout.index)
        var texts = KeySchema.map(\.AttributeName).filter { [layout.partitionKey, layout.sortKey].contains($0) }
        if let index {
            problems += Self.problems(index, table, layout)
            if index.KeySchema?.contains(where: { $0.AttributeName == layout.indexKey }) == true {
                texts.append(layout.indexKey)
            }
        }
        for name in texts {
            // moto forgets the types of a table's keys when it adds an index; what is not said is not wrong.
            let definition = AttributeDefinitions?.first { $0.AttributeName == name }
            guard let type = definition?.AttributeType, type != "S" else { continue }
            problems.append(
                "in the table '\(table)' the key \(name) is of type \(type); it must be of type S (string): "
                    + "choose another name")
        }
        return problems
    }

    private static func problems(_ index: Index, _ table: String, _ layout: DynamoDB.Layout) -> [String] {
        var problems: [String] = []
        let name = "the index \(layout.index) of the table '\(table)'"
        let remedy = "delete that index and run this again"
        let keys = index.KeySchema ?? []
        let wanted = ["\(layout.indexKey) (HASH)"]
        if differ(keys, wanted) {
            problems.append("\(name) has the keys \(list(keys)); it must have \(wanted[0]) alone: \(remedy)")
        }
        let projection = index.Projection?.ProjectionType ?? "nothing"
        if projection != "ALL" {
            problems.append("\(name) holds \(projection) of each item; it must hold ALL: \(remedy)")
        }
        return problems
    }

    private static func differ(_ keys: [DynamoDB.KeyElement], _ wanted: [String]) -> Bool {
        Set(keys.map(text)) != Set(wanted)
    }

    private static func list(_ keys: [DynamoDB.KeyElement]) -> String { keys.map(text).joined(separator: ", ") }

    private static func text(_ key: DynamoDB.KeyElement) -> String { "\(key.AttributeName) (\(key.KeyType))" }
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
