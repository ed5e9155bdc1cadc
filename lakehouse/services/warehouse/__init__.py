"""A lake beyond one machine: its files are objects of an S3 bucket, its catalog is shared with other services.

Modules:

    settings      where the bucket and the catalog are, for this process and for the tables process
    configured    the settings, from the configuration and the environment
    credentials   the keys, from a file that may change or from the environment
    signing       signatures of requests (AWS Signature Version 4), and URLs that carry one
    documents     the XML of S3: lists, errors, the parts of an upload
    s3_errors     what S3 refused, as errors of the service
    bucket        the client: objects and lists
    uploads       objects from bytes in any number: one request, or parts
    file_cache    data files on the local disk, for the engines: a bound, and what is in use
    data_files    data files of tables: uploaded before a commit, fetched before a query
    warehouse     all of them for the length of a block
"""
