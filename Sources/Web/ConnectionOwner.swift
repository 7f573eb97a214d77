internal import CLibwebsockets

/// Whom a connection of the library belongs to: its own data is an object, which it keeps alive until its last callback.
/// All of a context's connections belong to objects of one class.
func owner<Owner: AnyObject>(of wsi: OpaquePointer?, as type: Owner.Type) -> Owner? {
    guard let wsi, let pointer = lws_get_opaque_user_data(wsi) else { return nil }
    return Unmanaged<Owner>.fromOpaque(pointer).takeUnretainedValue()
}

/// The object whose connection is being destroyed: the library gives up its reference.
func lastOwner<Owner: AnyObject>(of wsi: OpaquePointer?, as type: Owner.Type) -> Owner? {
    guard let wsi, let pointer = lws_get_opaque_user_data(wsi) else { return nil }
    lws_set_opaque_user_data(wsi, nil)
    return Unmanaged<Owner>.fromOpaque(pointer).takeRetainedValue()
}
