"""The services process: composition of the embedded services, socket activation, restarts, drain."""
