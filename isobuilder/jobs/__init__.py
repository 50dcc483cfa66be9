"""Whoever starts isobuilder unattended: systemd, GitHub Actions, GitLab CI, Kubernetes.

``cell`` is one ISO as a job, ``services`` writes many as each service wants them, ``files`` has
what one begins with. Nothing here runs or asks anything.
"""
