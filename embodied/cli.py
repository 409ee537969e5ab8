"""embodied COMMAND [key=value ...]: looks the command up, imports it, runs it. Nothing heavy is imported for --help."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from importlib import import_module

from embodied.environment import prepare
from embodied.errors import ConfigError, EmbodiedError

COMMANDS = {  # name -> module with main(argv), what it does
    "train": ("embodied.launch", "train a policy in a simulator, from a config"),
    "evaluate": ("embodied.evaluate", "run a trained policy and say how often it succeeds"),
    "compare": ("embodied.comparing.command", "say which of several groups of runs is better, and how surely"),
    "report": ("embodied.report.command", "one page of runs: curves, scores, comparisons, videos, costs"),
    "collect": ("embodied.collect", "make demonstrations with a simulator's planners or scripted experts"),
    "data": ("embodied.data_command", "look into demonstrations, check them, convert and merge them"),
    "setup": ("embodied.setup", "fetch or build what a simulator needs and pip does not bring"),
    "configs": ("embodied.configs", "show every setting with its meaning"),
    "doctor": ("embodied.doctor", "say what this machine has, lacks, and how to get it"),
}
KEPT = {  # what a command that was stopped leaves behind; of the others, nothing counts until they are done
    "train": "; checkpoints that were written are kept",
    "collect": "; whole episodes are kept",
    "evaluate": "; whole episodes are kept in its folder",
    "compare": "; runs that are done are kept",
}


def main() -> None:
    prepare()
    sys.exit(run(sys.argv[1:]))


def run(argv: list[str]) -> int:
    """Run one command; the exit status."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    try:
        words = argv[1:]
        return _command(argv[0])(["--help"] if {"-h", "--help"} & set(words) else words)
    except EmbodiedError as error:
        print(f"embodied {argv[0]}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        print(f"embodied {argv[0]}: stopped{KEPT.get(argv[0], '')}", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        again = "embodied train resume=RUN_FOLDER" if argv[0] == "train" else "the same command again"
        print(
            f"embodied {argv[0]}: {error.filename or 'a file'} could not be written ({error.strerror}); it "
            f"stopped{KEPT.get(argv[0], '')}. Free disk space, then: {again}",
            file=sys.stderr,
        )
        return 1


def usage() -> str:
    lines = ["embodied COMMAND [key=value ...]    reinforcement learning of robot policies", "", "commands:"]
    lines += [f"  {name:10} {what}" for name, (_, what) in COMMANDS.items()]
    lines += ["", "experiments (embodied train experiment=NAME seed=1):"]
    from embodied.experiments import experiments

    lines += [f"  {name:22} {what}" for name, what in experiments().items()]
    lines += ["", "embodied COMMAND --help says more of a command."]
    return "\n".join(lines)


def _command(name: str) -> Callable[[list[str]], int]:
    from embodied.packaging import check_packages

    if name != "doctor":  # which says whose package it is
        check_packages()
    if name not in COMMANDS:
        raise ConfigError(f"there is no such command; there are: {', '.join(COMMANDS)}. Nothing was done.")
    return import_module(COMMANDS[name][0]).main


if __name__ == "__main__":
    main()
