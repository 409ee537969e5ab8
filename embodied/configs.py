"""`embodied configs`: every setting with its meaning, printed from the recipes; `--write` rewrites the YAML files."""

from __future__ import annotations

import re
from pathlib import Path

from omegaconf import OmegaConf

from embodied.compose import compose_recipe
from embodied.config import recipe_class, to_dict, yaml_of
from embodied.experiments import config_dir

USAGE = """embodied configs                              every setting of `embodied train`, with its meaning
embodied configs experiment=NAME key=value    the config that these words compose, without starting it
embodied configs --write                      rewrite configs/ from the recipes (after changing one)"""


def main(argv: list[str]) -> int:
    if argv and argv[0] in ("-h", "--help"):
        print(USAGE)
    elif argv == ["--write"]:
        for path, text in printed().items():
            if path.read_text() != text:
                path.write_text(text)
                print(f"rewrote {path}")
    elif argv:
        print(OmegaConf.to_yaml(to_dict(compose_recipe("train", argv))), end="")
    else:
        for path in printed():
            print(f"# {path.relative_to(config_dir())}\n{path.read_text()}")
    return 0


def printed() -> dict[Path, str]:
    """What each recipe's file must say: its own header, then the fields of the recipe it names."""
    files = {}
    for path in sorted(config_dir().rglob("*.yaml")):
        header, found, body = path.read_text().partition("_target_: ")
        if found and "\n_target_: " in "\n" + path.read_text():
            files[path] = header + _with_given(yaml_of(recipe_class(body.splitlines()[0].strip(), path.stem)), body)
    return files


def _with_given(text: str, body: str) -> str:
    """`text` with what the file itself says of fields that have no default."""
    given = dict(re.findall(r"^(\w+): (.+?)(?:  #.*)?$", body, re.MULTILINE))
    return re.sub(r"^(\w+): \?\?\?", lambda m: f"{m[1]}: {given.get(m[1], '???')}", text, flags=re.MULTILINE)
