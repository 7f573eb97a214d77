import Crypto
import EventLoops
import FoundationEssentials
import Glibc
import Hansard
import Logging

// Recognises callers, over and over, as each handshake and each call does; compiled together with Sources/HansardServer/Access.
//
//     key_check known|unknown|junk|token KEYS COUNT    prints the microseconds of CPU of one
//     key_check change KEYS COUNT                      changes one key while someone reads; prints the worst microseconds
//     key_check memory KEYS                            prints the bytes of resident memory that each key takes

/// Keys that are there from the start.
struct FixedTenants: TenantStore {
    let keys: Int
    static let tenant = TenantID(UUID())

    func accessSnapshot() async throws -> AccessSnapshot {
        AccessSnapshot(
            position: position(1), tenants: [Tenant(id: Self.tenant, name: "one", createdAt: Date())],
            keys: (0..<keys).map { (Authenticator.digest(of: secret($0)), sampleKey($0)) })
    }

    /// Nothing changes, and the next snapshot would be the same.
    func accessPosition() async throws -> AccessPosition { position(1) }
    func accessChanges(since position: AccessPosition) async throws -> AccessChanges? { nil }
    func accessCommands(
        after position: AccessPosition, through end: AccessPosition
    ) async throws -> [NodeCommand] { [] }
    func tenant(named name: String) async throws -> Tenant? { nil }
    func key(digest: SecretDigest) async throws -> APIKey? { nil }
    func adminToken(digest: SecretDigest) async throws -> AdminToken? { nil }
    func create(_ tenant: Tenant) async throws {}
    func create(_ key: APIKey, digest: SecretDigest) async throws {}
    func create(_ token: AdminToken, digest: SecretDigest) async throws {}
}

func position(_ number: Int) -> AccessPosition {
    AccessPosition(sequence: Int64(number), change: FixedTenants.tenant.rawValue)
}

/// 16 or 32 bytes that are another number's nowhere else.
func bytes(_ number: Int, count: Int) -> [UInt8] {
    (0..<count).map { $0 < 8 ? UInt8(truncatingIfNeeded: number >> (8 * $0)) : 7 }
}

func secret(_ number: Int) -> String { SecretFormat.make(.liveKey, random: bytes(number, count: 32)) }

func sampleKey(_ number: Int) -> APIKey {
    let secret = secret(number)
    let display = SecretFormat.display(secret, kind: .liveKey)
    return APIKey(
        id: KeyID(SecretFormat.makeName(prefix: "key_", random: bytes(number, count: 16))),
        tenant: FixedTenants.tenant, name: "the customer's key number \(number)", displayPrefix: display.prefix,
        displaySuffix: display.suffix, tags: ["production"], createdAt: Date())
}

func residentBytes() -> Int {
    let text = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
    return text.split(separator: " ").dropFirst().first.flatMap { Int($0) }.map { $0 * 4_096 } ?? 0
}

func refusal(_ authenticator: Authenticator, _ secret: String, _ now: Date) -> HansardError? {
    do {
        _ = try authenticator.caller(secret, now: now)
        return nil
    } catch {
        return error
    }
}

func measure(_ what: String, keys: Int, count: Int) async throws {
    let before = residentBytes()
    let directory = AccessDirectory(store: FixedTenants(keys: keys), logger: Logger(label: "bench"))
    try await directory.refresh()
    let taken = residentBytes() - before
    let authenticator = Authenticator(directory: directory, secrets: [bytes(1, count: 32)])
    let now = Date()
    var presented = (0..<64).map { secret($0 * max(1, keys / 64) % keys) }
    switch what {
    case "memory": return print(taken / keys)
    case "change": return print(try worstChange(of: try await FixedTenants(keys: keys).accessSnapshot(), count))
    case "unknown": presented = (0..<64).map { secret(keys + $0) }
    // The last character of the checksum is another.
    case "junk": presented = presented.map { $0.dropLast() + ($0.last == "0" ? "1" : "0") }
    case "token":
        presented = try presented.map { secret in
            try authenticator.grant(to: try authenticator.caller(secret, now: now), seconds: 60, now: now)
        }
    default: break
    }
    let isKnown = ["known", "token"].contains(what)
    let start = clock()
    for index in 0..<count {
        let refused = refusal(authenticator, presented[index % presented.count], now)
        precondition(isKnown ? refused == nil : refused?.code == .unauthenticated)
    }
    print(Double(clock() - start) / Double(CLOCKS_PER_SEC) / Double(count) * 1e6)
}

/// While a reader has the snapshot in its hands, as a busy node's always do.
func worstChange(of snapshot: AccessSnapshot, _ count: Int) throws -> Double {
    var current = snapshot
    var worst = Duration.zero
    for number in 0..<count {
        let held = current
        var changes = AccessChanges(position: position(number + 2))
        changes.keys = [(Authenticator.digest(of: secret(number)), sampleKey(number))]
        worst = max(worst, ContinuousClock().measure { current.apply(changes) })
        precondition(held.position.sequence < current.position.sequence)
    }
    return Double(worst.components.attoseconds) / 1e12
}

let arguments = CommandLine.arguments
let (keys, count) = (Int(arguments[2]) ?? 1, arguments.count > 3 ? Int(arguments[3]) ?? 1 : 1)
try runOnOwnThread { try await measure(arguments[1], keys: keys, count: count) }
