"""Run the command line: `python -m affectstream serve ...` does what `affectstream serve ...` does."""

import sys
from pathlib import Path


def _leave_working_directory() -> None:
    """Remove the working directory from the import path, unless the package itself lies in it.

    `python -m` puts it first, where a stranger's folder named `service` or `models` would be imported in place of ours.
    """
    home = Path(__file__).resolve().parent.parent
    if not sys.flags.safe_path and sys.path and Path(sys.path[0] or ".").resolve() != home:
        del sys.path[0]


if __name__ == "__main__":
    _leave_working_directory()
    from service.cli import main

    sys.exit(main())
