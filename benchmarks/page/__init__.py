"""How quick the review page is."""
