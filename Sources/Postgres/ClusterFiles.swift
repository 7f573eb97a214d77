import Foundation

/// The files and directories around a private cluster: owners, locks, what the kernel knows of its process.
enum ClusterFiles {
    /// A user of the machine.
    struct SystemUser {
        var name: String
        var id: uid_t
        var group: gid_t

        /// Looks the user up. Throws `.cluster` if there is none.
        init(named name: String) throws(PostgresError) {
            guard let entry = getpwnam(name) else {
                throw PostgresError(
                    .cluster,
                    "there is no system user '\(name)', as which to run Postgres when we are root; it comes with the Debian"
                        + " package postgresql-15"
                )
            }
            self.name = name
            id = entry.pointee.pw_uid
            group = entry.pointee.pw_gid
        }
    }

    /// Makes a directory, and those above it, unless it exists, and keeps all but its owner out of it.
    static func makePrivateDirectory(_ path: String, owner: SystemUser?) throws(PostgresError) {
        do {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        } catch {
            throw PostgresError(.cluster, "the directory '\(path)' cannot be made: \(error)")
        }
        var status = stat()
        guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
            throw PostgresError(.cluster, "'\(path)' is not a directory")
        }
        if let owner, chown(path, owner.id, owner.group) != 0 { throw systemError("chown of '\(path)'") }
        if chmod(path, 0o700) != 0 { throw systemError("chmod of '\(path)'") }
    }

    /// Makes a directory whose name ends in random letters. Throws `.cluster`.
    static func makeTemporaryDirectory(_ template: String) throws(PostgresError) -> String {
        var path = Array(template.utf8CString)
        guard mkdtemp(&path) != nil else { throw systemError("mkdtemp in '\(template)'") }
        return String(decoding: path.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Gives everything in a directory to a user, for data that was copied or restored as root. Links are not followed.
    static func give(contentsOf directory: String, to user: SystemUser) {
        guard let names = FileManager.default.enumerator(atPath: directory) else { return }
        for case let name as String in names { lchown("\(directory)/\(name)", user.id, user.group) }
    }

    /// Locks a file beside a directory for as long as a copy of the returned descriptor is open in any process.
    ///
    /// If its last owner was killed, waits for its watchdog, which still has to stop the server. Blocks.
    ///
    /// - Throws: `.cluster` if a living process holds the lock.
    static func lock(besides directory: String, timeoutSeconds: Int) throws(PostgresError) -> Int32 {
        let path = directory + ".lock"
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw systemError("open of '\(path)'") }
        let deadline = ContinuousClock.now + .seconds(timeoutSeconds)
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            let owner = Int32(((try? String(contentsOfFile: path, encoding: .utf8)) ?? "").prefix { $0 != "\n" }) ?? 0
            let isAlive = owner > 0 && (kill(owner, 0) == 0 || errno == EPERM)
            if isAlive || ContinuousClock.now > deadline {
                close(descriptor)
                throw PostgresError(
                    .cluster,
                    "the process \(owner) uses the database in '\(directory)'; stop it first"
                )
            }
            usleep(50_000)
        }
        ftruncate(descriptor, 0)
        let owner = "\(getpid())\n"
        _ = pwrite(descriptor, owner, owner.utf8.count, 0)
        return descriptor
    }

    /// Whether a process is a Postgres server of that data directory: one changes into it when it starts.
    static func isServer(_ processID: Int32, of dataDirectory: String) -> Bool {
        guard processID > 0 else { return false }
        let files = FileManager.default
        guard let directory = try? files.destinationOfSymbolicLink(atPath: "/proc/\(processID)/cwd"),
            let program = try? files.destinationOfSymbolicLink(atPath: "/proc/\(processID)/exe")
        else { return false }
        let real = URL(fileURLWithPath: dataDirectory).resolvingSymlinksInPath().path
        return directory == real && URL(fileURLWithPath: program).lastPathComponent.hasPrefix("postgres")
    }

    /// The last lines of a log.
    static func end(of path: String) -> String {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return "" }
        return text.split(separator: "\n").suffix(10).joined(separator: "\n")
    }
}
