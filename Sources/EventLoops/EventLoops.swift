internal import CLibuv
func versionProbe() -> String { String(cString: uv_version_string()) }
