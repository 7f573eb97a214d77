/// The table of settings as text: for `--help` and for docs/settings.md.
public enum SettingsReference {
    /// How settings are given, in the words of both texts.
    static let introduction = """
        Each setting is read from the environment first, then from the YAML file of --config, where its name is written \
        in lower case without HANSARD_ (`listen: 0.0.0.0:8080`); lists may be YAML lists. An empty value counts as not \
        given. Paths are relative to the working directory. An unknown key in the file is an error.
        """

    /// For a terminal: two lines for each setting.
    public static var help: String {
        let rows = Setting.all.map { setting in
            "\(setting.name)  (\(setting.unit); default: \(defaultText(of: setting)))\n    \(setting.meaning)"
        }
        return "SETTINGS\n" + introduction + "\n\n" + rows.joined(separator: "\n")
    }

    /// docs/settings.md, whole.
    public static var markdown: String {
        let rows = Setting.all.map { setting in
            let cells = ["`\(setting.name)`", setting.unit, defaultText(of: setting), setting.meaning]
            return "| " + cells.map { $0.split(separator: "|").joined(separator: "\\|") }.joined(separator: " | ")
                + " |"
        }
        return """
            # Settings

            <!-- Written by `hansard settings-reference`; a test compares. -->

            \(introduction)

            `hansard dev` takes the same settings and makes only what is not given. AWS settings keep the SDKs' own names.
            What is wrong with the settings is told all at once, with where it was found and what would be right; the server
            then ends with status 2.

            | setting | kind | default | meaning |
            |---|---|---|---|
            \(rows.joined(separator: "\n"))

            """
    }

    private static func defaultText(of setting: Setting) -> String {
        guard let development = setting.development else { return setting.defaultText }
        return "\(setting.defaultText) (dev: \(development.text))"
    }
}
