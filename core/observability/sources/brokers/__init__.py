"""Sources that read what engines publish through a broker or a message library: one module per transport."""
