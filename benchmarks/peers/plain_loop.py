"""The one-file PPO loop that the field starts from, over `gymnasium.vector.AsyncVectorEnv`: a peer to measure against.

Written from the common recipe (a time limit is the end of the return, one process per environment, a lock-step loop),
not taken from any repository.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from policies.parts.heads import mlp


class PlainLoop:
    def __init__(self, makers: list[Callable[[], gymnasium.Env[Any, Any]]], settings: Any) -> None:
        self.makers, self.settings, self.steps = makers, settings, 0
        self.outcomes: list[bool] = []  # success of finished episodes
        s = settings
        torch.manual_seed(s.seed)
        processes = gymnasium.vector.AsyncVectorEnv(self.makers, context="spawn")
        self.envs = gymnasium.wrappers.vector.NormalizeObservation(processes)
        first: Any = self.envs
        inputs, outputs = first.single_observation_space.shape[0], first.single_action_space.shape[0]
        self.actor = mlp((inputs, *s.hidden, outputs), last_gain=0.01)
        self.critic = mlp((inputs, *s.hidden, 1))
        self.log_std = nn.Parameter(torch.full((outputs,), s.initial_std).log())
        self.parameters = [*self.actor.parameters(), *self.critic.parameters(), self.log_std]
        self.adam = torch.optim.Adam(self.parameters, lr=s.learning_rate, eps=1e-5)
        self.obs = torch.as_tensor(self.envs.reset(seed=s.seed)[0]).float()
        self.done = torch.zeros(len(self.makers))
        self.solved = np.zeros(len(self.makers), dtype=bool)

    def iterate(self) -> None:
        """One rollout and its updates."""
        s, num = self.settings, len(self.makers)
        obs = torch.zeros(s.rollout, num, self.obs.shape[1])
        actions = torch.zeros(s.rollout, num, len(self.log_std))
        log_probs, rewards, dones, values = (torch.zeros(s.rollout, num) for _ in range(4))
        for t in range(s.rollout):
            obs[t], dones[t] = self.obs, self.done
            with torch.no_grad():
                density = Normal(self.actor(self.obs), self.log_std.exp())
                action = density.sample()
                log_probs[t], values[t] = density.log_prob(action).sum(1), self.critic(self.obs).flatten()
            actions[t] = action
            after, reward, terminated, truncated, info = self.envs.step(action.clamp(-1, 1).numpy())
            rewards[t] = torch.as_tensor(reward)
            self._count(info, np.logical_or(terminated, truncated))
            self.obs = torch.as_tensor(after).float()
            self.done = torch.as_tensor(np.logical_or(terminated, truncated)).float()
        advantages = self._advantages(rewards, dones, values)
        flat = [x.flatten(0, 1) for x in (obs, actions, log_probs, advantages, advantages + values)]
        self._learn(*flat)
        self.steps += s.rollout * num

    def close(self) -> None:
        self.envs.close()

    def _count(self, info: dict[str, Any], ended: np.ndarray[Any, Any]) -> None:
        self.solved |= np.asarray(info.get("success", np.zeros(len(ended))), dtype=bool)
        self.outcomes += self.solved[ended].tolist()
        self.solved[ended] = False

    def _advantages(self, rewards: Tensor, dones: Tensor, values: Tensor) -> Tensor:
        s = self.settings
        with torch.no_grad():
            following, following_done = self.critic(self.obs).flatten(), self.done
        advantages, running = torch.zeros_like(rewards), torch.zeros(rewards.shape[1])
        for t in reversed(range(len(rewards))):
            delta = rewards[t] + s.gamma * following * (1 - following_done) - values[t]
            running = delta + s.gamma * s.lam * (1 - following_done) * running
            advantages[t], following, following_done = running, values[t], dones[t]
        return advantages

    def _learn(self, obs: Tensor, actions: Tensor, log_probs: Tensor, advantages: Tensor, returns: Tensor) -> None:
        s = self.settings
        for _ in range(s.epochs):
            for index in torch.randperm(len(obs)).split(s.minibatch):
                density = Normal(self.actor(obs[index]), self.log_std.exp())
                ratio = (density.log_prob(actions[index]).sum(1) - log_probs[index]).exp()
                advantage = advantages[index]
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                policy_loss = torch.max(-advantage * ratio, -advantage * ratio.clamp(1 - s.clip, 1 + s.clip)).mean()
                value_loss = 0.5 * (self.critic(obs[index]).flatten() - returns[index]).square().mean()
                self.adam.zero_grad()
                (policy_loss + 0.5 * value_loss).backward()
                nn.utils.clip_grad_norm_(self.parameters, s.max_grad_norm)
                self.adam.step()
