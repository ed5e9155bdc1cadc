"""WebSockets of clients.

Modules:

    websocket      one WebSocket with ASGI's `receive` and `send`
    handshake      the opening handshake
    message_queue  messages that the application has not taken yet
"""
