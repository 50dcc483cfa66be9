"""Upstream projects and registries: what they publish, and how we fetch it."""
