"""`python -m dspex_worker --worker-id ID`: a worker of the worker protocol."""

from __future__ import annotations

import argparse
import sys

from . import output, server


def main() -> int:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(prog="dspex_worker", description=__doc__)
    parser.add_argument("--worker-id", required=True, help="names the process for whoever lists it")
    parser.parse_args()
    output.install()
    return server.run()


if __name__ == "__main__":
    sys.exit(main())
