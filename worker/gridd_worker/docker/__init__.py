"""Jobs in containers, on a Docker engine (or Podman's, which speaks the same)."""
