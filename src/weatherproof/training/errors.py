"""Training that cannot go on."""

from weatherproof.errors import Failure


class TrainingError(Failure):
    """Training stopped because going on would spoil the weights. One line: where, what to change, what is kept."""
