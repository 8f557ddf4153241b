"""What the outside calls over HTTP."""
