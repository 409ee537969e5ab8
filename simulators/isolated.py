"""A simulator in the interpreter of an environment of its own: its worker processes run there, the sampler stays here.

    IsolatedRecipe(simulator=RobosuiteRecipe(), environment="robosuite15")

Nobody else notices: it is sharded, filmed and demonstrated like the simulator that it holds. `embodied setup NAME`
builds the environment, once; a missing one is a sentence, never a download.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from embodied.config import recipe
from embodied.environments import python_of
from embodied.errors import ConfigError
from embodied.interfaces import DemonstrableRecipe, Demonstrator, EnvRecipe, ShardedRecipe
from embodied.sampler.film import FilmedRecipe
from simulators.remote_demonstrator import RemoteDemonstrator
from simulators.subprocess_env import SubprocessEnv


@recipe
class IsolatedRecipe:
    simulator: EnvRecipe
    environment: str  # as `embodied setup` names it

    @property
    def num_envs(self) -> int:
        return self.simulator.num_envs

    def build(self) -> SubprocessEnv:
        return SubprocessEnv(shards_of(self.simulator), python=self._python())

    def shards(self) -> list[IsolatedRecipe]:
        """One for each process of the simulator, which gets a process of its own beside its sampler."""
        self._python()
        return [replace(self, simulator=shard) for shard in shards_of(self.simulator)]

    def filmed(self, num_envs: int) -> IsolatedRecipe:
        """The same task with a camera for people."""
        if not isinstance(self.simulator, FilmedRecipe):
            raise ConfigError(f"{self._kind} has no camera for people (`filmed`); no video was made.")
        return replace(self, simulator=self.simulator.filmed(num_envs))

    def demonstrator(self) -> Demonstrator:
        """One scene over there, with its expert."""
        if not isinstance(self.simulator, DemonstrableRecipe):
            raise ConfigError(f"{self._kind} has nobody who can solve its tasks (`demonstrator`); nothing was started.")
        return RemoteDemonstrator(self.simulator, self._python())

    @property
    def _kind(self) -> str:
        return type(self.simulator).__name__

    def _python(self) -> Path:
        return python_of(self.environment)


def shards_of(recipe: EnvRecipe) -> list[EnvRecipe]:
    """What `recipe` wants to have in processes of their own."""
    return list(recipe.shards()) if isinstance(recipe, ShardedRecipe) else [recipe]
