"""From a request to its handler: the routing table, typed parameters, and the way from a request to an answer."""
