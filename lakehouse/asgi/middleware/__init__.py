"""Middleware around the router, from outside to inside. Nothing is imported here.

cors                       marks responses for other web origins, recognises preflights
lifetime_middleware        gives each request its context, its deadline and its end
  request_runner             one request; `http_runner` and `websocket_runner` for the two types of scope
  disconnect_watcher         detects disconnected clients under a foreign server
  request_deadline           X-Request-Timeout-Ms, from the header to the 504
  disconnected_request       what happens to a request whose client has left
  standard_headers           X-Request-Id, Server-Timing
auth                       networks, bearer `tokens` with their principals, and `cross_site` requests of web pages
sessions                   makes requests the calls of the sessions that they name, and refuses those that were stopped
"""
