"""From a request to the function that answers it: the router, typed parameters, the application."""
