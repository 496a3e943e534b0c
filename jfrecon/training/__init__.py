"""Training of any method: state, data-parallel step, loop, checkpoints, logging."""
