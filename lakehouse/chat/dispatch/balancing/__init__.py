"""Several hosts and keys of one provider: which of them a call is tried at, in which order.

replica_state   what is known about each: attempts under way, its circuit, its key
replica_guard   admits attempts to a replica, and learns from their ends
affinity        where a session was answered last
loaded_models   which Ollama has which model in memory
balancer        the order
"""
