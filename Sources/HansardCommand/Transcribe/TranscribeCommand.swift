import ArgumentParser
import EventLoops
import Foundation
import Synchronization
import Web

/// Streams a recording to a server and shows what it hears.
struct TranscribeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "transcribe",
        abstract: "Stream a WAV file and print what is heard.",
        discussion: """
            Without --url and --key it asks the server of HANSARD_URL with HANSARD_API_KEY, or else the `hansard dev` of this \
            folder (dev.env in HANSARD_STATE_DIR). In a terminal the interim line is redrawn; elsewhere interim results are \
            printed only with --interim, as lines that begin with an ellipsis. Ctrl-C ends the recording early.

            EXIT STATUS
            0 heard to the end; 1 no connection, refused, or ended by the server; 2 no such file, not a WAV, bad options
            """
    )

    @Argument(help: ArgumentHelp("A WAV file, or - for standard input.", valueName: "file"))
    var file: String

    @Option(help: "The server, for example http://127.0.0.1:8080.")
    var url: String?

    @Option(help: "An API key. It shows in the list of processes; HANSARD_API_KEY does not.")
    var key: String?

    @Option(help: "The language spoken.")
    var language = "en"

    @Option(help: "The model to ask for.")
    var model = "general"

    @Flag(inversion: .prefixedNo, help: "Show interim results. (default: in a terminal, and with --json)")
    var interim: Bool?

    @Flag(help: "Send as fast as the server takes it, not at the pace of the recording.")
    var fast = false

    @Flag(help: "Print each message of the server as a line.")
    var json = false

    @Flag(help: "Print SubRip subtitles at the end.")
    var srt = false

    func validate() throws {
        if json && srt { throw ValidationError("--json and --srt exclude each other") }
    }

    func run() async throws {
        let environment = ProcessInfo.processInfo.environment
        let target = try TranscribeTarget.find(url: url, key: key, environment: environment) {
            DevEnvironmentFile(stateDirectory: environment["HANSARD_STATE_DIR"] ?? ".hansard")
        }
        let wantsInterim = interim ?? (json || (StandardOutput.isTerminal && !srt))
        let request = try target.request(model: model, language: language, interim: wantsInterim)
        let source = try AudioSource(path: file)
        let header = try await source.readHeader()
        let transcription = Transcription(
            source: source,
            header: header,
            isFast: fast,
            style: style(wantsInterim),
            signals: StopSignals.install()
        )
        // The loop ends with the process.
        try await transcription.run(request, url: target.url, on: try EventLoop(name: "client"))
    }

    private func style(_ wantsInterim: Bool) -> TranscriptPrinter.Style {
        if json { return .json }
        if srt { return .subtitles }
        if StandardOutput.isTerminal && wantsInterim { return .terminal(width: StandardOutput.columns) }
        return .lines(interim: wantsInterim)
    }
}
