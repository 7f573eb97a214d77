internal import CLibuv

/// What libuv says when it refuses something.
public struct EventLoopError: Error, Equatable, CustomStringConvertible {
    /// The negative error code of libuv, for instance `-24` for `EMFILE`.
    public let code: Int32

    init(code: Int32) { self.code = code }

    /// libuv's name and text for the code.
    public var description: String {
        "\(String(cString: uv_err_name(code))): \(String(cString: uv_strerror(code)))"
    }
}
