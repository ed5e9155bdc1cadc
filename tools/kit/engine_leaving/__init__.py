"""Work of engines that is left in the middle, over HTTP: `tools.engine_cancellation` measures what goes on after that.

Modules:

    left_work  a client that leaves, and the wait until everybody's processor time stands still
    engines    what is measured: an engine, its servers, the configuration of the service in front, the requests
    clusters   engines of SQL on servers
    stores     an upload to S3, searches in PostgreSQL
    models     a chat of the embedded model, a batch of texts of the embedding model
"""
