"""Middleware around the router, from outside to inside. Nothing is imported here.

cors                       marks responses for other web origins, recognises preflights
request_lifetime           gives each request its context, its deadline and its end
  request_lifecycle          one request; `http_lifecycle` and `websocket_lifecycle` for the two types of scope
  receive_forwarder          detects disconnected clients under a foreign server
  standard_headers           X-Request-Id, Server-Timing, X-Request-Timeout-Ms
auth                       networks, bearer `tokens` with their principals, and `cross_site` requests of web pages
"""
