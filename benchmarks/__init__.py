"""Measurements. `python benchmarks/NAME.py` puts this folder first on the path, where `simulators.py` would hide the
package of that name; so it is taken off again before anything of ours is imported."""

import sys
from pathlib import Path

sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent]
