"""Readiness: what a fit needs, checked before it begins, or fetched and made beforehand."""
