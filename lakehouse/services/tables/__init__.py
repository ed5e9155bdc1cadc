"""The tables of the lake: Apache Iceberg, committed by pyiceberg in a child process.

`client.open_tables` implements the contract `services.contracts.tables` in the process of the services. It starts one
trusted child with the first call that needs it: importing pyiceberg takes a second and 150 MB, and its calls would hold
an event loop for up to 150 ms. What the child answers about a state of a table is kept by the client, and whether that
state is still the newest one is read from the catalog's database directly, so a planned query calls no process.

In the process of the services:

    names           names of tables, and their identifiers in the catalog
    column_types    types in DuckDB's notation: parsed, and mapped to those that can be stored
    widening        the type that holds the values of two others
    messages        requests and replies
    catalog_reader  which metadata file is current, read from the catalog's database or asked of the child
    state_cache     the states of tables that the child has described
    calls           calls to the child: deadlines, repeats, errors
    client          the contract
    values          the values of the contract, made from replies
    expire_all      the expiry of all tables
    daily_expiry    the expiry once a day
    gauges          the gauges of the child

In the child:

    child           the target of `process.bootstrap`: one handler for each request
    file_io         files that are durable when they are closed
    storage         where the files of the tables are: in the folder
    object_storage  where the files of the tables are: in a bucket
    catalog         the catalog, and what is found in it
    kept_metadata   a catalog in SQL that keeps parsed metadata
    shared_catalogs catalogs that other services and engines share
    call_errors     what the disk, the bucket and the catalog refuse
    transaction     a transaction that copies the metadata less often, and commits a request once
    iceberg_types   types and schemas of Iceberg
    reconcile       whether columns fit into a table, and what has to change for them
    prepare         the plan of a write
    commit          the commit of a write
    describe        the state of a table at a snapshot
    snapshots       restore, tags, columns
    expiry          expiry of snapshots and of dropped tables, with their files
    lifecycle       rename, drop, restore of dropped tables

pyiceberg is pinned to one minor version, since names that it does not document are used: `parquet_file_to_data_file`,
`CreateTableTransaction`, `Transaction.table_metadata`, `_stage` and `_set_ref_snapshot`, `UpdateSchema._apply`, `_move`
and `_added_name_to_id`, `SqlCatalog._convert_orm_to_iceberg`.
"""
