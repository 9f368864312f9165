"""The REST API, one module per area, each a function that adds its routes to a router."""
