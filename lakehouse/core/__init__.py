"""What every layer shares. Nothing is imported here.

context            the context of one request, from which all telemetry is made
context_branches   records of calls that one request makes at the same time
attempts           the record of one attempt at a provider
active_requests    the requests that have begun and not ended
errors             the errors that clients get
failure_classes    the classes of providers' failures; `provider_failures` maps them to errors
groups             exception groups, reduced to the one exception that matters
trace_context      the W3C header `traceparent`
session_identity   the name of the run that a request belongs to
rfc3339            times as texts
health, extras     the health of a part of the service; optional packages
"""
