#!/usr/bin/env bash
# What `make train` trains: ManiSkill's PushCube, or the same task of our own simulator where no Vulkan device can be had.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -e .venv/.vulkan ]; then
  echo push_cube_ppo
else
  echo "ManiSkill has no Vulkan device here (why: .venv/bin/embodied doctor vulkan): training on the tabletop simulator," \
    "which needs none." >&2
  echo tabletop_push_ppo
fi
