"""The core: values, seams, algorithms, learner, sampler, runtime. Imports no sibling package."""

__version__ = "0.1.0"
__project__ = "embodied-rl"  # the mark by which `packaging.py` knows our packages from a stranger's
