"""Programs in Swift that do one thing over and over, against the modules and objects of the release build, so that what is
measured is what is shipped."""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from places import PROJECT

RELEASE = PROJECT / ".build/release"


@dataclass(frozen=True)
class Program:
    """Its sources are those of the folder of its name beside this file, with what all of them share."""

    name: str
    targets: list[str]
    libraries: list[str]
    # Compiled into it as well.
    sources: list[Path] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return PROJECT / ".build" / self.name

    def compile(self) -> None:
        here = Path(__file__).parent
        maps = [f"-fmodule-map-file={path}" for path in PROJECT.glob("Sources/C*/module.modulemap")]
        objects = [str(path) for target in self.targets for path in (RELEASE / f"{target}.build").rglob("*.o")]
        subprocess.run(
            ["swiftc", "-O", "-wmo", "-swift-version", "6", "-module-name", self.name, *self.sources]
            + [here / self.name / "main.swift", here / "OwnThread.swift"]
            + ["-I", RELEASE / "Modules", *(part for flag in maps for part in ("-Xcc", flag)), *objects]
            + [*(f"-l{library}" for library in self.libraries), "-o", self.path],
            check=True,
        )

    def said(self, *arguments: object) -> str:
        command = [self.path, *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def instructions(self, few: int, many: int, *arguments: object) -> int:
        """Of one, by callgrind; the program's last argument is how many. What its start costs is taken away by the
        difference."""
        return (self._collected(many, *arguments) - self._collected(few, *arguments)) // (many - few)

    def _collected(self, count: int, *arguments: object) -> int:
        command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", self.path]
        command += [*map(str, arguments), str(count)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stderr
        return int(re.search(r"Collected : (\d+)", output)[1])
