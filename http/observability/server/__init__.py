"""The composition of the server: from a configuration to a running hub and its workers, in one process or several.

`process.py` lists the steps that every process takes; `host.py` starts several processes.
"""
