"""How quickly webhooks become runs."""
