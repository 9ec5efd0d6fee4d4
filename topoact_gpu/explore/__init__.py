"""The explorer: a server on this machine, and the page that it shows."""
