"""isobuilder turns a Kubernetes version into an ISO that a cloud can run."""

__version__ = "0.1.0"
