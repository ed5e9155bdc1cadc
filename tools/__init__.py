"""Programs that a person runs by hand or through nox."""
