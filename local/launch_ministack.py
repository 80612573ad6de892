"""Runs MiniStack with the patches of ``patches.py``, in this process.

Settings come from the environment (``local/stack.py`` sets them); see
``patches.apply`` for why another version of MiniStack is refused.
"""

from __future__ import annotations

import sys

from . import patches


def main() -> None:
    """Patch, then serve until a signal ends the process."""
    try:
        patches.apply()
    except patches.WrongVersion as error:
        sys.exit(str(error))
    from ministack import app

    sys.argv = ["ministack"]
    app.main()


if __name__ == "__main__":
    main()
