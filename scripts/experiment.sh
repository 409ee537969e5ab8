#!/usr/bin/env bash
# What `make train` trains: ManiSkill's PushCube, or the same task of our own simulator where ManiSkill cannot run.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -e .venv/.vulkan ]; then
  echo push_cube_ppo
  exit
fi
case ",$(cat .venv/.extras 2> /dev/null)," in
  *,maniskill,*) why="ManiSkill has no Vulkan device here (why: .venv/bin/embodied doctor vulkan)" ;;
  *) why="ManiSkill is not installed here (make setup EXTRAS=maniskill,dev)" ;;
esac
echo "$why: training on the tabletop simulator, which needs MuJoCo alone." >&2
echo tabletop_push_ppo
