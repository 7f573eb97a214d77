public import FoundationEssentials

/// The end of one of the audit log's chains at some moment: since each entry's hash covers the one before, it stands for all
/// that came before it.
///
/// Heads are kept outside the database, so that whoever owns that cannot rebuild a chain unnoticed.
public struct AuditHead: Sendable, Hashable {
    /// Bytes of a hash.
    public static let hashBytes = 32

    /// Whose chain; nil is the installation's.
    public var tenant: TenantID?
    /// The last entry's place, from 1 on.
    public var place: Int
    /// The last entry's hash, `hashBytes` long.
    public var hash: [UInt8]

    /// A head as the database has it.
    public init(tenant: TenantID?, place: Int, hash: [UInt8]) {
        self.tenant = tenant
        self.place = place
        self.hash = hash
    }

    /// What the names of all heads begin with, below a store's root.
    public static let root = "audit-heads/"
    private static let installation = "installation"

    /// What the names of a chain's heads begin with, below a store's root: `audit-heads/<tenant, or installation>/`.
    public static func folder(of tenant: TenantID?) -> String {
        "\(root)\(tenant?.description ?? installation)/"
    }

    /// The chains whose folders have these names below `root`; what else is there is passed over.
    public static func chains(ofFolders names: [String]) -> Set<TenantID?> {
        var chains: Set<TenantID?> = []
        for name in names {
            if name == installation {
                chains.insert(nil)
            } else if let tenant = UUID(uuidString: name).map(TenantID.init), tenant.description == name {
                chains.insert(tenant)
            }
        }
        return chains
    }

    /// Its name below `folder(of:)`: `000000000318-<hash>.json`. It says all that is compared, so that a list is enough to
    /// read heads; names are in the order of places, and another hash is another name: no head replaces another.
    public var name: String {
        let digits = String(place)
        let hexadecimal = hash.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        return String(repeating: "0", count: max(0, 12 - digits.count)) + digits + "-\(hexadecimal).json"
    }

    /// Reads what `name` writes; nil if it is something else.
    public init?(tenant: TenantID?, name: String) {
        let parts = name.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[1].hasSuffix(".json"), let place = Int(parts[0]), place > 0 else { return nil }
        let digits = Array(parts[1].dropLast(5))
        let hash = stride(from: 0, to: digits.count - 1, by: 2).compactMap {
            UInt8(String(digits[$0...$0 + 1]), radix: 16)
        }
        self.init(tenant: tenant, place: place, hash: hash)
        guard hash.count == Self.hashBytes, self.name == name else { return nil }
    }
}

/// Where the heads of the audit log's chains are kept. Conformers may be called from any task, and throw `.unavailable` if the
/// store is away.
public protocol AuditHeadStore: Sendable {
    /// Keeps a head durably. Repeating it is harmless.
    func keep(_ head: AuditHead, at date: Date) async throws
    /// The chains of which a head was kept.
    func chains() async throws -> Set<TenantID?>
    /// All heads that were kept of a chain, in the order of their places.
    func heads(of tenant: TenantID?) async throws -> [AuditHead]
}
