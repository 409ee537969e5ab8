"""Robots, cameras, operator devices, and the programs that run beside them."""

__project__ = "embodied-rl"
