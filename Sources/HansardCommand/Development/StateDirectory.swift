import Foundation

/// The folder that `hansard dev` keeps everything in, owned by one process at a time.
final class StateDirectory: Sendable {
    /// Absolute.
    let path: String
    /// Holds the lock for as long as it is open; the kernel lets go of it however the process ends (flock(2)).
    private let lock: Int32

    private static let lockName = "dev.lock"
    private static let secretName = "secret"

    /// Makes the folder if need be and takes it.
    ///
    /// - Throws: `CommandFailure` if another process has it, or it cannot be made.
    init(path: String) throws {
        let absolute = URL(filePath: path).standardizedFileURL.path
        self.path = absolute
        // Postgres does not run as root but as a system user, who must be able to pass through to its own folder; the
        // secrets in here are files of mode 0600.
        let mode: mode_t = geteuid() == 0 ? 0o711 : 0o700
        do {
            let parent = URL(filePath: absolute).deletingLastPathComponent()
            try FileManager.default.createDirectory(at: parent, withIntermediateDirectories: true)
        } catch {
            throw CommandFailure(message: "the folder above \(absolute) (HANSARD_STATE_DIR) cannot be made: \(error)")
        }
        guard mkdir(absolute, mode) == 0 || errno == EEXIST, chmod(absolute, mode) == 0 else {
            throw Self.failure("the state folder \(absolute) (HANSARD_STATE_DIR) cannot be made")
        }
        let lock = open("\(absolute)/\(Self.lockName)", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard lock >= 0 else { throw Self.failure("the state folder \(absolute) (HANSARD_STATE_DIR) cannot be used") }
        guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
            var buffer = [UInt8](repeating: 0, count: 32)
            let count = max(0, pread(lock, &buffer, buffer.count, 0))
            close(lock)
            let owner = String(decoding: buffer[..<count].prefix { $0 != 0x0a }, as: UTF8.self)
            throw CommandFailure(
                message:
                    "another `hansard dev` (process \(owner)) uses \(absolute); stop it, or choose another folder with "
                    + "HANSARD_STATE_DIR and another address with HANSARD_LISTEN"
            )
        }
        let owner = Array("\(getpid())\n".utf8)
        _ = ftruncate(lock, 0)
        _ = pwrite(lock, owner, owner.count, 0)
        self.lock = lock
    }

    deinit { close(lock) }

    /// What a client on this machine needs to know, as the last start wrote it.
    func environment() -> DevEnvironmentFile? { DevEnvironmentFile(stateDirectory: path) }

    /// Writes it anew.
    func write(_ environment: DevEnvironmentFile) throws {
        try write(environment.text, to: DevEnvironmentFile.name)
    }

    /// The server's secret; made by `make` and kept the first time.
    func secret(make: () -> String) throws -> String {
        if let bytes = FileManager.default.contents(atPath: "\(path)/\(Self.secretName)") {
            let kept = String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
            if !kept.isEmpty { return kept }
        }
        let made = make()
        try write(made + "\n", to: Self.secretName)
        return made
    }

    /// Writes a file that only its owner may read, wholly or not at all, even if the machine stops meanwhile.
    private func write(_ text: String, to name: String) throws {
        let temporary = "\(path)/.\(name).new"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Self.failure("\(temporary) cannot be written") }
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        // A file left behind by a killed process may have had another mode.
        guard fchmod(descriptor, 0o600) == 0, Foundation.write(descriptor, bytes, bytes.count) == bytes.count,
            fsync(descriptor) == 0, rename(temporary, "\(path)/\(name)") == 0
        else { throw Self.failure("\(path)/\(name) cannot be written") }
    }

    private static func failure(_ what: String) -> CommandFailure {
        CommandFailure(message: "\(what): \(String(cString: strerror(errno)))")
    }
}
