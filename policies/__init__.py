"""Policies: one file each, a recipe and a torch module."""

__project__ = "embodied-rl"
