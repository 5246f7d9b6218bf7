#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Dependencies point one way (DESIGN section 10); includes are written from the top, so each names its folder."""
import pathlib
import re
import sys

ALLOWED = {
    "protocols": {"protocols"},
    "capabilities": {"capabilities", "protocols/base"},
    "ipc": {"ipc", "capabilities", "protocols/base"},
    "netdrv": {"netdrv", "ipc", "capabilities", "protocols"},
    "servers": {"servers", "netdrv", "ipc", "capabilities", "protocols"},
    "bench": {"bench", "servers", "netdrv", "ipc", "protocols"},
    "tests": {"tests", "bench", "servers", "netdrv", "ipc", "capabilities", "protocols"},
}
SYSTEM_IN_PROTOCOLS = {"stdint.h", "stddef.h", "stdbool.h", "string.h", "stdalign.h", "limits.h"}
TOP = {"servers", "ipc", "protocols", "netdrv", "capabilities", "tests", "bench", "meson.build", "README.md", "LICENSE"}


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    wrong = []
    for folder, allowed in ALLOWED.items():
        for path in sorted((root / folder).rglob("*.[ch]")):
            name = path.relative_to(root)
            for number, line in enumerate(path.read_text().splitlines(), 1):
                local = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
                system = re.match(r"\s*#\s*include\s+<([^>]+)>", line)
                if local and not any(local[1].startswith(a + "/") for a in allowed):
                    wrong.append(f'{name}:{number}: {folder}/ may not include "{local[1]}"')
                if system and folder == "protocols" and system[1] not in SYSTEM_IN_PROTOCOLS:
                    wrong.append(f"{name}:{number}: protocols/ may not include <{system[1]}>")
    for entry in root.iterdir():
        if not entry.name.startswith(".") and not entry.name.startswith("build") and entry.name not in TOP:
            wrong.append(f"{entry.name}: not part of the top level")
    for folder in ALLOWED:
        readme = root / folder / "README.md"
        lines = len(readme.read_text().splitlines()) if readme.exists() else 0
        if not 5 <= lines <= 40:
            wrong.append(f"{folder}/README.md: {lines} lines, 5 to 40 wanted")
    print("\n".join(wrong))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
