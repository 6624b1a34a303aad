"""Masks what can differ between two recordings of the same code: clock, host, versions of other software."""

import json
import os
import re

SECONDS, BYTES, TIME, VERSION, HOST = "<S>", "<BYTES>", "<TIME>", "<VERSION>", "<HOST>"
SIZE = r"[\d,.]+ [MG]B"

# Keys of run records, of MultiQC content and of benchmarks; whatever is not named here is compared exactly.
MASKED_KEYS = {
    "total_seconds": SECONDS,
    "peak_memory_bytes": BYTES,
    "memory_limit_bytes": BYTES,
    "vector_instructions": HOST,
    "started": TIME,
    "finished": TIME,
    "peak_mb": BYTES,
    "sccr_seconds": SECONDS,
    "sccr_memory": BYTES,
}
MASKED_TABLES = {"seconds": SECONDS, "software": VERSION}
MASKED_COLUMNS = {"seconds": SECONDS, "peak_mb": BYTES}


def log(text: str, *, keep_limit: bool = False) -> str:
    """Mask what a command printed; ``keep_limit`` where the memory limit was given on the command line."""
    text = without_folder(text)
    text = re.sub(r"^\[ *\d+\.\d s\]", f"[{SECONDS}]", text, flags=re.M)
    text = re.sub(r"^(wrote .*|\[<S>\] wrote .*) in \d+\.\d s:", rf"\1 in {SECONDS}:", text, flags=re.M)
    text = re.sub(r'^(\{"seconds": )[\d.]+', rf"\1{SECONDS}", text, flags=re.M)
    text = re.sub(r'("message": "wrote .*) in \d+\.\d s:', rf"\1 in {SECONDS}:", text)
    text = re.sub(r"; \d+\.\d s, \d+ MB$", f"; {SECONDS}, {BYTES}", text, flags=re.M)
    if not keep_limit:
        text = re.sub(rf"\(limit {SIZE}\)", f"(limit {BYTES})", text)
        text = re.sub(rf"may use only {SIZE}", f"may use only {BYTES}", text)
    return text


def without_folder(text: str) -> str:
    """Take the temporary folder, which is the working folder, out of a text."""
    return text.replace(os.path.realpath("."), "<TMP>").replace(os.getcwd(), "<TMP>")


def json_text(text: str) -> tuple[int | None, str]:
    """Mask a JSON document; return the indentation that it is written with (None: some other layout) and the text."""
    document = json.loads(text)
    for indent in (1, 2):
        if json.dumps(document, indent=indent, ensure_ascii=False) + "\n" == text:
            break
    else:
        return None, without_folder(text)
    return indent, without_folder(json.dumps(_masked(document), indent=indent, ensure_ascii=False) + "\n")


def _masked(value: object) -> object:
    if isinstance(value, list):
        return [_masked(item) for item in value]
    if not isinstance(value, dict):
        return value
    masked: dict[str, object] = {}
    for key, item in value.items():
        if key in MASKED_KEYS:
            masked[key] = item if item is None else MASKED_KEYS[key]
        elif key in MASKED_TABLES and isinstance(item, dict) and not (item.keys() & {"title", "type"}):
            # The names of the stages and of the packages stay; a dict with a title is a schema's or a column's.
            masked[key] = dict.fromkeys(item, MASKED_TABLES[key])
        elif key == "seconds" and isinstance(item, int | float):
            masked[key] = SECONDS
        elif key == "data" and value.get("id") == "sccr_stages" and isinstance(item, dict):
            masked[key] = {sample: dict.fromkeys(stages, SECONDS) for sample, stages in item.items()}
        elif key in ("headers", "properties"):
            masked[key] = item  # these describe such keys, and hold none of their values
        else:
            masked[key] = _masked(item)
    return masked


def packed(content: bytes) -> bytes:
    """Mask the time in the head of a gzip stream: numcodecs writes it into every chunk of a zarr array."""
    return content[:4] + bytes(4) + content[8:] if content.startswith(b"\x1f\x8b") else content


def table(text: str) -> str:
    """Mask the columns of a TSV table that depend on the clock and the host."""
    lines = [line.split("\t") for line in text.split("\n")]
    for position, name in enumerate(lines[0]):
        if name in MASKED_COLUMNS:
            for line in lines[1:]:
                if len(line) > position and line[position]:
                    line[position] = MASKED_COLUMNS[name]
    return "\n".join("\t".join(line) for line in lines)


def page(text: str) -> str:
    """Mask the facts of a report that depend on the clock and the host; its figures are compared exactly."""
    text = without_folder(text)
    text = re.sub(r"(<dt>(?:Time|Peak memory)</dt><dd><b>)[^<]*", rf"\1{HOST}", text)
    text = re.sub(r'(<th scope="row">Started</th><td>)[^<]*', rf"\1{TIME}", text)
    text = re.sub(r"The run took .*? on (\d+ thread)", rf"The run took {SECONDS} on \1", text)
    text = re.sub(rf"It needed {SIZE} of", f"It needed {BYTES} of", text)
    text = re.sub(rf"it began, {SIZE} were allowed", f"it began, {BYTES} were allowed", text)
    text = re.sub(
        r'<td class="n">[\d.]+</td><td class="bar"><span style="width:[\d.]+%"></span><small>[^<]*</small>',
        f'<td class="n">{SECONDS}</td><td class="bar">{HOST}',
        text,
    )
    software = re.compile(r">Software</p>.*?</table>", re.S)
    return software.sub(lambda found: re.sub(r"<td>[^<]*</td>", f"<td>{VERSION}</td>", found[0]), text)
