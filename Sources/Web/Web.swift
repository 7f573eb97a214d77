internal import CLibwebsockets
func versionProbe() -> String { String(cString: lws_get_library_version()) }
