"""Training that cannot go on."""


class TrainingError(RuntimeError):
    """Training stopped because going on would spoil the weights. One line: where, what to change, what is kept."""
