"""Images: build them within a budget, measure them, check them, release them on this machine."""
