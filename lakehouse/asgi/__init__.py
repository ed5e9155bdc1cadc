"""What every ASGI application of the service is made of. Nothing is imported here.

types            the types of ASGI, and `ResponseError`
server_control   what our own server offers beyond ASGI, and why it is fast
request_scope    the request that a scope belongs to: context, server, switch to streaming
path_names       names in paths, decoded once
router, lazy     which application answers a path; one that is loaded with its first request
body, json_body  receiving a request body within limits; decoding JSON, with errors that name the field
responses        whole responses: JSON, errors, empty
content          files and streams, with `ranges` and conditional requests (`conditional`)
file_content     an open file as the content of a response; `file_handover`: large files that the gateway sends
sse              server-sent events
service_health   `GET /health` of a service, with its name
in_process       calls of an application without a server
lifespan         the lifespan of an application that runs inside another one
quart            the base of applications on Quart-Trio
middleware/      around every request: lifetime, authentication, CORS
"""
