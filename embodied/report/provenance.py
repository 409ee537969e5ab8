"""How to make it again: commands, settings, code, machines, packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from embodied.comparing.folders import HOUSEKEEPING, flat
from embodied.comparing.values import listed
from embodied.report.blocks import Block, Cell, Section, Table, Verbatim, table, words
from embodied.report.history import History

NOT_RECORDED = "not recorded"
MOST_SETTINGS = 60  # rows of the table of differences


def provenance(histories: Mapping[str, Sequence[History]]) -> Section:
    known = {name: rows for name, rows in histories.items() if rows}
    if not known:
        said = words("No run folder was given: commands, settings and code of these scores are not known.")
        return Section("made", "Settings, code and machines", (said,))
    rows = [row for own in known.values() for row in own]
    commands = "\n".join(f"# {name}, seed {row.seed}\n{_commands(row)}" for name, own in known.items() for row in own)
    blocks: list[Block] = [
        _differences(known),
        _versions(known),
        words(*_warnings(rows)),
        Verbatim(f"Commands ({len(rows)})", commands, folded=len(rows) > 12),
    ]
    blocks += [Verbatim(f"All settings of {name}, seed {own[0].seed}", _yaml(own[0]), folded=True)
               for name, own in known.items()]  # fmt: skip
    return Section("made", "Settings, code and machines", tuple(blocks))


def _differences(known: Mapping[str, Sequence[History]]) -> Block:
    settings = {name: _settings(own) for name, own in known.items()}
    keys = dict.fromkeys(key for found in settings.values() for key in found)
    differing = [key for key in keys if len({found.get(key, "-") for found in settings.values()}) > 1]
    if not differing:
        return words("One group: no settings to compare." if len(known) == 1 else "The groups have equal settings.")
    rows: list[list[Cell]] = [[key, *(found.get(key, "-") for found in settings.values())] for key in differing]
    more = f", the first {MOST_SETTINGS} of {len(rows)}" if len(rows) > MOST_SETTINGS else ""
    columns = ("setting", *known)
    return table(f"Settings that differ between groups{more}", columns, rows[:MOST_SETTINGS], range(len(columns)))


def _settings(rows: Sequence[History]) -> dict[str, str]:
    """Values of each setting among the runs of a group, without what may differ in it."""
    found = [flat(row.config) for row in rows]
    keys = dict.fromkeys(key for each in found for key in each if key.rpartition(".")[2] not in HOUSEKEEPING)
    return {key: listed(dict.fromkeys(str(each.get(key, "-")) for each in found), 3) for key in keys}


def _versions(known: Mapping[str, Sequence[History]]) -> Table:
    """A row for each combination; a run that was continued counts with each of its sessions."""
    facts: dict[tuple[str, ...], dict[str, list[int]]] = {}
    for name, own in known.items():
        for row in own:
            for session in _sessions(row):
                facts.setdefault(_told(session), {}).setdefault(name, []).append(row.seed)
    rows = [[_of(runs, known), *told] for told, runs in facts.items()]
    columns = ("runs", "code", "Python and packages", "machine")
    return table("What they ran on", columns, rows, words=range(len(columns)))


def _of(runs: Mapping[str, Sequence[int]], known: Mapping[str, Sequence[History]]) -> str:
    if {name: set(seeds) for name, seeds in runs.items()} == {k: {row.seed for row in v} for k, v in known.items()}:
        return "all"
    return "; ".join(f"{name}: seeds {listed(dict.fromkeys(seeds), 20)}" for name, seeds in runs.items())


def _sessions(row: History) -> list[Mapping[str, Any]]:
    return [row.facts, *row.facts.get("continued", [])]


def _told(facts: Mapping[str, Any]) -> tuple[str, str, str]:
    sources = dict(facts.get("code") or {}).get("sources")
    code = [f"embodied {facts.get('embodied', '?')}", str(facts.get("git") or f"commit {NOT_RECORDED}")]
    code += [f"sources {sources[:12]}"] if sources else []
    packages = [f"Python {facts.get('python', '?')}", *(f"{k} {v}" for k, v in dict(facts.get("packages", {})).items())]
    return ", ".join(code), ", ".join(packages), _machine(dict(facts.get("machine", {})))


def _machine(machine: Mapping[str, Any]) -> str:
    gpus = [f"{gpu['name']} ({gpu['memory_gb']:g} GB)" for gpu in machine.get("gpus", [])]
    units = {"cpu": "{}", "cores": "{} cores", "memory_gb": "{} GB of memory", "cuda": "CUDA {}", "driver": "driver {}",
             "system": "{}"}  # fmt: skip
    parts = [text.format(machine[key]) for key, text in units.items() if machine.get(key)]
    if "gpus" in machine:
        parts.append(listed(gpus) if gpus else "no GPU")
    return ", ".join(parts) or NOT_RECORDED


def _warnings(rows: Sequence[History]) -> list[str]:
    codes = sorted({str(session.get("git")) for row in rows for session in _sessions(row)})
    said: list[str] = []
    if len(codes) > 1:
        said.append(f"The runs were trained with {len(codes)} versions of the code: {listed(codes)}.")
    if any(code.endswith("-dirty") for code in codes):
        said.append(
            "-dirty: the working tree differed from that commit, so the commit alone does not repeat the run; "
            "code.diff in the run folder, where there is one, has the difference."
        )
    return said


def _commands(row: History) -> str:
    return "\n".join(str(session.get("command", NOT_RECORDED)) for session in _sessions(row))


def _yaml(row: History) -> str:
    return OmegaConf.to_yaml(dict(row.config))
