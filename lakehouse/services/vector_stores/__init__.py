"""Vector stores: servers that keep the indexes of many services, each behind `services.contracts.vector_store`."""
