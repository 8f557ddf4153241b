"""How fast webhooks become runs."""
