"""Disposable openEuler 22.03 SP3 look-alike hosts, and everything around them that a rollout talks to.

``python -m lab up`` makes a host that answers SSH; see lab/README.md. Standard library only.
"""
