"""JSON Schema for structured answers and tools: how JSON is requested, schema subsets, cost, validation."""
