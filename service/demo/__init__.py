"""A day in the life of the service, played against it over HTTP by a client that only knows the API."""
