"""Compares a result set of the example set with the table in README.md: python examples/check.py RESULTS."""

import sys
from pathlib import Path

from harness.result_set import ResultSet

README = Path(__file__).parent / "README.md"


def expected() -> dict[str, tuple[str, str, str]]:
    """Prompt id -> status, verdict and reason, as the table has them."""
    rows = [line.split("|")[1:-1] for line in README.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in row] for row in rows]
    return {row[0]: (row[3], row[4], row[5]) for row in cells if row[0].isdigit()}


def surprises(folder: Path) -> list[str]:
    """A line for every pair that did not end as written, or is missing."""
    wanted = expected()
    found = {record.prompt_id: record for record in ResultSet.load(folder)}
    lines = []
    for prompt_id in sorted(wanted.keys() | found.keys(), key=int):
        record = found.get(prompt_id)
        ended = record and (str(record.status), str(record.verdict), str(record.reason or ""))
        if ended != wanted.get(prompt_id):
            detail = record.detail if record else "no record"
            lines.append(f"pair {prompt_id}: ended {ended}, written {wanted.get(prompt_id)}: {detail}")
    return lines


if __name__ == "__main__":
    lines = surprises(Path(sys.argv[1]))
    print("\n".join(lines) or f"All {len(expected())} pairs ended as examples/README.md says.")
    sys.exit(bool(lines))
