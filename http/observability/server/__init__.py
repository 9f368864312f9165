"""Processes put together: from a configuration to a running hub and its workers."""
