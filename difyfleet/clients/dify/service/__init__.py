"""The service API: what programs do with an API key."""
