"""`python -m tools.docs` writes every file that is generated from the schema; `--check` names those that differ."""

import argparse
import sys

from tools.docs import GENERATED, stale


def main() -> None:
    """Write the generated files, or report those that are not up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    changed = stale()
    for path in changed:
        if not check:
            path.write_text(GENERATED[path](), encoding="utf-8")
        print(f"{path} is not up to date: run `python -m tools.docs`" if check else path)
    sys.exit(1 if check and changed else 0)


if __name__ == "__main__":
    main()
