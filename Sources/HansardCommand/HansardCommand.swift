import ArgumentParser

@main
struct HansardCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "hansard")
}
