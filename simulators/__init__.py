"""Simulators: one file each, a recipe and an `Env`."""

__project__ = "embodied-rl"
