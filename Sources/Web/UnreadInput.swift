internal import CLibwebsockets
import Foundation

/// What has come on a connection beyond the request that is being answered, while reading is paused.
///
/// The connection ends with the answer then, because what has come may be no request: 4.1.6 takes a header whose name begins
/// one that it knows (`If`) for one with the next line, and if that was the length of a body, the body would be carried out
/// (source: `lws_parse`, where an unknown name ends at the colon after the one at which it became unknown). Clients send
/// again what was not answered (RFC 9112 section 9.3.2).
struct UnreadInput {
    /// Bytes that are thrown away at most, about as many as a socket holds.
    private static let mostDiscarded = 262_144

    let wsi: OpaquePointer

    /// Whether there is something. Asked before the answer is gone: a client may send its next request at once.
    var isThere: Bool {
        var unread: Int32 = 0
        if ioctl(lws_get_socket_fd(wsi), UInt(FIONREAD), &unread) == 0, unread > 0 { return true }
        // Of what the library has read and not used, it tells only whether any connection has such that reads: the answer
        // is in the difference that this one makes.
        let context = lws_get_context(wsi)
        let without = lws_service_adjust_timeout(context, 1, 0)
        lws_rx_flow_control(wsi, 1)
        defer { lws_rx_flow_control(wsi, 0) }
        return without != 0 && lws_service_adjust_timeout(context, 1, 0) == 0
    }

    /// Throws it away. Closing a socket with something unread resets it, and the client would lose the answer.
    func discard() {
        var rest = Self.mostDiscarded
        withUnsafeTemporaryAllocation(byteCount: 4_096, alignment: 1) { buffer in
            while rest > 0 {
                let count = recv(lws_get_socket_fd(wsi), buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT))
                if count <= 0 { return }
                rest -= count
            }
        }
    }
}
