internal import CLibuv
import Foundation

/// A thread whose name debuggers, `top -H` and /proc show; Linux keeps its first 15 bytes. Foundation alone keeps the name
/// to itself.
func startThread(name: String, stackSize: Int? = nil, _ body: @escaping @Sendable () -> Void) {
    let thread = Thread {
        _ = String(decoding: name.utf8.prefix(15), as: UTF8.self).withCString { pthread_setname_np(pthread_self(), $0) }
        body()
    }
    thread.name = name
    if let stackSize { thread.stackSize = stackSize }
    thread.start()
}
