import Foundation

/// Postgres' own programs, run on one data directory, as the system user that may run them.
struct ClusterCommands {
    /// Bytes that the path of a Unix socket may have, without its terminator (`sun_path`, unix(7)).
    static let maximumSocketPathBytes = 107
    /// The port is only a part of the socket's name; nothing listens on TCP.
    static let socketName = ".s.PGSQL.5432"

    let dataDirectory: String
    private let options: PrivateCluster.Options
    private let programs: String
    /// Who runs the server; nil is we ourselves.
    private let systemUser: ClusterFiles.SystemUser?
    private var logPath: String { "\(dataDirectory)/server.log" }

    init(dataDirectory: String, options: PrivateCluster.Options) throws(PostgresError) {
        guard dataDirectory.hasPrefix("/") else {
            throw PostgresError(.cluster, "the data directory '\(dataDirectory)' must be an absolute path")
        }
        self.dataDirectory = dataDirectory
        self.options = options
        if let folder = options.programs { programs = folder } else { programs = try Self.installedPrograms() }
        guard FileManager.default.isExecutableFile(atPath: "\(programs)/pg_ctl") else { throw Self.notInstalled }
        systemUser = getuid() == 0 ? try ClusterFiles.SystemUser(named: "postgres") : nil
    }

    private static func installedPrograms() throws(PostgresError) -> String {
        let root = "/usr/lib/postgresql"
        let versions = ((try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []).compactMap { Int($0) }
        for version in versions.sorted(by: >) {
            let folder = "\(root)/\(version)/bin"
            if FileManager.default.isExecutableFile(atPath: "\(folder)/initdb") { return folder }
        }
        throw notInstalled
    }

    private static var notInstalled: PostgresError {
        PostgresError(
            .cluster,
            "no Postgres server was found in /usr/lib/postgresql/*/bin; install the Debian package postgresql-15,"
                + " or set HANSARD_DATABASE_URL to a server that runs elsewhere"
        )
    }

    // MARK: Directories

    /// Whether a cluster has been made there.
    var isInitialized: Bool { FileManager.default.fileExists(atPath: "\(dataDirectory)/PG_VERSION") }

    /// Makes the data directory and gives it, with all that is in it, to the server's user.
    func prepareDataDirectory() throws(PostgresError) {
        try ClusterFiles.makePrivateDirectory(dataDirectory, owner: systemUser)
        if let systemUser { ClusterFiles.give(contentsOf: dataDirectory, to: systemUser) }
        let check = try run(["sh", "-c", "cd \"$0\" && test -w .", dataDirectory])
        guard check.exitStatus == 0 else {
            throw PostgresError(
                .cluster,
                "the system user '\(systemUser?.name ?? "we run as")' cannot use '\(dataDirectory)': every folder above it"
                    + " must be passable (chmod o+x), or choose another HANSARD_STATE_DIR"
            )
        }
    }

    /// The directory if a socket in it has a short enough path, else a new one in /tmp.
    func usableSocketDirectory(_ directory: String) throws(PostgresError) -> String {
        if "\(directory)/\(Self.socketName)".utf8.count <= Self.maximumSocketPathBytes {
            try prepareSocketDirectory(directory)
            return directory
        }
        let directory = try ClusterFiles.makeTemporaryDirectory("/tmp/hansard-XXXXXX")
        try prepareSocketDirectory(directory)
        return directory
    }

    /// Makes the socket's directory, which only the server's user and root may enter: there is no other protection.
    func prepareSocketDirectory(_ directory: String) throws(PostgresError) {
        if directory != dataDirectory { try ClusterFiles.makePrivateDirectory(directory, owner: systemUser) }
    }

    // MARK: Commands

    /// Makes the cluster. Anyone who reaches the socket is trusted, and only we reach it.
    func initialize() throws(PostgresError) {
        var arguments = [
            "\(programs)/initdb", "-D", dataDirectory, "-U", options.superuser, "--auth=trust", "--encoding=UTF8",
            "--locale=C.UTF-8",
        ]
        if !options.isDurable { arguments.append("--no-sync") }
        let outcome = try run(arguments)
        guard outcome.exitStatus == 0 else {
            throw PostgresError(.cluster, "initdb failed in '\(dataDirectory)': \(outcome.output)")
        }
    }

    /// Stops a server whose owner was killed, and removes the file of one that the machine took down with it.
    ///
    /// The lock is ours at this point, so that no living owner's server can be meant.
    func stopLeftover() throws(PostgresError) {
        let path = "\(dataDirectory)/postmaster.pid"
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return }
        let processID = text.split(separator: "\n").first.flatMap { Int32($0) } ?? 0
        // The number may belong to anything by now, after a restart of the machine or of its container.
        guard ClusterFiles.isServer(processID, of: dataDirectory) else {
            unlink(path)
            return
        }
        let outcome = try run(stopCommand)
        guard outcome.exitStatus == 0 || !ClusterFiles.isServer(processID, of: dataDirectory) else {
            throw PostgresError(.cluster, "the server of '\(dataDirectory)' could not be stopped: \(outcome.output)")
        }
    }

    /// Starts the server and waits until it accepts connections.
    func startServer(socketDirectory: String) throws(PostgresError) {
        var settings = options.settings
        settings["listen_addresses"] = ""
        settings["port"] = "5432"
        settings["unix_socket_directories"] = Self.listElement(socketDirectory)
        settings["unix_socket_permissions"] = "0700"
        if !options.isDurable {
            for name in ["fsync", "synchronous_commit", "full_page_writes"] { settings[name] = "off" }
        }
        let arguments = settings.sorted { $0.key < $1.key }
            .map { "-c \(Self.shellQuoted("\($0.key)=\($0.value)"))" }.joined(separator: " ")
        let outcome = try run([
            "\(programs)/pg_ctl", "start", "-D", dataDirectory, "-w", "-t", String(options.timeoutSeconds),
            "-l", logPath, "-s", "-o", arguments,
        ])
        guard outcome.exitStatus == 0 else {
            throw PostgresError(
                .cluster,
                "the server of '\(dataDirectory)' did not start: \(outcome.output)\n\(ClusterFiles.end(of: logPath))"
            )
        }
    }

    /// Starts the process that stops the server when its standard input ends.
    ///
    /// It inherits the lock, so that no new owner can start a server before it has done its work on the old one.
    func startWatchdog(
        standardInput: Int32,
        lock: Int32,
        socketDirectory: String
    ) throws(PostgresError) -> ChildProcess {
        // A start may be under way when the owner dies, so that stopping is tried again for a while.
        let script = """
            sockets=$1; shift
            read -r _
            "$@"
            tries=0
            while [ -e "$0/postmaster.pid" ] && [ $tries -lt 20 ]; do sleep 0.5; "$@"; tries=$((tries + 1)); done
            case "$sockets" in /tmp/hansard-*) rmdir "$sockets" ;; esac
            """
        return try ChildProcess(
            command(["sh", "-c", script, dataDirectory, socketDirectory] + stopCommand),
            standardInput: standardInput,
            keeping: lock
        )
    }

    private var stopCommand: [String] {
        [
            "\(programs)/pg_ctl", "stop", "-D", dataDirectory, "-m", "fast", "-w", "-t", String(options.timeoutSeconds),
            "-s",
        ]
    }

    private func run(_ arguments: [String]) throws(PostgresError) -> ChildProcess.Outcome {
        try ChildProcess.run(command(arguments))
    }

    private func command(_ arguments: [String]) -> [String] {
        guard let systemUser else { return arguments }
        return ["setpriv", "--reuid=\(systemUser.id)", "--regid=\(systemUser.group)", "--init-groups", "--"] + arguments
    }

    /// An element of a setting that is a list: quoted as an SQL name is.
    private static func listElement(_ text: String) -> String {
        "\"" + text.replacing("\"", with: "\"\"") + "\""
    }

    /// pg_ctl hands its `-o` to a shell.
    private static func shellQuoted(_ text: String) -> String {
        "'" + text.replacing("'", with: "'\\''") + "'"
    }
}
