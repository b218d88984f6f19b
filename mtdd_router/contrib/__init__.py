"""What lets the tenant follow work into other projects' hands, each only if that is installed."""
