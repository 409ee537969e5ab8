"""The named experiments, read without importing anything heavy: `--help` must not wait for Hydra."""

from __future__ import annotations

from pathlib import Path


def config_dir() -> Path:
    """The folder of our YAML: beside the packages in a checkout, inside `embodied` in a wheel."""
    package = Path(__file__).parent
    checkout = package.parent / "configs"
    return checkout if checkout.is_dir() else package / "configs"


def experiments() -> dict[str, str]:
    """Name and first comment line of every experiment."""
    found = {}
    for path in sorted((config_dir() / "experiment").glob("*.yaml")):
        comments = [line[2:].strip() for line in path.read_text().splitlines() if line.startswith("# ")]
        found[path.stem] = next((line for line in comments if not line.startswith("@package")), "")
    return found
