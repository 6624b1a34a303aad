"""Write the numbers of one report as a table (TSV), from the MultiQC content that `sccr impute --multiqc` wrote."""

import json
import sys
from pathlib import Path

PARTS = ("sccr_imputation", "sccr_general")


def rows(folder):
    """Yield the name, value and meaning of every number; a number that is in both parts appears once."""
    seen = set()
    for part in PARTS:
        for path in sorted(folder.glob("*" + part + "_mqc.json")):
            content = json.loads(path.read_text(encoding="utf-8"))
            for numbers in content["data"].values():
                for name, value in numbers.items():
                    header = content["headers"][name]
                    if header["title"] not in seen:
                        seen.add(header["title"])
                        unit = header.get("suffix", "").strip()
                        title = header["title"] + (" (" + unit + ")" if unit else "")
                        yield title, value, header.get("description", "")


if __name__ == "__main__":
    print("number", "value", "meaning", sep="\t")
    for row in rows(Path(sys.argv[1])):
        print(*(" ".join(str(cell).split()) for cell in row), sep="\t")
