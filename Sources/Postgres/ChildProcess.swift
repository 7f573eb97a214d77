internal import CPostgres
import Glibc

/// A program that runs beside ours, in a process group of its own, so that a Ctrl-C at our terminal does not reach it: its
/// starter ends it in its own order.
struct ChildProcess {
    /// How a child that has ended went, and what it wrote to standard output and error.
    struct Outcome {
        var exitStatus: Int32
        var output: String
    }

    private let processID: pid_t

    /// Starts a program that reads `standardInput`; what it writes is lost. `kept` stays open in it, as number 3.
    init(_ arguments: [String], standardInput: Int32, keeping kept: Int32) throws(PostgresError) {
        let null = open("/dev/null", O_WRONLY | O_CLOEXEC)
        defer { close(null) }
        processID = try Self.spawn(arguments, standardInput: standardInput, standardOutput: null, kept: kept)
    }

    /// Waits until it has ended. Blocks.
    func wait() {
        var status: Int32 = 0
        while waitpid(processID, &status, 0) < 0, errno == EINTR {}
    }

    /// Runs a program to its end. Blocks. Of its output the first 64 KiB are kept.
    static func run(_ arguments: [String]) throws(PostgresError) -> Outcome {
        let channel = try closedOnExecChannel()
        let null = open("/dev/null", O_RDONLY | O_CLOEXEC)
        defer {
            close(null)
            close(channel.ours)
        }
        let processID: pid_t
        do {
            processID = try spawn(arguments, standardInput: null, standardOutput: channel.theirs)
        } catch {
            close(channel.theirs)
            throw error
        }
        close(channel.theirs)
        let output = readToEnd(channel.ours, limit: 64 << 10)
        var status: Int32 = 0
        while waitpid(processID, &status, 0) < 0, errno == EINTR {}
        // WIFEXITED and WEXITSTATUS are macros that Swift does not see.
        let exitStatus = status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
        return Outcome(exitStatus: exitStatus, output: output)
    }

    /// Two connected ends that no other child inherits, even one that another thread is starting right now.
    ///
    /// A socket pair because `pipe2`, which sets the flag in the same step, is not in Swift's Glibc module.
    static func closedOnExecChannel() throws(PostgresError) -> (ours: Int32, theirs: Int32) {
        var ends: [Int32] = [-1, -1]
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, type, 0, &ends) == 0 else { throw systemError("socketpair") }
        return (ends[0], ends[1])
    }

    private static func spawn(
        _ arguments: [String],
        standardInput: Int32,
        standardOutput: Int32,
        kept: Int32? = nil
    ) throws(PostgresError) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, standardInput, 0)
        posix_spawn_file_actions_adddup2(&actions, standardOutput, 1)
        posix_spawn_file_actions_adddup2(&actions, standardOutput, 2)
        // Sockets and files of ours that lack O_CLOEXEC would otherwise stay open for as long as the child lives.
        if let kept { posix_spawn_file_actions_adddup2(&actions, kept, 3) }
        posix_spawn_file_actions_addclosefrom_np(&actions, kept == nil ? 3 : 4)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // The child begins with our thread's signal mask and ignored signals; it should have the defaults.
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        sigfillset(&signals)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        let flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
        posix_spawnattr_setflags(&attributes, Int16(flags))
        var processID: pid_t = 0
        var pointers = arguments.map { strdup($0) } + [nil]
        defer { pointers.forEach { free($0) } }
        let result = posix_spawnp(&processID, arguments[0], &actions, &attributes, &pointers, environ)
        guard result == 0 else {
            throw PostgresError(
                .cluster,
                "'\(arguments[0])' could not be started: \(String(cString: strerror(result)))"
            )
        }
        return processID
    }

    private static func readToEnd(_ descriptor: Int32, limit: Int) -> String {
        var output: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4_096)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            if count <= 0 { break }
            output.append(contentsOf: buffer.prefix(min(count, limit - output.count)))
        }
        return String(decoding: output, as: UTF8.self)
    }
}

/// What the system said about the call that just failed.
func systemError(_ call: String) -> PostgresError {
    PostgresError(.cluster, "\(call): \(String(cString: strerror(errno)))")
}
