import EventLoops
import Foundation
import Hansard
import Logging

/// How a spool finds what an earlier life left, and what becomes of files that are damaged.
///
/// A torn end is what a crash leaves. Damage before it is none: what the damaged bytes said is lost, and nobody knows of which sessions.
/// So the file is kept aside as it was found, under a name that the spool does not read, and the lives that wrote it do not count as
/// complete while it is there. Its intact records are put in its place, so that damage is found once.
extension Spool {
    private static let suffix = ".spool"
    private static let damagedSuffix = ".spool.damaged"

    func url(of index: Int) -> URL { folder.appending(path: Self.name(index) + Self.suffix) }

    /// Where a file is kept that was damaged, and what was damaged in its place later.
    private func damagedURL(of index: Int, _ time: Int) -> URL {
        folder.appending(path: Self.name(index) + (time > 1 ? "-\(time)" : "") + Self.damagedSuffix)
    }

    private static func name(_ index: Int) -> String {
        let digits = String(index)
        return String(repeating: "0", count: max(0, 8 - digits.count)) + digits
    }

    /// Reads every file in order.
    func recover() throws -> SpoolRecovery {
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
        let indexes = names.filter { $0.hasSuffix(Self.suffix) }.compactMap { Int($0.dropLast(Self.suffix.count)) }
            .sorted()
        let damaged = names.filter { $0.hasSuffix(Self.damagedSuffix) }
        for name in damaged {
            logger.warning(
                "a damaged spool file is kept; until it is removed, earlier lives of the node may have left more usage",
                metadata: ["file": "\(name)"])
        }
        state.withLock { $0.damagedFiles = Set(damaged) }
        var recovery = SpoolRecovery()
        var contents = state.withLock(\.contents)
        for index in indexes {
            let bytes = try Self.contents(url(of: index))
            let reading = SpoolFraming.read(bytes)
            if reading.tornBytes > 0, !reading.isDamaged {
                logger.notice(
                    "a spool file ends in a torn record",
                    metadata: [
                        "file": "\(index)", "good_bytes": "\(reading.intactBytes)", "bytes": "\(bytes.count)",
                    ])
            }
            contents.begin(index)
            for payload in reading.payloads {
                let record = try record(payload, of: index)
                recovery.add(record)
                contents.add(payload.count + SpoolFraming.headerBytes, of: record)
            }
            let isRepaired = try reading.isDamaged && repair(index, reading)
            contents.addTorn(isRepaired ? 0 : bytes.count - reading.intactBytes)
        }
        contents.keep(recovery.strays.union(recovery.sessions.map(\.began.session)))
        state.withLock { state in
            // Not the number of one that is kept aside, which may be damaged as well.
            state.index = max(indexes.last ?? 0, damaged.compactMap { Int($0.prefix { $0.isNumber }) }.max() ?? 0)
            state.contents = contents
        }
        try syncLeft(indexes)
        if case .delete(let files) = contents.nextStep { delete(files) }
        return recovery
    }

    private func record(_ payload: ArraySlice<UInt8>, of index: Int) throws -> SpoolRecord {
        do {
            return try JSONDecoder().decode(SpoolRecord.self, from: Data(payload))
        } catch {
            // The checksum is right, so another version of Hansard wrote it: better to stop than to lose it.
            throw HansardError(.internal, "file \(index) of the spool holds a record of an unknown form: \(error)")
        }
    }

    // MARK: Damaged files

    /// Keeps the file aside, and puts what is intact of it in its place.
    ///
    /// - Returns: whether the latter is done; else the damage is found again at the next start.
    private func repair(_ index: Int, _ reading: SpoolFraming.Reading) throws -> Bool {
        try keepDamaged(index)
        state.withLock { $0.failures += 1 }
        logger.error(
            "a spool file is damaged; what is intact is recovered, and the file is kept",
            metadata: [
                "file": "\(index)", "damaged_bytes": "\(reading.damaged.reduce(0) { $0 + $1.count })",
                "records_behind": "\(reading.payloadsBehindDamage)",
            ])
        do {
            let fresh = url(of: index).appendingPathExtension("repaired")
            try Data(reading.payloads.flatMap { SpoolFraming.frame(Array($0)) }).write(to: fresh)
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: fresh.path)
            try Self.synchronize(fresh)
            guard rename(fresh.path, url(of: index).path) == 0 else {
                throw HansardError(.unavailable, String(cString: strerror(errno)))
            }
            try FileManager.syncFolder(folder)
            return true
        } catch {
            logger.warning("a damaged spool file cannot be replaced by what is intact of it", error)
            return false
        }
    }

    /// The file stays as it is under a name that the spool neither reads nor deletes. It may be there already: a start that got no
    /// further left it, or damage that was found while the spool was used.
    ///
    /// - Returns: whether it was not.
    @discardableResult
    func keepDamaged(_ index: Int) throws -> Bool {
        let file = url(of: index)
        var (time, isNew) = (1, true)
        while FileManager.default.fileExists(atPath: damagedURL(of: index, time).path) {
            isNew = !FileManager.default.contentsEqual(
                atPath: file.path, andPath: damagedURL(of: index, time).path)
            if !isNew { break }
            time += 1
        }
        let kept = damagedURL(of: index, time)
        if isNew, link(file.path, kept.path) != 0 {
            // Some file systems have no links.
            let copy = kept.appendingPathExtension("copy")
            try? FileManager.default.removeItem(at: copy)
            try FileManager.default.copyItem(at: file, to: copy)
            try Self.synchronize(copy)
            guard rename(copy.path, kept.path) == 0 else {
                throw HansardError(.unavailable, "its damaged file \(index) cannot be kept")
            }
        }
        try Self.synchronize(kept)
        try FileManager.syncFolder(folder)
        state.withLock { _ = $0.damagedFiles.insert(kept.lastPathComponent) }
        return isNew
    }

    private static func synchronize(_ file: URL) throws {
        let handle = try FileHandle(forReadingFrom: file)
        defer { try? handle.close() }
        try handle.synchronize()
    }

    /// What a killed process wrote need not be on the disk, and files are deleted because of it.
    private func syncLeft(_ indexes: [Int]) throws {
        for index in indexes {
            let handle = try FileHandle(forReadingFrom: url(of: index))
            guard syncData(handle.fileDescriptor) else {
                throw HansardError(
                    .unavailable, "its file \(index) cannot be synced: \(String(cString: strerror(errno)))")
            }
        }
    }
}
