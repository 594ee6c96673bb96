"""Entry point of `penstock` and `python -m penstock`."""

import os
import sys

from penstock.worker.process.probe import answer_probe


def main() -> None:
    """Run the command line; answer a worker's probe without it, because it takes longer to load."""
    status = answer_probe(sys.argv[1:], os.environ)
    if status is not None:
        sys.exit(status)
    from penstock.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
