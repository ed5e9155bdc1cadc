"""queryd: SQL over HTTP.

Modules:

    app         the route `/sql`
    request     the body of a request, and the format that its client accepts
    responses   the bytes of a result, as a whole document or as a stream
"""
