"""Which seeds choose settings, and which report what was chosen."""

TUNING_SEEDS = 1_000_000  # seeds from here on are for choosing settings, those below for reporting what was chosen
