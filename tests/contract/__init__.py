"""Tests of what a node does with an ISO."""
