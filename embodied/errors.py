"""Everything the platform raises on purpose. Each message is a sentence: asked, found, not done, what to do.

EmbodiedError
  ConfigError             a recipe or an override is wrong; nothing has started
    PackageError          a package is missing, or a stranger's answers to one of our names
  CheckpointError         a checkpoint is damaged, of another architecture, or could not be written
  DatasetError            recorded episodes are damaged, of another robot, or could not be written
  DemonstrationError      an expert found no way to solve its task; the episode does not count
  NonFiniteError          a simulator or a loss produced NaN or infinity; the last good checkpoint is kept
  RatioError              a policy scores its own fresh actions differently than when it acted
  StageError              a stage died; carries its name and its last log lines
    EnvProcessError       an environment process died more often than it may
"""

from __future__ import annotations


class EmbodiedError(Exception): ...


class ConfigError(EmbodiedError): ...


class PackageError(ConfigError): ...


class CheckpointError(EmbodiedError): ...


class DatasetError(EmbodiedError): ...


class DemonstrationError(EmbodiedError): ...


class NonFiniteError(EmbodiedError): ...


class RatioError(EmbodiedError): ...


class StageError(EmbodiedError): ...


class EnvProcessError(StageError): ...
