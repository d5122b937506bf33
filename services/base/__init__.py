"""What all services stand on: the Dockerfile of the shared base, and what fills it during its build."""
