"""Monitoring over HTTP: metrics for Prometheus, probes, and the status page."""
