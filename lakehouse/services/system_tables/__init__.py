"""The system tables: the service's own traffic, traces and operations as tables of the schema `lakehouse`.

    workers ── batches (telemetry.traffic_ipc) ──> SystemStore ── files of lines that grow
    pathwayd, observerd ── RecordRows ───────────> SystemStore ── at a query, a file of lines
                                                     │ when there are many lines: a segment, which is a Parquet file
                                                     v
                               SystemTables.plan ──> the query engine, by the files of both

definitions     the tables, their columns, and SQL of those that are made from others
database        which files a table has, in SQLite
row_files       files of lines that batches are appended to
record_rows     records of services, as rows
store           plans for queries; the contract's reading half
leases          files are deleted when no query reads them any more
maintenance     segments are written, merged and expired
catalog         all tables that SQL can read: those of users, and these
"""
