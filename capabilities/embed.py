#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""embed.py IN OUT NAME: the text IN as a C string NAME."""
import json
import pathlib
import sys

text = pathlib.Path(sys.argv[1]).read_text(encoding="ascii")
lines = "\n".join("    " + json.dumps(line) for line in text.splitlines(True))
pathlib.Path(sys.argv[2]).write_text(f"static const char {sys.argv[3]}[] =\n{lines};\n")
