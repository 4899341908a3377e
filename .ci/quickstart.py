"""Print the first two `sh` blocks of a README, which are one line each: what a newcomer types."""

import pathlib
import re
import sys

blocks = re.findall(
    r"^```sh\n(.*?)^```", pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)
for block in blocks[:2]:
    (line,) = block.strip().splitlines()
    print(line)
