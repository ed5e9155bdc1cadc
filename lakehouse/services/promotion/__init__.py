"""The promotion of a lake from its folder to a bucket and a shared catalog, with its history.

In the process of the command:

    promoter        read, copy, compare, switch
    target          where the lake goes, and the mark by which its folder knows it
    plan            what is copied
    lake_objects    the objects of the folder
    transfer        the files of a lake, copied and compared
    copying         files to the bucket, each once and under a condition
    checksums       SHA-256, and the etags of S3
    target_objects  what the bucket has, before and after
    upload_keys     idempotency keys
    records         traces and operations, to PostgreSQL
    staying         what stays in the folder
    journal         what has been stored, for the next run
    progress        how far it is
    process         the child, as it is called
    messages        requests and replies

In the child, which has pyiceberg:

    child             the target of `process.bootstrap`
    table_files       the files of a table
    rewriting         its metadata with other locations
    position_deletes  files with deletes, which name data files
    locations         where files are, and where they are going to be
    avro_files        manifests, decoded and encoded without loss
    avro_values       the values in them
    table_checks      a table in the warehouse compared with that of the folder
    target_catalog    the catalog of the target
    rest_target       one that is behind a REST API
"""
