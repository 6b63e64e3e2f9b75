"""`python -m difyfleet.spec`: write docs/reference/inventory.md and the JSON Schemas from the models.

`--check` writes nothing and exits 1 when a committed file says something else than the models.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from difyfleet.paths import stack_root
from difyfleet.spec.reference import markdown
from difyfleet.spec.schema import file_schema, lock_schema


def generated() -> dict[Path, str]:
    """The generated files and what they must hold."""
    folder = stack_root() / "docs" / "reference"
    return {
        folder / "inventory.md": markdown(),
        folder / "difyfleet.schema.json": json.dumps(file_schema(), indent=2, ensure_ascii=False) + "\n",
        folder / "lock.schema.json": json.dumps(lock_schema(), indent=2, ensure_ascii=False) + "\n",
    }


def main(arguments: list[str]) -> int:
    """Write (or with --check compare) the generated files; returns the exit code."""
    stale = [
        path
        for path, text in generated().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if "--check" in arguments:
        for path in stale:
            print(f"{path} is out of date: python -m difyfleet.spec", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(generated()[path], encoding="utf-8")
        print(f"wrote {path}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
