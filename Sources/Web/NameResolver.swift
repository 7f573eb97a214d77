internal import CLibwebsockets
internal import EventLoops
import Foundation

/// Resolves names with `getaddrinfo`, which blocks, on threads of its own.
enum NameResolver {
    /// Two, so that one slow name does not hold up all the others.
    private static let threads = [WorkerThread(name: "resolver 1"), WorkerThread(name: "resolver 2")]

    /// Calls `completion` with at least one address, on some thread, or at once if `host` is an address.
    static func resolve(
        _ host: String,
        _ completion: @escaping @Sendable (Result<[IPAddress], WebSocketConnectError>) -> Void
    ) {
        if let address = IPAddress(host) { return completion(.success([address])) }
        // By name, so that the same slow name waits for itself.
        let index = Int(UInt(bitPattern: host.hashValue) % UInt(threads.count))
        threads[index].execute { completion(lookUp(host)) }
    }

    private static func lookUp(_ host: String) -> Result<[IPAddress], WebSocketConnectError> {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, nil, &hints, &list)
        defer { if let list { freeaddrinfo(list) } }
        guard code == 0 else {
            return .failure(
                WebSocketConnectError(
                    .nameNotResolved,
                    "cannot resolve \(host): \(String(cString: gai_strerror(code)))"
                )
            )
        }
        var addresses: [IPAddress] = []
        var next = list
        while let info = next?.pointee {
            var storage = sockaddr_storage()
            let count = min(Int(info.ai_addrlen), MemoryLayout<sockaddr_storage>.size)
            if let address = info.ai_addr {
                withUnsafeMutableBytes(of: &storage) {
                    $0.copyMemory(from: UnsafeRawBufferPointer(start: address, count: count))
                }
            }
            if let peer = PeerAddress(storage), !addresses.contains(peer.address) { addresses.append(peer.address) }
            next = info.ai_next
        }
        return addresses.isEmpty
            ? .failure(WebSocketConnectError(.nameNotResolved, "\(host) has no address")) : .success(addresses)
    }
}
