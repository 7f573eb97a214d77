import Foundation

/// What `hansard dev` prints when it is ready: how to try it. It shows no secret, since output ends up in logs.
struct DevGuide {
    /// The whole text.
    let text: String

    init(server: DevServer) {
        self.init(
            url: server.url,
            environmentFile: Self.short("\(server.directory.path)/\(DevEnvironmentFile.name)"),
            made: server.made,
            program: Self.short(CommandLine.arguments[0])
        )
    }

    init(url: String, environmentFile: String, made: [String], program: String) {
        let news = made.isEmpty ? "" : "\nMade: \(made.joined(separator: ", ")).\n"
        text = """

            Hansard is ready at \(url)\(news)
            Try it in another terminal:

              . \(environmentFile)
              \(program) transcribe speech.wav
              curl -H "Authorization: Token $HANSARD_API_KEY" \(url)/v1/transcripts

            Or with an unmodified Deepgram SDK (pip install deepgram-sdk):

              import os
              from deepgram import DeepgramClient
              from deepgram.environment import DeepgramClientEnvironment
              url = os.environ["HANSARD_URL"]
              here = DeepgramClientEnvironment(base=url, production=url.replace("http", "ws"), agent=url, agent_rest=url)
              client = DeepgramClient(api_key=os.environ["HANSARD_API_KEY"], environment=here)
              with client.listen.v1.connect(model="general") as session:
                  with open("speech.wav", "rb") as audio:
                      while piece := audio.read(8000):
                          session.send_media(piece)
                  session.send_close_stream()
                  for message in session:
                      print(message)

            Ctrl-C stops everything; the data stays.

            """
    }

    /// Relative to the working directory if it lies below it.
    private static func short(_ path: String) -> String {
        let folder = FileManager.default.currentDirectoryPath + "/"
        return path.hasPrefix(folder) ? String(path.dropFirst(folder.count)) : path
    }
}
