"""Our own log: its setup and format. The last lines of every process, and of the trading engine, stay in memory, where
the API reads them.
"""
