"""What survives a restart: the journal that writes events to the store, and the recovery that reads them."""
