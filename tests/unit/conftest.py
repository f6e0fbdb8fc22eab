"""Fixtures that several rooms' tests share."""

from tests.harness.route_rig import door  # noqa: F401 - pytest finds it here
