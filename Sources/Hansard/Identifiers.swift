public import FoundationEssentials

/// A customer of the operator.
public struct TenantID: Hashable, Sendable, Codable, CustomStringConvertible {
    /// The UUID under which the database and every store know the tenant.
    public let rawValue: UUID
    /// Wraps a UUID that a store or an injected source made.
    public init(_ rawValue: UUID) { self.rawValue = rawValue }
    /// Lower case, as it appears in APIs, logs and object keys.
    public var description: String { rawValue.uuidString.lowercased() }
    /// Decodes a bare UUID string.
    public init(from decoder: any Decoder) throws { rawValue = try decoder.singleValueContainer().decode(UUID.self) }
    /// Encodes a bare UUID string, in lower case.
    public func encode(to encoder: any Encoder) throws { try encodeBare(description, to: encoder) }
}

/// What tenants may be billed by, over all its versions.
public struct PlanID: Hashable, Sendable, CustomStringConvertible {
    /// The UUID under which the database knows the plan.
    public let rawValue: UUID
    /// Wraps a UUID that a store or an injected source made.
    public init(_ rawValue: UUID) { self.rawValue = rawValue }
    /// Reads the form that `description` writes; upper case is accepted.
    public init?(_ text: String) {
        guard let value = UUID(uuidString: text) else { return nil }
        self.init(value)
    }
    /// Lower case, as it appears in APIs and logs.
    public var description: String { rawValue.uuidString.lowercased() }
}

/// What an operator adds to a tenant's bill, or takes off it.
public struct CreditID: Hashable, Sendable, CustomStringConvertible {
    /// The UUID under which the database knows the credit.
    public let rawValue: UUID
    /// Wraps a UUID that a store or an injected source made.
    public init(_ rawValue: UUID) { self.rawValue = rawValue }
    /// Reads the form that `description` writes; upper case is accepted.
    public init?(_ text: String) {
        guard let value = UUID(uuidString: text) else { return nil }
        self.init(value)
    }
    /// Lower case, as it appears in APIs and logs.
    public var description: String { rawValue.uuidString.lowercased() }
}

/// One client's stream from start to completion, possibly over several connections.
///
/// It is the `request_id` of the session's messages and the `dg-request-id` of its handshake.
public struct SessionID: Hashable, Sendable, Codable, CustomStringConvertible {
    /// The UUID under which every store knows the session.
    public let rawValue: UUID
    /// Wraps a UUID that a store or an injected source made.
    public init(_ rawValue: UUID) { self.rawValue = rawValue }
    /// Reads the form that `description` writes; upper case is accepted.
    public init?(_ text: String) {
        guard let value = UUID(uuidString: text) else { return nil }
        self.init(value)
    }
    /// Lower case, as it appears in APIs, logs and object keys.
    public var description: String { rawValue.uuidString.lowercased() }
    /// Decodes a bare UUID string.
    public init(from decoder: any Decoder) throws { rawValue = try decoder.singleValueContainer().decode(UUID.self) }
    /// Encodes a bare UUID string, in lower case.
    public func encode(to encoder: any Encoder) throws { try encodeBare(description, to: encoder) }
}

/// One WebSocket: a replaceable attachment of a client to its session.
public struct ConnectionID: Hashable, Sendable, Codable, CustomStringConvertible {
    /// The UUID under which the lease names the connection.
    public let rawValue: UUID
    /// Wraps a UUID that a store or an injected source made.
    public init(_ rawValue: UUID) { self.rawValue = rawValue }
    /// Lower case, as it appears in logs.
    public var description: String { rawValue.uuidString.lowercased() }
    /// Decodes a bare UUID string.
    public init(from decoder: any Decoder) throws { rawValue = try decoder.singleValueContainer().decode(UUID.self) }
    /// Encodes a bare UUID string, in lower case.
    public func encode(to encoder: any Encoder) throws { try encodeBare(description, to: encoder) }
}

/// The public name of an API key, `key_` and 22 characters; never secret, unlike the key itself.
public struct KeyID: Hashable, Sendable, Codable, CustomStringConvertible {
    /// The name as stored and shown.
    public let rawValue: String
    /// Wraps a name that `KeyID.make` or a store produced.
    public init(_ rawValue: String) { self.rawValue = rawValue }
    /// The name itself.
    public var description: String { rawValue }
    /// Decodes a bare string.
    public init(from decoder: any Decoder) throws { rawValue = try decoder.singleValueContainer().decode(String.self) }
    /// Encodes a bare string.
    public func encode(to encoder: any Encoder) throws { try encodeBare(rawValue, to: encoder) }
}

/// One life of a node, from its start to its end: a restarted node is another epoch, so that what the dead one held is
/// never mistaken for its own.
public struct NodeEpoch: Hashable, Sendable, Codable, CustomStringConvertible {
    /// The name that the operator gave the machine, stable over restarts.
    public let node: String
    /// Differs at every start.
    public let epoch: UUID
    /// Names an epoch.
    public init(node: String, epoch: UUID) {
        self.node = node
        self.epoch = epoch
    }
    /// `node#epoch`, the form that stores use as a key.
    public var description: String { "\(node)#\(epoch.uuidString.lowercased())" }
    /// Reads the form that `description` writes.
    public init?(_ text: String) {
        guard let separator = text.lastIndex(of: "#"),
            let epoch = UUID(uuidString: String(text[text.index(after: separator)...]))
        else { return nil }
        self.init(node: String(text[..<separator]), epoch: epoch)
    }
}

func encodeBare(_ text: String, to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(text)
}
