"""From a recipe and examples to weights: initial network, losses, schedule, the loop, checkpoints."""
