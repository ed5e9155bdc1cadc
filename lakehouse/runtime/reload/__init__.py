"""The reload of the configuration while the service runs.

changes    which keys differ, and which of them need a restart
reloader   one reload after the other: read, check, apply
endpoint   `POST /v1/reload`
sighup     SIGHUP
workers    the two phases of a reload over several workers, led by their supervisor
worker     a worker's part in them
orders     what both tell each other
"""
