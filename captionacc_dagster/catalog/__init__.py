"""The catalog of tenants, videos, requests, and locks."""
