"""What is wrong with an installation, a cluster or a plan, before it costs a night."""

from weatherproof.verbs.doctor.verb import doctor

__all__ = ["doctor"]
