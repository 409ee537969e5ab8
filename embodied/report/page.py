"""One HTML file with everything in it: no script, no font, no address outside of itself."""

from __future__ import annotations

import base64
from pathlib import Path

from embodied.report.blocks import Page

TEMPLATE = "page.html.jinja"


def render(page: Page) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # names, commands and configs are text of strangers
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["tidy"] = tidy
    environment.filters["base64"] = _base64
    return environment.get_template(TEMPLATE).render(page=page)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def tidy(text: str) -> str:
    """No line break between a number and its unit."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%").replace("n = ", "n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")


def write(page: Page, out: Path, pictures: Path) -> None:
    """The page, and each picture as a file of its own in the folder `pictures`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render(page), encoding="utf-8")
    pictures.mkdir(parents=True, exist_ok=True)
    for picture in page.pictures:
        (pictures / f"{picture.name}.png").write_bytes(picture.png)
