/// One change of one item: alone, or as part of a transaction.
public struct DynamoDBWrite: Sendable, Equatable {
    /// What happens to the item.
    public enum Change: Sendable, Equatable {
        /// It becomes this, whatever it was.
        case put(DynamoDBItem)
        /// It is changed, or made, by an update expression.
        case update(key: DynamoDBItem, DynamoDBExpression)
        /// It goes.
        case delete(key: DynamoDBItem)
    }

    /// What happens.
    public var change: Change
    /// Only if this holds of the item as it is; nil is always.
    public var condition: DynamoDBExpression?

    /// A change.
    public init(_ change: Change, if condition: DynamoDBExpression? = nil) {
        self.change = change
        self.condition = condition
    }

    /// The API's name of the operation if it stands alone.
    var operation: String {
        switch change {
        case .put: "PutItem"
        case .update: "UpdateItem"
        case .delete: "DeleteItem"
        }
    }
}

/// The body of a write; also one element of `TransactItems`.
struct DynamoDBWriteBody: Encodable {
    var table: String
    var write: DynamoDBWrite

    private enum Key: String, CodingKey {
        case table = "TableName"
        case item = "Item"
        case key = "Key"
        case update = "UpdateExpression"
        case condition = "ConditionExpression"
        case names = "ExpressionAttributeNames"
        case values = "ExpressionAttributeValues"
        case onFailure = "ReturnValuesOnConditionCheckFailure"
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(table, forKey: .table)
        var expressions: [DynamoDBExpression] = []
        switch write.change {
        case .put(let item): try container.encode(item, forKey: .item)
        case .update(let key, let update):
            try container.encode(key, forKey: .key)
            try container.encode(update.text, forKey: .update)
            expressions.append(update)
        case .delete(let key): try container.encode(key, forKey: .key)
        }
        if let condition = write.condition {
            try container.encode(condition.text, forKey: .condition)
            try container.encode("ALL_OLD", forKey: .onFailure)
            expressions.append(condition)
        }
        try container.encodePlaceholders(of: expressions, names: .names, values: .values)
    }
}

/// A transaction's body.
///
/// Source: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
struct DynamoDBTransactionBody: Encodable {
    var table: String
    var writes: [DynamoDBWrite]

    private enum Key: String, CodingKey { case items = "TransactItems" }
    private enum Kind: String, CodingKey {
        case put = "Put"
        case update = "Update"
        case delete = "Delete"
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        var list = container.nestedUnkeyedContainer(forKey: .items)
        for write in writes {
            var element = list.nestedContainer(keyedBy: Kind.self)
            let kind: Kind =
                switch write.change {
                case .put: .put
                case .update: .update
                case .delete: .delete
                }
            try element.encode(DynamoDBWriteBody(table: table, write: write), forKey: kind)
        }
    }
}
