"""Tests of monitor.core.running."""
